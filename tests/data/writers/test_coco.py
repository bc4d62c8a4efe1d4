"""The content of COCO files comes back as it was; what COCO cannot hold is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as codec
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as reference

from saccade.data.readers import coco as reader
from saccade.data.readers import instance_masks, masks
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.run_lengths import compress_runs, mask_of_runs, runs_of_mask
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import coco as writer
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

SQUARE = [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]
RUNS = {"size": [40, 60], "counts": [100, 7, 2293]}


def annotation(number: int, image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    base = {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": 7.25, "iscrowd": 0}
    return {**base, "segmentation": [], **more}


CONTENT: dict[str, Any] = {
    "images": [
        {"id": 900, "file_name": "a.png", "height": 40, "width": 60, "license": 3, "coco_url": "http://a"},
        {"id": 5, "file_name": "b.png", "height": 40, "width": 60},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 17, "name": "yak"}, {"id": 90, "name": "emu"}],
    "annotations": [
        annotation(1, 900, 90, [1.07, 2.01, 10.13, 20.09], segmentation=[SQUARE, [1.1, 2.2, 3.3, 4.4, 5.5, 0.1]]),
        annotation(2, 900, 3, [0.1, 0.2, 0.3, 0.7], segmentation=RUNS, iscrowd=1, area=0.1 + 0.2),
        annotation(3, 900, 17, [5.0, 5.0, -3.0, 0.0], attributes={"pose": "left", "difficult": 1, "tags": ["x"]}),
    ],
}


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / "train2017" / name)
    (tmp_path / "in" / "annotations").mkdir()
    (tmp_path / "in" / "annotations" / "instances_train2017.json").write_text(json.dumps(CONTENT))
    return tmp_path / "in"


def written(out: Path, name: str) -> Any:
    return json.loads((out / "annotations" / f"{name}.json").read_text())


def save(data: TableDataset, out: Path, split: str = "train", **options: Any) -> LossReport:
    report = LossReport("test", "coco")
    writer.write(data, out, split, "none", report, **options)
    return report


def test_coco_comes_back_word_for_word(root: Path, tmp_path: Path) -> None:
    report = convert(root, tmp_path / "out", "coco")
    assert written(tmp_path / "out", "instances_train2017") == CONTENT
    assert report.lossless
    assert dict(report.kept) == {
        "images": 2,
        "classes": 3,
        "objects": 3,
        "boxes": 3,
        "crowds": 1,
        "polygons": 2,
        "masks": 1,
        "attribute pose": 1,
        "attribute difficult": 1,
        "attribute tags": 1,
        "attribute of images: license": 1,
        "attribute of images: coco_url": 1,
    }
    assert (tmp_path / "out" / "train2017" / "b.png").read_bytes() == (root / "train2017" / "b.png").read_bytes()
    again = reader.read(tmp_path / "out", "train")
    assert again.read(0).image.shape == (40, 60, 3)
    assert np.array_equal(again.table.boxes, reader.read(root, "train").table.boxes)


@pytest.mark.data("tiny_coco")
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_objects_come_back_word_for_word(data_root: Path, tmp_path: Path, split: str) -> None:
    root = data_root / "tiny_coco"
    report = save(reader.read(root, split), tmp_path, split)
    before = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    after = written(tmp_path, f"instances_{split}")
    assert report.lossless
    assert after["images"] == before["images"]
    assert [(each["id"], each["name"]) for each in after["categories"]] == [
        (each["id"], each["name"]) for each in before["categories"]
    ]
    number_of = {image["id"]: index for index, image in enumerate(before["images"])}
    expected = sorted(before["annotations"], key=lambda each: number_of[each["image_id"]])
    assert len(after["annotations"]) == len(expected)
    for mine, theirs in zip(after["annotations"], expected, strict=True):
        assert {**mine, "id": 0} == {**theirs, "id": 0}
    assert report.kept["crowds"] == sum(each["iscrowd"] for each in expected) > 0
    assert report.kept["masks"] == report.kept["crowds"]


@pytest.mark.data("tiny_coco")
def test_real_persons_come_back(data_root: Path, tmp_path: Path) -> None:
    root = data_root / "tiny_coco"
    data = reader.read(root, "val", task="keypoints")
    report = save(data, tmp_path, "val2017")
    before = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    after = written(tmp_path, "person_keypoints_val2017")
    number_of = {image["id"]: index for index, image in enumerate(before["images"])}
    expected = sorted(before["annotations"], key=lambda each: number_of[each["image_id"]])
    for mine, theirs in zip(after["annotations"], expected, strict=True):
        assert {**mine, "id": 0} == {**theirs, "id": 0}
    assert after["categories"][0]["name"] == "person"
    assert after["categories"][0]["keypoints"] == before["categories"][0]["keypoints"]
    assert report.lossless
    assert report.kept["keypoints"] == sum(each["num_keypoints"] for each in expected)
    again = reader.read(tmp_path, "val", task="keypoints", images=str(root / "val2017"))
    assert np.array_equal(again.table.keypoints, data.table.keypoints)


@given(st.lists(st.tuples(*[st.floats(-50, 3000)] * 4), min_size=1, max_size=20))
def test_edges_return_to_the_last_bit_or_the_one_before(boxes: Any) -> None:
    corners = np.array(boxes, np.float64)
    widths = writer._widths(corners)
    again = corners[:, :2] + widths
    gap = np.spacing(np.maximum(np.abs(corners).max(), 1.0))
    assert (np.abs(again - corners[:, 2:]) <= gap).all()


@given(st.lists(st.tuples(*[st.integers(0, 300_000)] * 4), min_size=1, max_size=20))
def test_widths_of_two_decimals_return_exactly(boxes: Any) -> None:
    """As COCO rounds them."""
    numbers = np.array(boxes, np.float64) / 100
    corners = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
    assert np.array_equal(writer._widths(corners), numbers[:, 2:])


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_compressed_code_is_that_of_pycocotools(seed: int, share: float) -> None:
    mask = (np.random.default_rng(seed).random((17, 23)) < share).astype(np.uint8)
    expected = reference.encode(np.asfortranarray(mask))["counts"].decode()
    assert compress_runs(runs_of_mask(mask)) == expected


def test_masks_can_be_compressed(root: Path, tmp_path: Path) -> None:
    save(reader.read(root, "train"), tmp_path, compress=True)
    code = written(tmp_path, "instances_train")["annotations"][1]["segmentation"]
    assert isinstance(code["counts"], str)
    assert np.array_equal(codec.decode(code), mask_of_runs(RUNS["counts"], 40, 60))
    again = reader.read(tmp_path, "train").table.outlines
    assert again is not None
    assert again.mask_runs(1).tolist() == RUNS["counts"]


def dataset(root: Path, task: str, names: tuple[str, ...], builder: TableBuilder, **info: Any) -> TableDataset:
    return TableDataset(DatasetInfo("test", task, names, **info), root, builder.build())


def test_holes_become_masks(root: Path, tmp_path: Path) -> None:
    builder = TableBuilder(["cat"], outlines=True)
    builder.add_image("a.png", size=(40, 60))
    outer, inner = SQUARE, [12.0, 12.0, 18.0, 12.0, 18.0, 18.0, 12.0, 18.0]
    builder.add_object("cat", (10, 10, 20, 20), outline=ObjectOutline(rings=[outer, inner], holes=[False, True]))
    builder.add_object("cat", (10, 10, 20, 20), outline=ObjectOutline(rings=[outer]))
    report = save(dataset(root / "train2017", "detection", ("cat",), builder), tmp_path)
    entries = written(tmp_path, "instances_train")["annotations"]
    mask = mask_of_runs(entries[0]["segmentation"]["counts"], 40, 60)
    assert mask.sum() == 100 - 36
    assert not mask[12:18, 12:18].any()
    assert entries[1]["segmentation"] == [outer]
    assert dict(report.changed) == {
        ("polygons", "written as masks, since they have holes"): 1,
        ("holes", "written in masks"): 1,
    }
    assert not report.dropped


def test_a_malformed_outline_with_holes_is_named(root: Path, tmp_path: Path) -> None:
    builder = TableBuilder(["cat"], outlines=True)
    builder.add_image("a.png", size=(40, 60))
    builder.add_object("cat", (10, 10, 20, 20), outline=ObjectOutline(rings=[SQUARE, [1.0, 1.0]], holes=[False, True]))
    with pytest.raises(DataError, match=r"a\.png: the outline of object 0 of a\.png is malformed"):
        save(dataset(root / "train2017", "detection", ("cat",), builder), tmp_path)
    assert not list((tmp_path / "annotations").iterdir())


def test_sizes_come_from_the_image_where_the_source_has_none(root: Path, tmp_path: Path) -> None:
    builder = TableBuilder(["cat"])
    builder.add_image("b.png")
    save(dataset(root / "train2017", "detection", ("cat",), builder), tmp_path)
    content = written(tmp_path, "instances_train")
    assert content["images"] == [{"id": 0, "file_name": "b.png", "height": 40, "width": 60}]
    assert content["categories"] == [{"id": 1, "name": "cat"}]
    assert content["annotations"] == []


def test_faulty_objects(root: Path, tmp_path: Path) -> None:
    builder = TableBuilder(["cat"])
    builder.add_image("b.png", size=(40, 60))
    builder.add_object("cat", (0, float("nan"), 4, 4))
    builder.add_object("cat", (9, 9, 4, 4))
    builder.add_object("dog", (1, 1, 4, 4))
    report = save(dataset(root / "train2017", "detection", ("cat",), builder), tmp_path)
    assert report.dropped == {("objects", "their numbers are not finite, which JSON cannot hold"): 1}
    assert report.changed == {("classes", "objects of unknown classes keep a number, not a name"): 1}
    again = reader.read(tmp_path, "train").table
    assert again.boxes is not None
    assert again.boxes.tolist() == [[9, 9, 4, 4], [1, 1, 4, 4]]
    assert again.labels.tolist() == [0, -1]


def test_points_without_boxes_get_one(root: Path, tmp_path: Path) -> None:
    builder = TableBuilder(["object"], 3, boxes=False)
    builder.add_image("a.png", size=(40, 60))
    builder.add_object("object", keypoints=[10.5, 5.5, 2, 20.25, 30, 1, 0, 0, 0])
    builder.add_object("object", keypoints=[0] * 9)
    data = dataset(root / "train2017", "keypoints", ("left", "right", "top"), builder)
    report = save(data, tmp_path)
    content = written(tmp_path, "person_keypoints_train")
    assert content["categories"] == [{"id": 1, "name": "object", "keypoints": ["left", "right", "top"], "skeleton": []}]
    first, second = content["annotations"]
    assert first["bbox"] == [10.5, 5.5, 9.75, 24.5]
    assert first["area"] == 9.75 * 24.5
    assert first["keypoints"] == [10, 5, 2, 19.75, 29.5, 1, 0, 0, 0]
    assert (first["num_keypoints"], second["num_keypoints"]) == (2, 0)
    assert second["bbox"] == [0, 0, 0, 0]
    assert report.changed == {("boxes", "made around the labelled points"): 2}
    again = reader.read(tmp_path, "train", task="keypoints").table
    assert np.array_equal(again.keypoints, data.table.keypoints)


def test_points_of_several_classes_become_one(root: Path, tmp_path: Path) -> None:
    builder = TableBuilder(["cat", "dog"], 1)
    builder.add_image("a.png", size=(40, 60))
    for name in ("cat", "dog"):
        builder.add_object(name, (1, 2, 9, 9), keypoints=[5, 5, 2])
    report = save(dataset(root / "train2017", "keypoints", ("nose",), builder), tmp_path)
    assert report.changed == {("classes", "all objects with points became one class"): 1}
    assert reader.read(tmp_path, "train", task="keypoints").table.labels.tolist() == [0, 0]


@pytest.mark.parametrize("names", [("background", "road", "sky"), ("road", "sky", "tree")])
def test_label_maps_become_one_mask_for_each_class(tmp_path: Path, write_image: Any, names: tuple[str, ...]) -> None:
    import cv2

    write_image(tmp_path / "in" / "images" / "a.png")
    (tmp_path / "in" / "masks").mkdir()
    values = np.random.default_rng(0).integers(0, 3, (40, 60), dtype=np.uint8)
    values[3, 4:9] = 255
    assert cv2.imwrite(str(tmp_path / "in" / "masks" / "a.png"), values)
    data = masks.read(tmp_path / "in", "all", class_names=names)
    report = save(data, tmp_path / "out")
    again = reader.read(tmp_path / "out", "train", task="segmentation")
    has_background = names[0] == "background"
    assert again.info.class_names == (names if has_background else ("background", *names))
    expected = np.where(values == 255, 0, values if has_background else values + 1)
    assert np.array_equal(again.target(0)["label_map"], expected)
    assert report.changed == {("label maps", "one mask for each class"): 1}
    assert report.dropped == {("ignored pixels", "COCO has no mark for them"): 5}


def test_instance_maps_become_masks(tmp_path: Path, write_image: Any) -> None:
    import cv2

    write_image(tmp_path / "in" / "PNGImages" / "a.png")
    (tmp_path / "in" / "PedMasks").mkdir()
    values = np.zeros((40, 60), np.uint8)
    values[5:9, 5:9], values[6:8, 6:8], values[20:30, 5:50] = 1, 0, 2
    assert cv2.imwrite(str(tmp_path / "in" / "PedMasks" / "a_mask.png"), values)
    data = instance_masks.read(tmp_path / "in", "all")
    report = save(data, tmp_path / "out")
    again = reader.read(tmp_path / "out", "train", masks=True).target(0)
    assert np.array_equal(again["masks"], [values == 1, values == 2])
    assert again["area"].tolist() == [12, 450]
    assert report.lossless


def test_missing_image_is_named(root: Path, tmp_path: Path) -> None:
    (root / "train2017" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: the image does not exist"):
        convert(root, tmp_path / "out", "coco")
