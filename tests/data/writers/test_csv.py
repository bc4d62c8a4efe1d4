"""Tables as written: read back, they are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.open import open_dataset
from saccade.data.readers import csv as reader
from saccade.data.readers import detect_format
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import csv as writer
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.structures.dataset import DatasetInfo


def save(
    root: Path, builder: TableBuilder, out: Path, task: str = "detection", names: tuple[str, ...] = ("dog", "cat")
) -> LossReport:
    report = LossReport("test", "csv")
    writer.write(TableDataset(DatasetInfo("test", task, names), root, builder.build()), out, "train", "none", report)
    return report


def test_boxes_come_back_bit_for_bit(tmp_path: Path, write_image: Any) -> None:
    rng = np.random.default_rng(0)
    builder = TableBuilder(["dog", "cat"])
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name)
        builder.add_image(name, size=(40, 60))
        for box in [] if name == "b.png" else rng.uniform(0, 40, (5, 4)).tolist():
            builder.add_object("cat", box)
    builder.add_object("dog", (1, 2, 3, 4), area=0.1 + 0.2, iscrowd=True)
    report = save(tmp_path, builder, tmp_path / "out")
    assert report.lossless
    assert detect_format(tmp_path / "out") == "csv"
    data = open_dataset(tmp_path / "out", "train", images="..", bad_labels="drop")
    assert data.info.class_names == ("dog", "cat")
    again = reader.read(tmp_path / "out", "train", images="..", class_names=["dog", "cat"]).table
    table = builder.build()
    for name in ("boxes", "labels", "area", "iscrowd", "sizes", "offsets", "paths"):
        assert np.array_equal(getattr(again, name), getattr(table, name)), name


def test_images_and_splits_go_along(tmp_path: Path, write_voc: Any) -> None:
    objects = {"a": [("cat", 1, 1, 9, 9, 1)], "b": [], "c": [("dog", 1, 1, 9, 9)]}
    root = write_voc(tmp_path / "in", objects, {"train": ["a", "b"], "val": ["c"]})
    report = convert(root, tmp_path / "out", "csv")
    assert report.lossless
    assert report.kept["attribute difficult"] == 2
    assert report.kept["classes"] == 2
    for split in ("train", "val"):
        before, after = open_dataset(root, split), open_dataset(tmp_path / "out", split)
        assert len(before) == len(after)
        for index in range(len(before)):
            assert np.array_equal(before.read(index).image, after.read(index).image)
            for key in ("boxes", "labels"):
                assert np.array_equal(before.target(index)[key], after.target(index)[key])


def test_attributes_are_columns(tmp_path: Path) -> None:
    builder = TableBuilder(["dog", "cat"])
    builder.add_image("a.png", size=(40, 60), attributes={"licence": 3})
    about = {
        "pose": "left, up",
        "truncated": True,
        "score": 0.25,
        "code": "007",
        "digits": "7",
        "tags": [1],
        "label": 4,
    }
    builder.add_object("cat", (1, 2, 3, 4), attributes=about)
    builder.add_object("dog", (1, 2, 3, 4))
    report = save(tmp_path, builder, tmp_path / "out")
    again = reader.read(tmp_path / "out", "train").table.attributes
    assert again is not None
    assert again.get(0) == {"pose": "left, up", "truncated": 1, "score": 0.25, "code": "007", "digits": 7}
    assert again.get(1) == {}
    assert report.dropped == {
        ("attribute tags", "a cell holds one number or text"): 1,
        ("attribute label", "the column of that name has another meaning"): 1,
        ("attribute of images: licence", "a row is an object's"): 1,
    }
    assert report.changed == {("attribute digits", "a table does not distinguish numbers from text"): 1}


def test_classes_of_images(tmp_path: Path, write_image: Any) -> None:
    for folder, name in (("yak", "a"), ("ant", "b"), ("ant", "a")):
        write_image(tmp_path / "in" / "train" / folder / f"{name}.png")
    report = convert(tmp_path / "in", tmp_path / "out", "csv")
    assert report.lossless
    before, after = open_dataset(tmp_path / "in", "train"), open_dataset(tmp_path / "out", "train")
    assert after.info.class_names == before.info.class_names == ("ant", "yak")
    labels = [[int(data.read(index).target["labels"]) for index in range(3)] for data in (before, after)]
    assert labels[0] == labels[1]


def test_outlines_are_counted(tmp_path: Path) -> None:
    builder = TableBuilder(["dog", "cat"], outlines=True)
    builder.add_image("a.png", size=(40, 60))
    ring = [1.0, 1, 9, 1, 9, 9]
    builder.add_object("cat", (1, 1, 9, 9), outline=ObjectOutline(rings=[ring, ring], holes=[False, True]))
    builder.add_object("cat", (1, 1, 9, 9), outline=ObjectOutline(runs=[10, 5, 2385], run_size=(40, 60)))
    report = save(tmp_path, builder, tmp_path / "out")
    assert report.dropped == {
        ("polygons", "a table has boxes only"): 1,
        ("holes", "a table has boxes only"): 1,
        ("masks", "a table has boxes only"): 1,
    }
