"""The repaired copy: what is changed, what is listed, and that the source stays as it was."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.data.check import check_dataset, check_source
from saccade.data.check.repair import Change, repair_source, repair_table
from saccade.data.open import open_dataset, open_raw
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError, SaccadeError
from saccade.structures.dataset import DatasetInfo

Build = Callable[..., TableDataset]


def make(objects: list[dict[str, Any]], task: str = "detection", **options: Any) -> TableDataset:
    """A table of one image, 40 high and 60 wide."""
    builder = TableBuilder(("cat", "dog"), **options)
    builder.add_image("a.jpg", size=(40, 60))
    for item in objects:
        builder.add_object(**{"class_name": "cat", "box_xyxy": (1, 2, 30, 35), **item})
    return TableDataset(DatasetInfo("set", task, ("cat", "dog"), "all"), Path("set"), builder.build())


def listed(changes: list[Change]) -> list[tuple[str, Any, Any, str]]:
    return [(change.field, change.before, change.after, change.reason) for change in changes]


def test_boxes_are_swapped_clipped_and_removed() -> None:
    boxes = [
        (30, 20, 10, 5),
        (-9, 5, 70, 20),
        (5, 5, 5, 9),
        (np.nan, 0, 5, 5),
        (90, 50, 99, 60),
        (1, 2, 3, 4),
        (1, 2, 3, 4),
    ]
    table, changes = repair_table(make([{"box_xyxy": box} for box in boxes]))
    assert table.boxes is not None
    assert table.boxes.tolist() == [[10, 5, 30, 20], [0, 5, 60, 20], [1, 2, 3, 4]]
    assert table.area.tolist() == [300, 900, 4]
    assert listed(changes) == [
        ("object 0 (cat): box", [30, 20, 10, 5], [10, 5, 30, 20], "inverted"),
        ("object 1 (cat): box", [-9, 5, 70, 20], [0, 5, 60, 20], "outside"),
        ("object 2 (cat)", {"class": "cat", "box": [5, 5, 5, 9]}, None, "zero area"),
        ("object 3 (cat)", {"class": "cat", "box": ["nan", 0, 5, 5]}, None, "not finite"),
        ("object 4 (cat)", {"class": "cat", "box": [90, 50, 99, 60]}, None, "outside"),
        ("object 6 (cat)", {"class": "cat", "box": [1, 2, 3, 4]}, None, "given twice"),
    ]


def test_boxes_that_become_equal_are_given_twice_too() -> None:
    table, changes = repair_table(make([{"box_xyxy": (1, 2, 3, 4)}, {"box_xyxy": (3, 4, 1, 2)}]))
    assert len(table.labels) == 1
    assert [change.reason for change in changes] == ["inverted", "given twice"]


def test_unknown_classes_points_and_polygons() -> None:
    square = [1.0, 1.0, 9.0, 1.0, 9.0, 9.0]
    dataset = make(
        [
            {"class_name": "emu", "keypoints": [99, 1, 2, 1, 1, 2], "outline": ObjectOutline(rings=[[1.0, 1.0]])},
            {"keypoints": [61, 1, 2, 99, 1, 0], "outline": ObjectOutline(rings=[[1.0, 1.0, 2.0, 2.0], square])},
            {"box_xyxy": (4, 4, 8, 8), "keypoints": [np.inf, 1, 2, 1, 1, 2], "outline": ObjectOutline(rings=[square])},
        ],
        num_keypoints=2,
        outlines=True,
    )
    table, changes = repair_table(dataset)
    assert listed(changes)[1:] == [
        ("object 1 (cat): keypoint 0", [61, 1, 2], [0, 0, 0], "keypoint outside"),
        ("object 1 (cat): polygon 0", [[1, 1], [2, 2]], None, "polygon: fewer than three points"),
        ("object 2 (cat)", listed(changes)[3][1], None, "not finite"),
    ]
    assert changes[0].reason == "unknown class"
    assert changes[0].before["class"] == "emu"
    assert len(table.labels) == 1
    assert table.keypoints.tolist() == [[[0, 0, 0], [99, 1, 0]]]  # an unlabelled point is nowhere
    assert table.outlines is not None
    assert [ring.reshape(-1).tolist() for ring in table.outlines.rings(0)] == [square]
    assert json.dumps([change.before for change in changes], allow_nan=False)


NUMBERS = st.sampled_from([-50.0, 0.0, 3.0, 20.0, 39.5, 61.0, np.nan, np.inf])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["cat", "dog", "emu"]), NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=8))
def test_a_repaired_table_has_no_faults_and_is_not_changed_again(rows: list[tuple[Any, ...]]) -> None:
    dataset = make([{"class_name": name, "box_xyxy": box} for name, *box in rows])
    before = dataset.table.boxes.copy() if dataset.table.boxes is not None else None
    table, changes = repair_table(dataset)
    repaired = dataset.with_table(table)
    codes = {"boxes.not-finite", "boxes.inverted", "boxes.zero-area", "boxes.outside", "labels.class", "boxes.repeated"}
    assert not [issue for issue in check_dataset(repaired, images=False).issues if issue.code in codes]
    again, more = repair_table(repaired)
    assert more == []
    assert np.array_equal(again.boxes, table.boxes)  # type: ignore[arg-type]
    assert len(rows) - len(table.labels) == sum(change.after is None for change in changes)
    assert np.array_equal(dataset.table.boxes, before, equal_nan=True)  # type: ignore[arg-type]


def _content(root: Path) -> dict[str, str]:
    files = (file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def broken(tmp_path: Path, write_voc: Any) -> Path:
    objects = {
        "a": [("cat", 1, 1, 20, 20), ("cat", 9, 9, 9, 9), ("dog", 30, 30, 11, 21)],
        "b": [("dog", 5, 5, 90, 20)],
        "c": [("dog", 5, 5, 9, 20)],
    }
    root: Path = write_voc(tmp_path / "set", objects, {"train": ["a"], "val": ["b", "c"], "trainval": ["a", "b", "c"]})
    (root / "JPEGImages" / "c.jpg").write_bytes(b"no image")
    return root


def test_the_copy_opens_and_the_source_is_untouched(broken: Path, tmp_path: Path) -> None:
    before = _content(broken)
    report = repair_source(broken, tmp_path / "out")
    assert _content(broken) == before
    assert report.format == "voc"
    assert report.counts == {"inverted": 1, "zero area": 1, "outside": 1, "image cannot be read": 1}
    assert open_dataset(tmp_path / "out", "train").target(0)["boxes"].tolist() == [[0, 0, 20, 20], [10, 20, 30, 30]]
    assert len(open_dataset(tmp_path / "out", "val")) == 1
    assert check_source(tmp_path / "out").ok
    listed = json.loads((tmp_path / "out" / "changes.json").read_text())
    assert listed["counts"] == report.counts
    swapped = next(change for change in listed["changes"] if change["reason"] == "inverted")
    assert swapped["file"] == str(broken / "Annotations" / "a.xml")
    assert (swapped["before"], swapped["after"], swapped["split"]) == ([30, 30, 10, 20], [10, 20, 30, 30], "train")


def test_out_must_be_new_and_elsewhere(broken: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(DataError, match="not an empty folder"):
        repair_source(broken, tmp_path / "full")
    with pytest.raises(DataError, match="lies in the data set"):
        repair_source(broken, broken / "repaired")
    with pytest.raises(DataError, match="neither a folder"):
        repair_source(tmp_path / "nowhere", tmp_path / "out")


def test_generated_data_cannot_be_repaired(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        repair_source("digit_scenes", tmp_path / "out")


def test_a_split_without_a_readable_image_is_an_error(broken: Path, tmp_path: Path) -> None:
    (broken / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match="no image of split 'val'"):
        repair_source(broken, tmp_path / "out")


def test_a_format_that_is_only_read_becomes_coco(tmp_path: Path, write_image: Any) -> None:
    root = tmp_path / "set"
    write_image(root / "PNGImages" / "a.png")
    mask = np.zeros((40, 60), np.uint8)
    mask[5:9, 5:9], mask[20:30, 20:40] = 1, 2
    (root / "PedMasks").mkdir()
    assert cv2.imwrite(str(root / "PedMasks" / "a_mask.png"), mask)
    report = repair_source(root, tmp_path / "out")
    assert report.format == "coco"
    assert report.changes == []
    source, copy = open_raw(root, "all"), open_raw(tmp_path / "out", "all", task="detection")
    assert np.array_equal(source.target(0)["boxes"], copy.target(0)["boxes"])


def test_sizes_missing_from_the_source_come_from_the_images(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path / "set", {"a": [("cat", 1, 1, 90, 20)]})
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<size><width>60</width><height>40</height></size>", ""))
    report = repair_source(root, tmp_path / "out")
    assert [change.after for change in report.changes] == [[0, 0, 60, 20]]


def test_label_maps_need_no_repair(tmp_path: Path, write_image: Any) -> None:
    root = tmp_path / "set"
    write_image(root / "images" / "a.png")
    (root / "masks").mkdir()
    assert cv2.imwrite(str(root / "masks" / "a.png"), np.eye(40, 60, dtype=np.uint8))
    report = repair_source(root, tmp_path / "out")
    assert report.changes == []
    expected = open_raw(root, "all").target(0)["label_map"]
    assert np.array_equal(open_raw(tmp_path / "out", "all", format="masks").target(0)["label_map"], expected)


def test_classification_loses_images_of_unknown_classes() -> None:
    builder = TableBuilder(("cat",), boxes=False)
    for name in ("cat", "emu"):
        builder.add_image(f"{name}.jpg")
        builder.add_object(name)
    dataset = TableDataset(DatasetInfo("set", "classification", ("cat",), "all"), Path("set"), builder.build())
    table, changes = repair_table(dataset)
    assert [table.path(index) for index in range(len(table))] == ["cat.jpg"]
    assert listed(changes) == [("object 0 (emu)", {"class": "emu"}, None, "unknown class")]
    assert changes[0].split == "all"


def test_mutants_are_repaired_or_named(tmp_path: Path) -> None:
    generator = random.Random(3)
    for split in ("train", "val"):
        for number in range(2):
            image = tmp_path / "set" / "images" / split / f"{number}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(image), np.eye(32, dtype=np.uint8) * (90 + number))
            labels = tmp_path / "set" / "labels" / split / f"{number}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(f"{number} 0.5 0.5 0.2 0.3\n")
    (tmp_path / "set" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    fates: Counter[str] = Counter()
    for number in range(40):
        work = tmp_path / f"work{number}"
        shutil.copytree(tmp_path / "set", work)
        files = sorted(file for file in work.rglob("*") if file.is_file())
        for _ in range(generator.choice([1, 2])):
            file = generator.choice(files)
            content = bytearray(file.read_bytes())
            place = generator.randrange(len(content)) if content else 0
            if generator.random() < 0.3:
                content = content[:place]
            else:
                content[place : place + 1] = generator.choice(
                    [b"-", b"9", b"nan", b"\xff", b"", b"[", b"1e999 ", b"x" * 300]
                )
            file.write_bytes(content)
        json.dumps(check_source(work).to_json())
        try:
            fates["changed" if repair_source(work, tmp_path / f"out{number}").changes else "sound"] += 1
        except SaccadeError as error:
            fates["named"] += str(work) in str(error)
    assert fates["changed"] > 5
    assert fates["named"] > 0
    assert fates.total() == 40
