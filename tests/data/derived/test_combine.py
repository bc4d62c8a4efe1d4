"""Splits that only join others, apart from those that share images by mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import saccade
from saccade.data.derived.combine import without_unions
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.structures.dataset import DatasetInfo


def part(split: str, images: str) -> TableDataset:
    builder = TableBuilder(["cat"])
    for name in images:
        builder.add_image(f"{name}.jpg")
    return TableDataset(DatasetInfo("set", "detection", ("cat",), split), Path("set"), builder.build())


@pytest.mark.parametrize(
    ("splits", "kept"),
    [
        ({"train": "ab", "val": "c", "trainval": "abc"}, {"train": "ab", "val": "c"}),
        ({"train": "ab", "val": "c", "trainval": "abcd"}, {"train": "ab", "val": "c", "trainval": "d"}),
        ({"train": "ab", "trainval": "abc"}, {"train": "ab", "trainval": "c"}),
        ({"trainval": "abc", "test": "d"}, {"trainval": "abc", "test": "d"}),
        # Not unions but leaks: what trains holds what validates and tests.
        ({"train": "abc", "val": "c", "test": "ab"}, {"train": "abc", "val": "c", "test": "ab"}),
        ({"train": "abc", "val": "abc"}, {"train": "abc", "val": "abc"}),
        ({"train": "ab", "extra": "abc", "val": "c"}, {"train": "ab", "val": "c"}),
    ],
)
def test_unions_are_told_from_leaks(splits: dict[str, str], kept: dict[str, str]) -> None:
    found = without_unions([part(split, images) for split, images in splits.items()])
    assert {
        each.info.split: "".join(Path(each.path(index)).stem for index in range(len(each))) for each in found
    } == kept


def test_check_reports_a_leak_beside_a_union(tmp_path: Path, write_voc: Any) -> None:
    objects = {name: [("cat", 1, 1, 20, 20)] for name in "abcd"}
    root = write_voc(tmp_path, objects, {"train": ["a", "b"], "val": ["b", "c"], "trainval": ["a", "b", "c"]})
    leaks = [issue for issue in saccade.check(root, images=False).issues if "leak" in str(vars(issue).values())]
    assert len(leaks) == 1
    assert leaks[0].image.endswith("b.jpg")
    (root / "ImageSets" / "Main" / "val.txt").write_text("c\nd\n")
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("a\nb\nc\nd\n")
    assert not [issue for issue in saccade.check(root, images=False).issues if "leak" in str(vars(issue).values())]
