"""YOLO folders as written: read back they are the same, and what is lost is counted."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from saccade.data.images.decode import read_image
from saccade.data.open import resolve_source, split_names
from saccade.data.readers import detect_format, masks, yolo
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline, mask_of_rings
from saccade.data.tables.run_lengths import runs_of_mask
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import get_writer
from saccade.data.writers._common import LossReport
from saccade.data.writers._objects import rings_of
from saccade.data.writers.convert import convert
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

SIZE = (40, 60)
NAMES = ("cat", "dog")


def dataset(
    root: Path, builder: TableBuilder, task: str = "detection", names: tuple[str, ...] = NAMES, **more: Any
) -> TableDataset:
    return TableDataset(DatasetInfo("test", task, names, **more), root, builder.build())


def save(data: TableDataset, out: Path, split: str = "train", images: Any = "copy") -> LossReport:
    report = LossReport("test", "yolo")
    get_writer("yolo").write(data, out, split, images, report)
    return report


@pytest.fixture
def images(tmp_path: Path, write_image: Any) -> Path:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, SIZE)
    return tmp_path / "in"


def begin(names: tuple[str, ...] = NAMES, **options: Any) -> TableBuilder:
    builder = TableBuilder(names, **options)
    builder.add_image("a.png", size=SIZE)
    return builder


def test_boxes_come_back(images: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    builder = TableBuilder(NAMES)
    for name in ("a.png", "b.png"):
        builder.add_image(name, size=SIZE)
        for _ in range(50):
            builder.add_object(NAMES[rng.integers(2)], tuple(rng.uniform(-5, 70, 4).tolist()))
    data = dataset(images, builder)
    report = save(data, tmp_path / "out")
    assert report.lossless
    assert report.kept == {"images": 2, "objects": 100, "boxes": 100, "classes": 2}
    assert detect_format(tmp_path / "out") == "yolo"
    back = yolo.read(tmp_path / "out", "train")
    assert back.info.class_names == NAMES
    assert np.abs(back.table.boxes - data.table.boxes).max() < 1e-6
    assert np.array_equal(back.table.labels, data.table.labels)
    assert np.array_equal(back.read(1).image, data.read(1).image)


def test_boxes_of_huge_images_come_back(tmp_path: Path) -> None:
    Image.new("1", (30_000, 2)).save(tmp_path / "a.png")
    builder = TableBuilder(NAMES)
    builder.add_image("a.png")
    builder.add_object("cat", (12_345.678, 0.1, 12_346.789, 1.9))
    save(dataset(tmp_path, builder), tmp_path / "out")
    assert np.abs(yolo.read(tmp_path / "out", "train").table.boxes - [12_345.678, 0.1, 12_346.789, 1.9]).max() < 1e-3


def test_faults_are_carried_over(images: Path, tmp_path: Path) -> None:
    builder = begin()
    for box in ((30, 20, 10, 5), (1, 1, 1, 1), (float("nan"), 1, 2, 3)):
        builder.add_object("cat", box)
    save(dataset(images, builder), tmp_path / "out")
    boxes = yolo.read(tmp_path / "out", "train").table.boxes
    assert boxes is not None
    assert np.allclose(boxes[:2], [[30, 20, 10, 5], [1, 1, 1, 1]], atol=1e-6)
    assert np.isnan(boxes[2, 0])


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    builder = TableBuilder(NAMES)
    builder.add_image("a.jpg", size=(7, 7))  # wrong, as annotation files can be
    builder.add_object("cat", (0, 0, 40, 60))
    save(dataset(tmp_path, builder), tmp_path / "out")
    assert (tmp_path / "out/labels/train/a.txt").read_text() == "0 0.5 0.5 1 1\n"


def test_description_of_several_splits(images: Path, tmp_path: Path) -> None:
    data = dataset(images, begin(names=("no", "1"), boxes=True), names=("no", "1"))
    for split in ("train2017", "valid", "extra"):
        save(data, tmp_path, split)
    content = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert content == {
        "train": "images/train2017",
        "val": "images/valid",
        "extra": "images/extra",
        "names": {0: "no", 1: "1"},
    }
    assert yolo.splits(tmp_path) == ("train", "val", "extra")
    assert yolo.read(tmp_path, "val").info.class_names == ("no", "1")
    with pytest.raises(DataError, match=r"data\.yaml: split 'test' has other classes"):
        save(dataset(images, begin(names=("no",)), names=("no",)), tmp_path, "test")
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == content
    assert not (tmp_path / "labels" / "test").exists()


def test_a_data_set_without_splits_stays_one(images: Path, tmp_path: Path) -> None:
    builder = begin()
    builder.add_image("b.png", size=SIZE)
    save(dataset(images, builder), tmp_path / "out", "all")
    content = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert content["train"] == content["all"] == "images/all"
    assert "val" not in content
    assert split_names(resolve_source(tmp_path / "out")) == ("all",)
    assert len(yolo.read(tmp_path / "out", "all")) == 2


OUTER = [5.5, 5, 35, 5, 35, 35, 5.5, 35]
HOLE = [10, 10, 10, 20, 20, 20, 20, 10]
OTHER = [40, 10, 50, 10, 50, 30]


def test_polygons_come_back(images: Path, tmp_path: Path) -> None:
    builder = begin(outlines=True)
    builder.add_object("dog", (40, 10, 50, 30), outline=ObjectOutline(rings=[OTHER]))
    builder.add_object("cat", (1, 2, 3, 4))
    report = save(dataset(images, builder), tmp_path / "out")
    assert report.kept["polygons"] == report.kept["boxes"] == 1
    assert report.changed == {("boxes", "written as polygons of four corners"): 1}
    outlines = yolo.read(tmp_path / "out", "train").table.outlines
    assert outlines is not None
    assert np.allclose(outlines.rings(0)[0].reshape(-1), OTHER, atol=1e-6)
    assert np.allclose(outlines.rings(1)[0], [[1, 2], [3, 2], [3, 4], [1, 4]], atol=1e-6)


def test_outlines_of_nothing_are_boxes(images: Path, tmp_path: Path) -> None:
    builder = begin(outlines=True)
    builder.add_object("cat", (1, 2, 3, 4))
    assert save(dataset(images, builder), tmp_path / "out").lossless
    assert len((tmp_path / "out/labels/train/a.txt").read_text().split()) == 5


def test_rings_and_holes_become_one_polygon_of_the_same_pixels(images: Path, tmp_path: Path) -> None:
    builder = begin(outlines=True)
    builder.add_object(
        "cat", (5.5, 5, 50, 35), outline=ObjectOutline(rings=[OUTER, OTHER, HOLE], holes=[False, False, True])
    )
    data = dataset(images, builder)
    report = save(data, tmp_path / "out")
    assert report.kept["boxes"] == 1
    assert report.changed == {
        ("polygons", "several rings of an object became one"): 2,
        ("holes", "cut in by bridges without width"): 1,
    }
    back = yolo.read(tmp_path / "out", "train")
    assert back.table.outlines is not None
    assert len(back.table.outlines.rings(0)) == 1
    assert np.array_equal(back.object_masks(0), data.object_masks(0))
    assert back.table.area[0] == pytest.approx(29.5 * 30 - 100 + 100, abs=1e-3)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.95, 1.0])
def test_masks_become_polygons_of_the_same_pixels(images: Path, tmp_path: Path, share: float) -> None:
    mask = (np.random.default_rng(1).random(SIZE) < share).astype(np.uint8)
    builder = begin(outlines=True)
    builder.add_object("cat", (0, 0, 60, 40), outline=ObjectOutline(runs=runs_of_mask(mask), run_size=SIZE))
    report = save(dataset(images, builder), tmp_path / "out")
    assert report.changed["masks", "written as polygons"] == 1
    assert np.array_equal(yolo.read(tmp_path / "out", "train").object_masks(0)[0], mask)


def test_rings_run_along_the_edges_of_pixels() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[3:7, 5:11] = 1
    mask[4:6, 7:9] = 0
    rings, holes = rings_of(mask)
    assert holes == [False, True]
    assert [sorted(map(tuple, ring.tolist())) for ring in rings] == [
        [(5, 3), (5, 7), (11, 3), (11, 7)],
        [(7, 4), (7, 6), (9, 4), (9, 6)],
    ]
    assert np.array_equal(mask_of_rings(rings, holes, *SIZE), mask)
    assert rings_of(np.zeros(SIZE)) == ([], [])
    assert [ring.tolist() for ring in rings_of(np.ones((1, 1)))[0]] == [[[0, 0], [0, 1], [1, 1], [1, 0]]]


def test_boxes_that_are_not_the_polygons_are_counted(images: Path, tmp_path: Path) -> None:
    builder = begin(outlines=True)
    builder.add_object("cat", (40, 10, 50, 31), outline=ObjectOutline(rings=[OTHER]))
    builder.add_object("cat", (40, 10.01, 50, 30), outline=ObjectOutline(rings=[OTHER]))
    report = save(dataset(images, builder), tmp_path / "out")
    assert report.kept["boxes"] == 1
    assert report.changed == {("boxes", "became those around the polygon"): 1}


def test_malformed_outlines_become_boxes(images: Path, tmp_path: Path) -> None:
    builder = begin(outlines=True)
    builder.add_object("cat", (1, 2, 3, 4), outline=ObjectOutline(rings=[[1, 2, 3, 4]]))
    builder.add_object("cat", (1, 2, 3, 4), outline=ObjectOutline(runs=[5, 5], run_size=SIZE))
    report = save(dataset(images, builder), tmp_path / "out")
    assert report.dropped == {("polygons", "fewer than three points"): 1, ("masks", "too small or malformed"): 1}
    assert report.changed == {("boxes", "written as polygons of four corners"): 2}
    assert np.allclose(yolo.read(tmp_path / "out", "train").table.boxes, [[1, 2, 3, 4]] * 2, atol=1e-6)


def test_what_yolo_cannot_hold_is_counted(images: Path, tmp_path: Path) -> None:
    builder = TableBuilder(NAMES)
    builder.add_image("a.png", size=SIZE, attributes={"weather": "fog"})
    builder.add_object("cat", (1, 2, 3, 4), iscrowd=True, difficult=0)
    builder.add_object("emu", (1, 2, 3, 4), difficult=0)
    builder.add_object("dog", (1, 2, 3, 4), attributes={"pose": "left", "occluded": True}, difficult=1)
    report = save(dataset(images, builder), tmp_path / "out")
    assert report.kept["objects"] == 1
    assert report.dropped == {
        ("objects", "YOLO has no crowd regions"): 1,
        ("objects", "their class is not in the class list"): 1,
        ("difficult", "YOLO has no such mark"): 1,
        ("attribute pose", "YOLO has no attributes"): 1,
        ("attribute occluded", "YOLO has no attributes"): 1,
        ("attribute of images: weather", "YOLO has no attributes"): 1,
    }
    assert yolo.read(tmp_path / "out", "train").target(0)["labels"].tolist() == [1]


def test_images_of_one_stem_keep_their_own_rows(tmp_path: Path, write_image: Any) -> None:
    names = ("a.png", "a.jpg", "A.bmp", "x/b.png", "y/b.png")
    builder = TableBuilder(NAMES)
    for number, name in enumerate(names):
        write_image(tmp_path / "in" / name, SIZE)
        builder.add_image(name, size=SIZE)
        builder.add_object("cat", (0, 0, number + 1, 4))
    report = save(dataset(tmp_path / "in", builder), tmp_path / "out")
    assert report.changed == {("images", "renamed, because another has the same stem"): 2}
    back = yolo.read(tmp_path / "out", "train")
    found = {Path(back.path(index)).name: round(back.target(index)["boxes"][0, 2]) for index in range(len(back))}
    assert found == {"a.png": 1, "a_jpg.jpg": 2, "A_bmp.bmp": 3, "x_b.png": 4, "y_b.png": 5}


def test_keypoints_come_back(images: Path, tmp_path: Path) -> None:
    points = ("nose", "left_eye", "right_eye")
    builder = begin(names=("person",), num_keypoints=3)
    builder.add_object("person", (1, 2, 30, 20), keypoints=(3.5, 4.5, 2, 10.25, 11.125, 1, 0, 0, 0))
    builder.add_object("person", (1, 2, 30, 20), keypoints=(0.0,) * 9)
    data = dataset(images, builder, "keypoints", points, flip_pairs=((1, 2),))
    report = save(data, tmp_path / "out")
    assert report.lossless
    assert report.kept["keypoints"] == 2
    content = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert content["kpt_shape"] == [3, 3]
    assert content["flip_idx"] == [0, 2, 1]
    back = yolo.read(tmp_path / "out", "train")
    assert back.info.task == "keypoints"
    assert back.info.class_names == points
    assert back.info.flip_pairs == ((1, 2),)
    assert np.allclose(back.table.keypoints, data.table.keypoints, atol=1e-4)
    assert np.allclose(back.table.boxes, data.table.boxes, atol=1e-6)


def test_keypoints_without_boxes_get_some(images: Path, tmp_path: Path) -> None:
    builder = begin(names=("person",), num_keypoints=2, boxes=False)
    builder.add_object("person", keypoints=(3, 4, 2, 10, 12, 2))
    report = save(dataset(images, builder, "keypoints", ("one", "two")), tmp_path / "out")
    assert report.changed == {("boxes", "drawn around the keypoints, as there were none"): 1}
    assert np.allclose(yolo.read(tmp_path / "out", "train").table.boxes, [[3, 4, 10, 12]], atol=1e-6)


def test_label_maps_become_polygons_of_the_same_pixels(tmp_path: Path, write_image: Any) -> None:
    label_map = np.zeros(SIZE, np.uint8)
    label_map[5:30, 5:40] = 1
    label_map[10:20, 10:20] = 0
    label_map[12:14, 12:14] = 2
    label_map[35:, :] = 2
    label_map[0, 0] = 255
    write_image(tmp_path / "in/images/a.png", SIZE)
    (tmp_path / "in/masks").mkdir()
    Image.fromarray(label_map).save(tmp_path / "in/masks/a.png")
    data = masks.read(tmp_path / "in", "all", class_names=["background", *NAMES])
    report = save(data, tmp_path / "out", "all")
    assert report.kept["objects"] == 3
    assert report.changed["label maps", "written as polygons around each region"] == 1
    assert report.dropped == {("pixels to ignore", "polygons have no such regions"): 1}
    back = yolo.read(tmp_path / "out", "all", task="segmentation")
    assert back.info.class_names == ("background", *NAMES)
    assert np.array_equal(back.target(0)["label_map"], np.where(label_map == 255, 0, label_map))


def test_images_may_be_left_where_they_are(images: Path, tmp_path: Path) -> None:
    builder = begin()
    builder.add_object("cat", (1, 2, 3, 4))
    save(dataset(images, builder), tmp_path / "out", images="none")
    back = yolo.read(tmp_path / "out", "train", images=str(images))
    assert np.allclose(back.table.boxes, [[1, 2, 3, 4]], atol=1e-6)
    with pytest.raises(DataError, match="split 'train' has no images"):
        yolo.read(tmp_path / "out", "train")


def test_images_inside_of_annotations_become_files(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "a.png", SIZE)
    pixels = (tmp_path / "a.png").read_bytes()
    box = {"label": "cat", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        content = {"shapes": [box], "imagePath": f"{name}.png", "imageData": base64.b64encode(pixels).decode()}
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps(content))
    convert(tmp_path / "in", tmp_path / "out", "yolo", splits="all")
    back = yolo.read(tmp_path / "out", "all")
    assert np.allclose(back.table.boxes, [[1, 2, 3, 4]] * 2, atol=1e-6)
    assert np.array_equal(back.read(1).image, read_image(pixels))


def test_yolo_to_yolo_keeps_the_rows(images: Path, tmp_path: Path) -> None:
    rows = "1 0.5 0.5 0.25 0.25\n0 0.1 0.1 0.05 0.05\n"
    for split in ("train", "val"):
        (tmp_path / "one/images" / split).mkdir(parents=True)
        (tmp_path / "one/images" / split / f"{split}.png").write_bytes((images / "a.png").read_bytes())
        (tmp_path / "one/labels" / split).mkdir(parents=True)
        (tmp_path / "one/labels" / split / f"{split}.txt").write_text(rows)
    (tmp_path / "one/data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    report = convert(tmp_path / "one", tmp_path / "two", "yolo")
    assert report.lossless
    for split in ("train", "val"):
        assert (tmp_path / "two/labels" / split / f"{split}.txt").read_text() == rows


@pytest.mark.data("tiny_coco")
@pytest.mark.data("voc100_multiformat")
def test_real_sets_go_there_and_back(data_root: Path, tmp_path: Path) -> None:
    rows = data_root / "voc100_multiformat/gts/yolo_format"
    report = convert(rows, tmp_path / "voc", "yolo", images="../../images")
    assert report.lossless
    one, other = yolo.read(rows, "train", images="../../images"), yolo.read(tmp_path / "voc", "train")
    order = {Path(other.path(index)).name: index for index in range(len(other))}
    for index in range(len(one)):
        target, back = one.target(index), other.target(order[Path(one.path(index)).name])
        assert np.abs(target["boxes"] - back["boxes"]).max() < 1e-3
        assert np.array_equal(target["labels"], back["labels"])
    report = convert(data_root / "tiny_coco", tmp_path / "coco", "yolo", splits="val2017")
    data = yolo.read(tmp_path / "coco", "val", masks=True)
    assert len(data) == 50
    assert report.kept["objects"] == len(data.table.labels)
    assert report.dropped["objects", "YOLO has no crowd regions"] > 0
