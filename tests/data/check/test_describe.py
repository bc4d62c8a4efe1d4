"""What a data set holds, by its catalogue name or its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from saccade.data.check.describe import describe_dataset
from saccade.errors import DataError


def test_boxes_are_counted_by_class(tmp_path: Path, write_voc: Any) -> None:
    write_voc(
        tmp_path / "pets",
        {"a": [("cat", 1, 1, 9, 9), ("dog", 1, 1, 9, 9)], "b": [("cat", 5, 5, 5, 5)], "c": []},
        {"train": ["a", "c"], "val": ["b"]},
    )
    found = describe_dataset(tmp_path / "pets")
    assert (found.name, found.task, found.format, found.folder) == ("pets", "detection", "voc", tmp_path / "pets")
    train, val = found.splits
    assert (train.split, train.images, train.objects, train.class_counts) == ("train", 2, 2, {"cat": 1, "dog": 1})
    assert (val.split, val.images, val.objects, val.class_counts) == ("val", 1, 1, {"cat": 1, "dog": 0})
    assert json.loads(json.dumps(found.to_json()))["splits"][1]["class_counts"] == {"cat": 1, "dog": 0}


def test_label_maps_and_points_and_folders(tmp_path: Path, write_image: Any) -> None:
    for number in range(2):
        write_image(tmp_path / "label_maps/images" / f"{number}.png", (4, 4))
        write_image(tmp_path / "points/train" / f"{number}.png", (4, 4))
        write_image(tmp_path / "names/train" / ("cat", "dog")[number] / f"{number}.png", (4, 4))
        values = np.zeros((4, 4), np.uint8)
        values[0] = number
        (tmp_path / "label_maps/masks").mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "label_maps/masks" / f"{number}.png"), values)
    (tmp_path / "points/train.csv").write_text("0.png,1,2,,\n1.png,3,4,5,6\n")
    (split,) = describe_dataset(tmp_path / "label_maps").splits
    assert (split.split, split.images, split.objects, split.class_counts) == (
        *("all", 2, 0),
        {"background": 2, "foreground": 1},
    )
    (points,) = describe_dataset(tmp_path / "points").splits
    assert (points.images, points.objects, points.class_counts) == (2, 2, {"point_0": 2, "point_1": 1})
    (names,) = describe_dataset(tmp_path / "names").splits
    assert (names.images, names.class_counts) == (2, {"cat": 1, "dog": 1})


def test_what_is_not_here_is_described_without_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(tmp_path))
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    found = describe_dataset("omniglot")
    assert (found.folder, found.splits, found.licence) == (None, (), "MIT")
    assert found.download_size == 9_464_212 + 6_462_886
    generated = describe_dataset("digit_scenes")
    assert [part.split for part in generated.splits] == ["train", "val", "test"]
    assert all(part.images > 0 for part in generated.splits)
    with pytest.raises(DataError, match=r"'minst' is neither .* Did you mean 'mnist'"):
        describe_dataset("minst")


@pytest.mark.data("bccd")
def test_bccd_has_its_published_counts(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    found = describe_dataset("bccd")
    assert {part.split: part.images for part in found.splits} == {"train": 205, "val": 87, "trainval": 292, "test": 72}
    assert sum(part.objects for part in found.splits if part.split != "trainval") == 4888
