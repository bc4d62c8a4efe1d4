"""Tables of keypoints written and read again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.data.open import open_dataset
from saccade.data.writers.convert import convert
from saccade.errors import DataError


@pytest.fixture
def source(tmp_path: Path, write_image: Any) -> Path:
    root = tmp_path / "source"
    for name in ("training/a.jpg", "training/b.jpg", "test/a.jpg"):
        write_image(root / name)
    (root / "training_points.csv").write_text("a.jpg,1.5,2,0.1,4\nb.jpg,5,6,,8\na.jpg,1e-3,123456.789,7,8\n")
    (root / "test_points.csv").write_text("a.jpg,9,8,7,nan\n")
    (root / "saccade.yaml").write_text("format: keypoint_csv\nclass_names: [left, right]\nflip_pairs: [[0, 1]]\n")
    return root


def test_there_and_back(tmp_path: Path, source: Path) -> None:
    report = convert(source, tmp_path / "out", "keypoint_csv")
    assert report.lossless
    assert report.kept == {"images": 3, "objects": 4, "keypoints": 6, "classes": 2}
    for split in ("training", "test"):
        ours, theirs = open_dataset(tmp_path / "out", split), open_dataset(source, split)
        assert ours.info.class_names == ("left", "right")
        assert ours.info.flip_pairs == ((0, 1),)
        assert len(ours) == len(theirs)
        for index in range(len(ours)):
            assert np.array_equal(ours.target(index)["keypoints"], theirs.target(index)["keypoints"])
            assert np.array_equal(ours.read(index).image, theirs.read(index).image)
    with (tmp_path / "out" / "training.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["file", "left_x", "left_y", "right_x", "right_y"]
    assert rows[-1] == ["b.jpg", "5", "6", "", ""]


def test_what_a_table_cannot_hold_is_counted(tmp_path: Path, write_image: Any) -> None:
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / "source" / "train" / name)
    person = {"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": []}
    common = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0}
    points = [[5, 6, 2, 7, 8, 1, 0, 0, 0], [9, 9, 1, 1, 1, 2, 2, 2, 2], [0] * 9]
    annotations = [
        {"id": number, "keypoints": row, "num_keypoints": 3, **common, "segmentation": [[1, 2, 9, 2, 9, 9]]}
        for number, row in enumerate(points, 1)
    ]
    images = [
        {"id": number, "file_name": name, "width": 60, "height": 40} for number, name in ((1, "a.jpg"), (2, "b.jpg"))
    ]
    text = json.dumps({"images": images, "annotations": annotations, "categories": [person]})
    (tmp_path / "source" / "annotations").mkdir()
    (tmp_path / "source" / "annotations" / "person_keypoints_train.json").write_text(text)
    report = convert(tmp_path / "source", tmp_path / "out", "keypoint_csv", splits="train", task="keypoints")
    assert report.kept["images"] == 1
    assert report.kept["objects"] == 2
    assert report.kept["keypoints"] == 3
    assert report.changed == {("keypoints", "hidden points become visible ones"): 2}
    assert report.dropped["images", "a row of the table is an object, and they have none"] == 1
    assert report.dropped["boxes", "the table has points only"] == 2
    data = open_dataset(tmp_path / "out", "train")
    assert data.info.class_names == ("nose", "left_eye", "right_eye")
    # COCO counts from the centre of a pixel.
    assert data.target(0)["keypoints"].tolist() == [
        [[5.5, 6.5, 2], [7.5, 8.5, 2], [0, 0, 0]],
        [[9.5, 9.5, 2], [1.5, 1.5, 2], [2.5, 2.5, 2]],
    ]


def test_nothing_to_write_is_an_error(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "source" / "train" / "a.jpg")
    (tmp_path / "source" / "train.csv").write_text("a.jpg,,,,\n")
    with pytest.raises(DataError, match="no object has a labelled point"):
        convert(tmp_path / "source", tmp_path / "out", "keypoint_csv", splits="train")


@pytest.mark.data("facial_keypoints_68")
def test_faces_survive(tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    assert convert("facial_keypoints_68", tmp_path / "out", "keypoint_csv", splits="test").lossless
    ours, theirs = open_dataset(tmp_path / "out", "test"), open_dataset("facial_keypoints_68", "test")
    assert ours.info.class_names == theirs.info.class_names
    assert ours.info.flip_pairs == theirs.info.flip_pairs
    for index in range(len(theirs)):
        assert np.array_equal(ours.target(index)["keypoints"], theirs.target(index)["keypoints"])
