"""Tables of boxes and of classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.faults import faults_of

from saccade.data.readers import csv as reader
from saccade.data.readers import detect_format, keypoint_csv
from saccade.errors import DataError


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name)
    return tmp_path


def write(root: Path, text: str, name: str = "labels.csv") -> Path:
    (root / name).write_text(text)
    return root


def test_boxes_by_the_names_of_the_columns(root: Path) -> None:
    """Columns in another order and spelling; rows of an image apart from each other."""
    text = "Class,xmin,ymin,xmax,ymax,filename,width,height,Pose,note\n"
    text += "dog,1.5,2,30,20,b.png,60,40,Left,\nant,0,0,60,40,a.png,60,40,,\ndog,5,5,6,6,b.png,60,40,3,x y\n"
    write(root, text)
    assert detect_format(root) == "csv"
    data = reader.read(root, "all")
    assert data.info.class_names == ("ant", "dog")
    assert [Path(data.path(index)).name for index in range(2)] == ["b.png", "a.png"]
    target = data.read(0).target
    assert target["boxes"].tolist() == [[1.5, 2, 30, 20], [5, 5, 6, 6]]
    assert target["labels"].tolist() == [1, 1]
    assert target["area"].tolist() == [513, 1]
    assert data.target(1)["labels"].tolist() == [0]
    assert data.table.sizes.tolist() == [[40, 60], [40, 60]]
    assert data.table.attributes is not None
    assert [data.table.attributes.get(row) for row in range(3)] == [{"Pose": "Left"}, {"Pose": 3, "note": "x y"}, {}]


def test_empty_boxes_are_images_without_objects(root: Path) -> None:
    write(root, "file,x1,y1,x2,y2,label,weather\na.png,,,,,,rain\nb.png,1,2,3,4,cat,\n")
    data = reader.read(root, "all")
    assert data.target(0)["boxes"].shape == (0, 4)
    assert data.target(1)["boxes"].tolist() == [[1, 2, 3, 4]]
    assert data.table.image_attributes is not None
    assert data.table.image_attributes.get(0) == {"weather": "rain"}


def test_crowds_and_areas(root: Path) -> None:
    write(root, "file,x1,y1,x2,y2,label,iscrowd,area\na.png,0,0,4,4,cat,1,7.5\na.png,0,0,4,4,cat,0,\n")
    target = reader.read(root, "all").target(0)
    assert target["iscrowd"].tolist() == [True, False]
    assert target["area"].tolist() == [7.5, 16]


def test_classes_of_images(root: Path) -> None:
    write(root, "image,label\na.png,yak\nb.png,ant\n")
    data = reader.read(root, "all")
    assert data.info.task == "classification"
    assert data.info.class_names == ("ant", "yak")
    assert [int(data.read(index).target["labels"]) for index in range(2)] == [1, 0]
    assert reader.splits(root) == ("all",)
    assert int(reader.read(root, "all", class_names=["yak", "ant"]).target(0)["labels"]) == 0


def test_a_column_gives_the_splits(root: Path) -> None:
    write(root, "file,label,split\na.png,yak,train\nb.png,ant,valid\n")
    assert reader.splits(root) == ("train", "valid")
    train, val = reader.read(root, "train"), reader.read(root, "val")
    assert train.info.class_names == val.info.class_names == ("ant", "yak")
    assert (Path(train.path(0)).name, Path(val.path(0)).name) == ("a.png", "b.png")
    assert len(train) == len(val) == 1
    with pytest.raises(DataError, match="there is no split 'test'; it has: train, valid"):
        reader.read(root, "test")


def test_tables_give_the_splits(root: Path, write_image: Any) -> None:
    write_image(root / "val" / "c.png")
    write(root, "file,label\na.png,yak\n", "train.csv")
    assert reader.splits(root) == ("train",)
    assert len(reader.read(root, "train")) == 1
    write(root, "file,label\nc.png,ant\n", "val.csv")
    assert reader.splits(root) == ("train", "val")
    val = reader.read(root, "val")
    assert val.info.class_names == ("ant", "yak")
    assert val.read(0).image.shape == (40, 60, 3)


def test_tables_without_a_heading(root: Path) -> None:
    write(root, "a.png,1,2,3,4,cat\n")
    assert not reader.matches(root)
    data = reader.read(root, "all", columns=["path", "x1", "y1", "x2", "y2", "class"])
    assert data.target(0)["boxes"].tolist() == [[1, 2, 3, 4]]
    write(root, "a.png,cat\n")
    data = reader.read(root, "all", columns=["path", "class"])
    assert data.info.class_names == ("cat",)
    write(root, "a.png,cat,one\nb.png,dog,two\n")
    data = reader.read(root, "two", columns=["path", "class", "split"])
    assert [data.info.class_names, len(data)] == [("cat", "dog"), 1]
    assert int(data.read(0).target["labels"]) == 1


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_of_other_countries(root: Path, delimiter: str) -> None:
    text = "\ufefffile,x1,y1,x2,y2,label\na.png,1.5,2,3,4,cat\n".replace(",", delimiter).replace(".5", ",5")
    assert reader.read(write(root, text), "all").target(0)["boxes"].tolist() == [[1.5, 2, 3, 4]]


def test_images_elsewhere(root: Path, write_image: Any) -> None:
    write_image(root.parent / "photos" / "far.png")
    write(root, "file,label\nfar.png,cat\n")
    assert reader.read(root, "all", images="../photos").read(0).image.shape == (40, 60, 3)


def test_tables_of_keypoints_are_another_format(root: Path) -> None:
    write(root, "file,x0,y0,x1,y1\na.png,1,2,3,4\n")
    assert detect_format(root) == "keypoint_csv"
    write(root, ",0,1\na.png,1,2\n")
    assert detect_format(root) == "keypoint_csv"
    write(root, "file,x1,y1,x2,y2,label\na.png,1,2,3,4,cat\n")
    assert detect_format(root) == "csv"
    assert not keypoint_csv.matches(write(root, "file,label\na.png,cat\n"))


BOXES = "file,x1,y1,x2,y2,label\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOXES + "a.png,1,2,x,4,cat\n", r"line 2: x2 is 'x', not a number"),
        (BOXES + "a.png,1,2,,4,cat\n", r"line 2: x2 is '', not a number"),
        (BOXES + "a.png,1,2,3,4,\n", "line 2: the class is empty"),
        (BOXES + "a.png,,,,,cat\n", "line 2: the class is 'cat', the box is empty"),
        (BOXES + "a.png,1,2,3,4\n", "line 2: it has 5 cells, not 6"),
        (BOXES + "../c.png,1,2,3,4,cat\n", r"it names the image '\.\./c\.png', which is not a file inside"),
        (BOXES + ",1,2,3,4,cat\n", "line 2: the image's name is empty"),
        (BOXES, "no row of it can be read"),
        (BOXES + '"a.png,1,2\n3,4,cat\n' + "x" * 200_000, "the table cannot be read"),
        ("file,label\na.png,cat\na.png,dog\n", r"line 3: a\.png has a row already"),
        ("file,label\na.png,\n", "line 2: the class is empty"),
        ("file,label,width,height\na.png,cat,x,4\n", r"line 2\.width is 'x', not a number"),
        ("file,x1,y1,x2,y2,label,width,height\na.png,1,2,3,4,c,9,9\na.png,1,2,3,4,c,8,9\n", "another size"),
    ],
)
def test_malformed_tables_name_file_and_line(root: Path, text: str, problem: str) -> None:
    assert re.search(rf"labels\.csv: .*{problem}", faults_of(reader.read, write(root, text), "all"), re.DOTALL)


def test_missing_columns_are_named(root: Path) -> None:
    with pytest.raises(DataError, match="no table whose heading names 'file' and 'label'"):
        reader.read(write(root, "image,kind\na.png,cat\n"), "all")
    with pytest.raises(DataError, match=r"labels\.csv: columns of a box are missing"):
        reader.read(write(root, "file,label\na.png,cat\n"), "all", task="detection")


def test_numbers_are_taken_in_full(root: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 40, (50, 4))
    rows = "".join(f"a.png,{','.join(repr(float(value)) for value in row)},cat\n" for row in values)
    boxes = reader.read(write(root, BOXES + rows), "all").target(0)["boxes"]
    assert np.array_equal(boxes, values)
