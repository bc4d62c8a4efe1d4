"""Tables of keypoints."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.faults import faults_of

from saccade.data.readers import detect_format, keypoint_csv
from saccade.errors import DataError


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in ("training/a.jpg", "training/b.jpg", "test/a.jpg"):
        write_image(tmp_path / name)
    (tmp_path / "training_frames.csv").write_text(",0,1,2,3\na.jpg,1.5,2,3,4\nb.jpg,5,6,,8\n")
    (tmp_path / "test_frames.csv").write_text(",0,1,2,3\na.jpg,9,8,7,nan\n")
    return tmp_path


def test_tables_belong_to_folders(root: Path) -> None:
    assert detect_format(root) == "keypoint_csv"
    assert keypoint_csv.splits(root) == ("training", "test")
    data = keypoint_csv.read(root, "train", class_names=["left", "right"], flip_pairs=[[0, 1]])  # type: ignore[list-item]
    assert data.info.flip_pairs == ((0, 1),)
    sample = data.read(1)
    assert sample.info.path.endswith("training/b.jpg")
    assert sample.target["keypoints"].tolist() == [[[5, 6, 2], [0, 0, 0]]]
    assert data.target(0)["keypoints"].tolist() == [[[1.5, 2, 2], [3, 4, 2]]]
    assert data.target(0)["labels"].tolist() == [0]
    test = keypoint_csv.read(root, "test")
    assert test.info.class_names == ("point_0", "point_1")
    assert test.target(0)["keypoints"].tolist() == [[[9, 8, 2], [0, 0, 0]]]


def test_single_table_without_heading(tmp_path: Path, write_image: Any) -> None:
    rows = []
    for number in range(5):
        write_image(tmp_path / "images" / f"{number}.png")
        rows.append(f"{number}.png,{number},1")
    (tmp_path / "points.csv").write_text("\n".join(rows))
    assert keypoint_csv.splits(tmp_path) == ("all",)
    data = keypoint_csv.read(tmp_path, "all")
    assert data.target(4)["keypoints"].tolist() == [[[4, 1, 2]]]
    assert data.read(4).image.shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.jpg,1,2,3", "line 3: it has 4 columns, not 5"),
        ("b.jpg,1,2,3,x", "line 3: it has a cell that is not a number"),
        ("../c.jpg,1,2,3,4", r"it names the image '\.\./c\.jpg', which is not a file inside"),
        ("/c.jpg,1,2,3,4", "it names the image '/c.jpg', which is not a file inside"),
        ("word,1,2,3,4", "line 3: it begins with 'word', not an image's name"),
    ],
)
def test_broken_rows_are_named(root: Path, line: str, message: str) -> None:
    (root / "training_frames.csv").write_text(f",0,1,2,3\na.jpg,1,2,3,4\n{line}\n")
    assert re.search(rf"training_frames\.csv: {message}", faults_of(keypoint_csv.read, root, "train"))


def test_a_folder_without_tables(tmp_path: Path) -> None:
    assert not keypoint_csv.matches(tmp_path)
    (tmp_path / "prices.csv").write_text("name,price\nbread,3\n")
    assert not keypoint_csv.matches(tmp_path)
    with pytest.raises(DataError, match="there is no CSV file of keypoints"):
        keypoint_csv.read(tmp_path, "train")


@pytest.mark.data("facial_keypoints_68")
def test_face_table_is_taken_as_it_is(data_root: Path) -> None:
    root = data_root / "facial_keypoints_68"
    data = keypoint_csv.read(root, "test")
    with (root / "test_frames_keypoints.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    for index, row in enumerate(rows):
        assert Path(data.path(index)).name == row[0]
        expected = np.array(row[1:], np.float32).reshape(68, 2)
        assert np.array_equal(data.target(index)["keypoints"][0, :, :2], expected)


def test_rows_of_one_image_are_its_objects(tmp_path: Path, write_image: Any) -> None:
    for name in ("train/a.jpg", "train/b.jpg"):
        write_image(tmp_path / name)
    (tmp_path / "train.csv").write_text("file,nose_x,nose_y,ear_x,ear_y\na.jpg,1,2,3,4\nb.jpg,5,6,7,8\na.jpg,9,10,,\n")
    data = keypoint_csv.read(tmp_path, "train")
    assert data.info.class_names == ("nose", "ear")
    assert [Path(data.path(index)).name for index in range(len(data))] == ["a.jpg", "b.jpg"]
    assert data.target(0)["keypoints"].tolist() == [[[1, 2, 2], [3, 4, 2]], [[9, 10, 2], [0, 0, 0]]]
    assert data.target(0)["labels"].tolist() == [0, 0]
    assert data.target(1)["keypoints"].shape == (1, 2, 3)
