"""Policies for faulty labels, outlines and images: what is refused, what is left out, and where it is listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saccade.data.open import open_dataset
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.faults import apply_policy
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import DatasetInfo

SQUARE = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
STRAY = {
    "two points": [3.0, 3.0, 9.0, 9.0],
    "no point": [],
    "not finite": [3.0, 3.0, 9.0, np.nan, 9.0, 3.0],
    "infinite": [3.0, 3.0, np.inf, 9.0, 9.0, 3.0],
    "far": [1.0, 1.0, 9000.0, 1.0, 9000.0, 9000.0],
    "on a line": [1.0, 1.0, 3.0, 3.0, 7.0, 7.0],
    "one point thrice": [4.0, 4.0, 4.0, 4.0, 4.0, 4.0],
}


def painted(rings: list[list[float]], masks: bool = True, **outline: Any) -> TableDataset:
    """One image of 40 x 60 with an object of these rings, and a sound one."""
    builder = TableBuilder(["cat"], outlines=True)
    builder.add_image("a.png", size=(40, 60))
    builder.add_object("cat", (3, 3, 30, 30), outline=ObjectOutline(rings=rings, **outline))
    builder.add_object("cat", (10, 10, 30, 30), outline=ObjectOutline(rings=[SQUARE]))
    return TableDataset(
        DatasetInfo("cats", "detection", ("cat",)), Path("cats"), builder.build(), "a.json", masks=masks
    )


@pytest.mark.parametrize("policy", ["drop", "repair"])
@pytest.mark.parametrize("stray", STRAY)
def test_a_stray_ring_goes_and_the_good_ones_stay(stray: str, policy: Any) -> None:
    data = painted([STRAY[stray], SQUARE])
    if stray not in ("on a line", "one point thrice"):  # those change nothing beside a sound one
        with pytest.raises(DataError, match=r"object 0 \(cat\).*polygon.*\n.*drop.*check DATA --repair"):
            apply_policy(data, "error")
    mended = apply_policy(data, policy)
    masks = mended.object_masks(0)
    assert len(masks) == 2
    assert np.array_equal(masks[0], masks[1])
    assert masks[0].sum() == 400
    ((where, _),) = mended.left_out
    assert "a.json: object 0 (cat): polygon 0" in where
    assert sum(mended.repairs.values()) == 1
    assert data.left_out == []


@pytest.mark.parametrize("policy", ["drop", "repair"])
@pytest.mark.parametrize("stray", STRAY)
def test_an_object_without_any_good_ring_goes_or_keeps_its_box(stray: str, policy: Any) -> None:
    with pytest.raises(DataError, match="1 faulty label"):
        apply_policy(painted([STRAY[stray]]), "error")
    mended = apply_policy(painted([STRAY[stray]]), policy)
    assert len(mended.object_masks(0)) == 1
    assert mended.repairs["dropped without outline"] == 1
    boxes = apply_policy(painted([STRAY[stray]], masks=False), policy)
    assert boxes.target(0)["boxes"].tolist() == [[3, 3, 30, 30], [10, 10, 30, 30]]
    assert apply_policy(painted([STRAY[stray]], masks=False), "error").repairs == {}


def test_four_corners_in_the_wrong_order_are_no_line() -> None:
    crossed = [10.0, 10.0, 30.0, 30.0, 30.0, 10.0, 10.0, 30.0]  # the two triangles cancel in the shoelace formula
    assert apply_policy(painted([crossed]), "error").object_masks(0)[0].any()


@pytest.mark.parametrize("outline", [{"runs": [5, 5], "run_size": (40, 60)}, {"runs": [2, 4], "run_size": (2, 3)}])
def test_masks_that_do_not_fit_their_image(outline: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="mask"):
        apply_policy(painted([], **outline), "error")
    mended = apply_policy(painted([], **outline), "drop")
    assert len(mended.object_masks(0)) == 1
    assert len(mended.left_out) == 2  # the mask, and the object without it


def test_faults_that_readers_read_past(tmp_path: Path) -> None:
    builder = TableBuilder(["cat"])
    builder.add_image("a.png", size=(40, 60))
    builder.add_object("cat", (3, 3, 30, 30))
    for line in range(2, 9):
        builder.add_fault("labels.number", f"a.txt: line {line}", "'x' is no number. Correct it.")
    data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), tmp_path, builder.build())
    with pytest.raises(DataError) as caught:
        apply_policy(data, "error")
    lines = str(caught.value).splitlines()
    assert lines[0] == "cats (train): 7 faulty labels:"
    assert lines[1] == "  a.txt: line 2: 'x' is no number. Correct it."
    assert lines[6] == "  ... and 2 more"
    mended = apply_policy(data, "drop")
    assert mended.repairs == {"left out labels.number": 7}
    assert mended.left_out[0] == ("a.txt: line 2", "'x' is no number. Correct it.")
    assert len(mended.target(0)["boxes"]) == 1


def coco(root: Path, segmentation: list[list[float]]) -> Path:
    """Three images of 32 x 32 with an object each; the first object has the rings given, the last image is broken."""
    root.mkdir()
    images, objects = [], []
    square = [2, 2, 20, 2, 20, 20, 2, 20]
    for number in range(3):
        Image.new("RGB", (32, 32), (number * 50, 99, 0)).save(root / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 32, "height": 32})
        rings = segmentation if number == 0 else [square]
        box = {"bbox": [2, 2, 18, 18], "area": 324, "iscrowd": 0}
        objects.append({"id": number, "image_id": number, "category_id": 1 + number % 2, "segmentation": rings, **box})
    classes = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    whole = {"images": images, "annotations": objects, "categories": classes}
    (root / "instances_all.json").write_text(json.dumps(whole))
    return root


@pytest.mark.parametrize("policy", ["drop", "repair"])
def test_a_stray_ring_of_coco_is_left_out_of_label_maps(tmp_path: Path, policy: Any) -> None:
    root = coco(tmp_path / "set", [[2, 2, 20, 2, 20, 20, 2, 20], [5, 5, 9, 9]])
    data = open_dataset(root, "all", task="segmentation", bad_labels=policy)
    assert [int((data.target(index)["label_map"] > 0).sum()) for index in range(3)] == [324, 324, 324]


def test_unreadable_images_are_left_out_and_listed_in_the_run_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("train", "val"):
        for name, color in (("cat", "red"), ("dog", "blue")):
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (32, 32), color).save(root / split / name / f"{number}.png")
    broken = root / "train" / "cat" / "1.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"bad_images is 'dorp'. Did you mean 'drop'"):
        open_dataset(root, "train", bad_images="dorp")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"1\.png: the file ends"):
        open_dataset(root, "train").read(1)
    data = open_dataset(root, "train", bad_images="drop")
    assert (len(data), data.repairs) == (5, {"dropped unreadable images": 1})  # type: ignore[attr-defined]

    from saccade.cli import main

    words = ["train", "--model", "lenet5", "--data", str(root), "--data.bad-images", "drop", "--name", "run"]
    words += ["--out", str(tmp_path), "--epochs", "1", "--data.workers", "0", "--data.batch-size", "4"]
    assert main(words) == 0
    with (tmp_path / "run" / "left_out.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["split"], Path(row["place"])) == ("train", broken)
    assert "the file ends" in row["reason"]


def test_no_readable_image_at_all_is_an_error(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"none of its 2 images can be read. The first: "):
        open_dataset(tmp_path, "train", bad_images="drop")
