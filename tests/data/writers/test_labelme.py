"""labelme files as written: what came from labelme goes back as it was, what came from elsewhere is read back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from saccade.data.readers import coco, detect_format, labelme, masks, voc
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.run_lengths import runs_of_mask
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import get_writer
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

SIZE = (40, 60)
NAMES = ("cat", "dog")
SQUARE = [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]
TRIANGLE = [30.0, 10.0, 40.0, 10.0, 35.0, 30.0]


def shape(label: str, kind: str, points: list[list[float]], **more: Any) -> dict[str, Any]:
    plain = {"group_id": None, "description": "", "shape_type": kind, "flags": {}, "mask": None}
    return {"label": label, "points": points, **plain, **more}


def png(pixels: Any) -> str:
    done, data = cv2.imencode(".png", np.asarray(pixels, np.uint8))
    assert done
    return base64.b64encode(data.tobytes()).decode()


def content(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain = {"imagePath": "a.png", "imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    return {"version": "5.0.0", "flags": {}, "shapes": list(shapes), **plain, **more}


def save(data: TableDataset, out: Path, split: str = "train", images: Any = "copy") -> LossReport:
    report = LossReport("test", "labelme")
    get_writer("labelme").write(data, out, split, images, report)
    return report


@pytest.fixture
def images(tmp_path: Path, write_image: Any) -> Path:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, SIZE)
    return tmp_path / "in"


def begin(**options: Any) -> TableBuilder:
    builder = TableBuilder(NAMES, **options)
    builder.add_image("a.png", size=SIZE)
    return builder


def dataset(root: Path, builder: TableBuilder, task: str = "detection", names: tuple[str, ...] = NAMES) -> TableDataset:
    return TableDataset(DatasetInfo("test", task, names), root, builder.build())


RING = [[1.0, 1.0], [9.5, 1.0], [9.0, 5.0]]
SHAPES = [
    shape("cat", "rectangle", [[10.0, 20.0], [30.0, 25.0]], flags={"occluded": True, "blurred": False}),
    shape("cat", "rectangle", [[30.0, 5.0], [10.0, 2.5]], group_id=0, description="drawn from the other end"),
    shape("road", "line", [[0.0, 0.0], [50.0, 30.0]], description="no area"),
    shape("dog", "polygon", RING, group_id=4, flags={"occluded": True}, description="head"),
    shape("dog", "circle", [[30.0, 20.0], [33.0, 24.0]], flags={"round": True}),
    shape("__ignore__", "polygon", [[0.0, 0.0], [5.0, 0.0], [5.0, 5.0]]),
    shape("dog", "polygon", [[20.0, 1.0], [24.0, 1.0], [24.0, 5.0]], group_id=4, description="tail", flags={"x": True}),
    shape("dog", "polygon", RING),
    shape("nose", "point", [[3.0, 4.0]], group_id=4, flags={"hidden": True}),
    shape("dog", "polygon", [[50.0, 1.0], [54.0, 1.0], [54.0, 5.0]], group_id=4, colour="red"),
    shape("cat", "polygon", RING, attributes={"colour": "red", "legs": 4}, score=0.5),
    shape("cat", "polygon", RING, flags={"description": True, "odd": 3}),
    shape("cat", "rotation", [[1.0, 1.0], [5.0, 5.0], [3.0, 7.0], [-1.0, 3.0]], direction=0.785),
    shape("nose", "linestrip", [[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]]),
]
MASK = shape("dog", "mask", [[10.25, 20.0], [15.25, 23.0]], mask=png(np.eye(4, 6)))


@pytest.mark.parametrize("task", ["detection", "segmentation", "keypoints", "classification"])
def test_labelme_comes_back(images: Path, tmp_path: Path, task: str) -> None:
    flags = {"cat": True, "dog": False} if task == "classification" else {"night": True, "rain": False}
    one = content(*SHAPES, MASK, flags=flags, operator="me", attributes={"place": "zoo"})
    (images / "a.json").write_text(json.dumps(one))
    other = {"cat": False, "dog": True} if task == "classification" else flags
    (images / "b.json").write_text(json.dumps(content(imagePath="b.png", flags=other)))
    convert(images, tmp_path / "out", "labelme", splits="all", task=task)
    back = json.loads((tmp_path / "out/a.json").read_text())
    for found, expected in zip(back["shapes"], one["shapes"], strict=True):
        if expected["mask"]:
            assert np.array_equal(decode(found.pop("mask")), decode(expected["mask"]))
            expected = {key: value for key, value in expected.items() if key != "mask"}
        assert found == expected
    assert {key: value for key, value in back.items() if key != "shapes"} == {
        key: value for key, value in one.items() if key != "shapes"
    }
    assert json.loads((tmp_path / "out/b.json").read_text()) == content(imagePath="b.png", flags=other)
    assert (tmp_path / "out/a.png").read_bytes() == (images / "a.png").read_bytes()


def decode(text: str) -> Any:
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_GRAYSCALE) > 0


def test_images_inside_the_file_become_files(tmp_path: Path, write_image: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_text(json.dumps(content(SHAPES[0], imageData=png(pixels[..., ::-1]))))
    (tmp_path / "in/b.json").write_text(json.dumps(content(imagePath="b.png")))
    write_image(tmp_path / "in/b.png", SIZE)
    report = convert(tmp_path / "in", tmp_path / "out", "labelme", splits="all")
    assert report.changed == {("images", "became files of their own"): 1}
    data = labelme.read(tmp_path / "out", "all")
    assert np.array_equal(data.read(0).image, pixels)
    assert json.loads((tmp_path / "out/a.json").read_text())["imageData"] is None
    assert (tmp_path / "out/b.png").read_bytes() == (tmp_path / "in/b.png").read_bytes()


def test_boxes_come_back(images: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    builder = TableBuilder(NAMES)
    for name in ("b.png", "a.png"):
        builder.add_image(name, size=SIZE)
        for _ in range(30):
            builder.add_object(
                NAMES[rng.integers(2)], tuple(rng.uniform(-5, 70, 4).tolist()), difficult=rng.integers(2)
            )
    data = dataset(images, builder)
    report = save(data, tmp_path / "out")
    assert report.kept["boxes"] == report.kept["objects"] == 60
    assert report.kept["images"] == report.kept["classes"] == 2
    assert not report.dropped
    assert set(report.changed) == {("difficult", "kept in a key that only Saccade reads")}
    assert detect_format(tmp_path / "out") == "labelme"
    back = labelme.read(tmp_path / "out", "train")
    order = data.table.select_images([1, 0])
    assert np.array_equal(back.table.boxes, order.boxes)
    assert np.array_equal(back.table.area, order.area)
    assert np.array_equal(back.table.labels, order.labels)
    assert np.array_equal(back.table.extras["difficult"], order.extras["difficult"])


def test_files_are_like_those_of_labelme(images: Path, tmp_path: Path) -> None:
    builder = begin()
    builder.add_object("cat", (1.5, 2, 3, 4))
    save(dataset(images, builder), tmp_path)
    expected = content(shape("cat", "rectangle", [[1.5, 2.0], [3.0, 4.0]]))
    assert json.loads((tmp_path / "train/a.json").read_text()) == expected
    assert (tmp_path / "labels.txt").read_text() == "__ignore__\n_background_\ncat\ndog\n"


def test_splits_have_folders_and_the_same_classes(images: Path, tmp_path: Path) -> None:
    data = dataset(images, begin())
    for split in ("train", "val"):
        save(data, tmp_path, split)
    assert labelme.splits(tmp_path) == ("train", "val")
    assert labelme.read(tmp_path, "val").info.class_names == NAMES
    with pytest.raises(DataError, match=r"labels\.txt: this split has other classes than those before"):
        save(dataset(images, begin(), names=("emu",)), tmp_path, "test")


def test_outlines_come_back(images: Path, tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:9, 7:20] = np.arange(13) % 3 > 0
    builder = begin(outlines=True)
    builder.add_object(
        "cat",
        (10, 10, 40, 30),
        outline=ObjectOutline(rings=[SQUARE, TRIANGLE]),
        attributes={"pose": "left", "wet": True},
    )
    builder.add_object("dog", (9.5, 10, 21, 20), area=99.5, iscrowd=True, outline=ObjectOutline(rings=[SQUARE]))
    hole = [12.0, 12.0, 12.0, 14.0, 14.0, 14.0]
    builder.add_object(
        "cat",
        (10, 10, 20, 20),
        outline=ObjectOutline(rings=[SQUARE, hole], holes=[False, True]),
        attributes={"group_id": 0},
    )
    builder.add_object("emu", (8, 5, 20, 9), outline=ObjectOutline(runs=runs_of_mask(mask), run_size=SIZE))
    builder.add_object("dog", (1, 2, 3, 4))
    data = dataset(images, builder)
    report = save(data, tmp_path / "out")
    assert not report.dropped
    assert report.changed == {
        ("crowd marks", "kept in a key that only Saccade reads"): 1,
        ("holes", "marked in a key that only Saccade reads"): 1,
    }
    assert report.kept["polygons"] == 4
    assert report.kept["masks"] == report.kept["boxes"] == 1
    back = labelme.read(tmp_path / "out", "train")
    for name in ("boxes", "area", "labels", "iscrowd"):
        assert np.array_equal(getattr(back.table, name), getattr(data.table, name))
    assert back.table.unknown_classes == ("emu",)
    one, other = data.table.outlines, back.table.outlines
    assert one is not None
    assert other is not None
    for name in ("ring_offsets", "point_offsets", "points_xy", "holes", "run_offsets", "runs"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert back.table.attributes is not None
    # Rings of one object need a group, which is then an attribute like those that were given.
    assert back.table.attributes.get(0) == {"pose": "left", "wet": True, "group_id": 1}
    assert back.table.attributes.get(2) == {"group_id": 0}
    assert np.array_equal(back.object_masks(0), data.object_masks(0))


def test_attributes_of_images_come_back(images: Path, tmp_path: Path) -> None:
    builder = TableBuilder(NAMES)
    builder.add_image("a.png", size=SIZE, attributes={"night": True, "license": 3})
    report = save(dataset(images, builder), tmp_path / "out")
    assert report.lossless
    back = labelme.read(tmp_path / "out", "train").table.image_attributes
    assert back is not None
    assert back.get(0) == {"night": True, "license": 3}
    assert json.loads((tmp_path / "out/train/a.json").read_text())["flags"] == {"night": True}


def test_an_attribute_of_that_name_from_elsewhere(images: Path, tmp_path: Path) -> None:
    builder = begin(outlines=True)
    builder.add_object("cat", (1, 2, 3, 4), attributes={"labelme": "yes"})
    builder.add_object(
        "cat",
        (10, 10, 20, 20),
        outline=ObjectOutline(rings=[SQUARE]),
        attributes={"labelme": [{"shape_type": "circle"}]},
    )
    builder.add_object(
        "cat", (10, 10, 20, 20), outline=ObjectOutline(rings=[SQUARE]), attributes={"labelme": [{"points": "none"}]}
    )
    save(dataset(images, builder), tmp_path / "out")
    shapes = json.loads((tmp_path / "out/train/a.json").read_text())["shapes"]
    assert [entry["shape_type"] for entry in shapes] == ["rectangle", "polygon", "polygon"]
    assert labelme.read(tmp_path / "out", "train").target(0)["boxes"][1:].tolist() == [[10, 10, 20, 20]] * 2


def test_numbers_that_json_cannot_hold_are_counted(images: Path, tmp_path: Path) -> None:
    builder = begin(outlines=True)
    builder.add_object("cat", (float("nan"), 2, 3, 4))
    builder.add_object("cat", (1, 2, 3, 4), outline=ObjectOutline(rings=[[1, 2, float("inf"), 4, 5, 6]]))
    builder.add_object("cat", (1, 2, 3, 4), outline=ObjectOutline(runs=[1, 2], run_size=SIZE))
    builder.add_object("cat", (1, 2, 3, 4))
    report = save(dataset(images, builder), tmp_path / "out")
    assert report.dropped == {
        ("objects", "their numbers are not finite, or far from any image"): 2,
        ("masks", "malformed"): 1,
    }
    assert labelme.read(tmp_path / "out", "train").target(0)["boxes"].tolist() == [[1, 2, 3, 4]] * 2


def test_keypoints_come_back(images: Path, tmp_path: Path) -> None:
    points = ("nose", "left_eye", "right_eye")
    builder = TableBuilder(("person",), num_keypoints=3)
    builder.add_image("a.png", size=SIZE)
    builder.add_object("person", (1, 2, 30, 20), keypoints=(3.5, 4.3, 2, 10.25, 11.1, 1, 0, 0, 0))
    builder.add_object("person", (5, 2, 30, 20), keypoints=(0.0,) * 9)
    data = dataset(images, builder, "keypoints", points)
    report = save(data, tmp_path / "out")
    assert report.lossless
    assert report.kept["keypoints"] == 2
    back = labelme.read(tmp_path / "out", "train", task="keypoints")
    assert back.info.class_names == points
    assert np.array_equal(back.table.keypoints, data.table.keypoints)
    assert np.array_equal(back.table.boxes, data.table.boxes)


def test_classes_of_images_become_flags(images: Path, tmp_path: Path) -> None:
    builder = TableBuilder(NAMES, boxes=False)
    for name, label in (("a.png", "dog"), ("b.png", "cat")):
        builder.add_image(name, size=SIZE)
        builder.add_object(label)
    report = save(dataset(images, builder, "classification"), tmp_path / "out")
    assert report.lossless
    assert json.loads((tmp_path / "out/train/a.json").read_text())["flags"] == {"cat": False, "dog": True}
    back = labelme.read(tmp_path / "out", "train")
    assert back.info.task == "classification"
    assert back.info.class_names == NAMES
    assert [int(back.target(index)["labels"]) for index in range(2)] == [1, 0]


def test_label_maps_become_polygons_of_the_same_pixels(tmp_path: Path, write_image: Any) -> None:
    label_map = np.zeros(SIZE, np.uint8)
    label_map[5:30, 5:40] = 1
    label_map[10:20, 10:20] = 0
    label_map[12:14, 12:14] = 2
    label_map[35:, :] = 2
    write_image(tmp_path / "in/images/a.png", SIZE)
    (tmp_path / "in/masks").mkdir()
    Image.fromarray(label_map).save(tmp_path / "in/masks/a.png")
    save(masks.read(tmp_path / "in", "all", class_names=["background", *NAMES]), tmp_path / "out", "all")
    back = labelme.read(tmp_path / "out", "all", task="segmentation")
    assert np.array_equal(back.target(0)["label_map"], label_map)


def test_images_of_one_stem_keep_their_own_files(tmp_path: Path, write_image: Any) -> None:
    builder = TableBuilder(NAMES)
    for number, name in enumerate(("a.png", "a.jpg")):
        write_image(tmp_path / "in" / name, SIZE)
        builder.add_image(name, size=SIZE)
        builder.add_object("cat", (0, 0, number + 1, 4))
    report = save(dataset(tmp_path / "in", builder), tmp_path / "out")
    assert report.changed == {("images", "renamed, because another has the same stem"): 1}
    back = labelme.read(tmp_path / "out", "train")
    found = {Path(back.path(index)).name: back.target(index)["boxes"][0, 2] for index in range(len(back))}
    assert found == {"a.png": 1, "a_jpg.jpg": 2}


def test_voc_keeps_difficult(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path / "voc", {"a": [("cat", 1, 1, 60, 40), ("dog", 7, 5, 8, 30, 1)]}, {"train": ["a"]})
    convert(root, tmp_path / "labelme", "labelme")
    convert(tmp_path / "labelme", tmp_path / "back", "voc")
    one, other = voc.read(root, "train"), voc.read(tmp_path / "back", "train")
    assert np.array_equal(one.table.boxes, other.table.boxes)
    assert np.array_equal(one.table.extras["difficult"], other.table.extras["difficult"])


@pytest.mark.data("labelme_samples")
@pytest.mark.parametrize(
    "name",
    [
        "bbox_detection/data_annotated",
        "instance_segmentation/data_annotated",
        "semantic_segmentation/data_annotated",
        "video_annotation/data_annotated",
        "classification/data_annotated",
        "primitives",
        "tutorial",
    ],
)
def test_samples_come_back(data_root: Path, tmp_path: Path, name: str) -> None:
    root = data_root / "labelme_samples" / name
    report = convert(root, tmp_path, "labelme", splits="all")
    assert report.lossless
    for file in root.glob("*.json"):
        one, other = json.loads(file.read_text()), json.loads((tmp_path / file.name).read_text())
        assert other["flags"] == one["flags"]
        assert (other["imageHeight"], other["imageWidth"]) == (one["imageHeight"], one["imageWidth"])
        for entry, back in zip(one["shapes"], other["shapes"], strict=True):
            for key in ("label", "points", "shape_type", "flags", "group_id"):
                assert back[key] == entry[key]
            assert (back.get("description") or "") == (entry.get("description") or "")
            if entry.get("mask"):
                assert np.array_equal(decode(back["mask"]), decode(entry["mask"]))


@pytest.mark.data("tiny_coco")
def test_coco_comes_back_through_labelme(data_root: Path, tmp_path: Path) -> None:
    convert(data_root / "tiny_coco", tmp_path / "labelme", "labelme", splits="val2017")
    report = convert(tmp_path / "labelme", tmp_path / "coco", "coco")
    assert not report.dropped
    one, other = coco.read(data_root / "tiny_coco", "val2017"), coco.read(tmp_path / "coco", "val2017")
    assert other.info.class_names == one.info.class_names
    order = {Path(other.path(index)).name: index for index in range(len(other))}
    chosen = other.table.select_images([order[Path(one.path(index)).name] for index in range(len(one))])
    assert np.allclose(chosen.boxes, one.table.boxes, atol=1e-9, rtol=0)
    for name in ("labels", "area", "iscrowd"):
        assert np.array_equal(getattr(chosen, name), getattr(one.table, name))
    assert chosen.outlines is not None
    assert one.table.outlines is not None
    for name in ("ring_offsets", "points_xy", "runs"):
        assert np.array_equal(getattr(chosen.outlines, name), getattr(one.table.outlines, name))
