"""Open Images' tables of boxes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.faults import faults_of

from saccade.data.readers import detect_format, openimages
from saccade.errors import DataError

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"


def write(root: Path, rows: str, name: str = "boxes.csv", head: str = HEAD) -> Path:
    (root / name).write_text(head + rows)
    return root


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in ("a.jpg", "b.png"):
        write_image(tmp_path / "images" / name)
    return tmp_path


def test_shares_become_pixels(root: Path) -> None:
    rows = (
        "a,xclick,/m/1,1,0.25,0.75,0.1,0.5,1,0,0,0,-1\nb.png,,/m/2,,0,1,0,1,,,1,,\na,xclick,/m/2,1,0,1,0,1,0,0,-1,0,0\n"
    )
    write(root, rows)
    assert detect_format(root) == "openimages"
    assert openimages.splits(root) == ("all",)
    data = openimages.read(root, "all")
    assert data.info.class_names == ("/m/1", "/m/2")
    target = data.read(0).target
    assert target["boxes"].tolist() == [[15, 4, 45, 20], [0, 0, 60, 40]]
    assert target["labels"].tolist() == [0, 1]
    assert data.target(1)["iscrowd"].tolist() == [True]
    assert target["iscrowd"].tolist() == [False, False]
    assert [data.path(index) for index in range(2)] == [str(root / "images" / name) for name in ("a.jpg", "b.png")]
    assert data.table.attributes is not None
    first = {"Source": "xclick", "Confidence": 1, "IsOccluded": 1, "IsTruncated": 0, "IsDepiction": 0, "IsInside": -1}
    assert data.table.attributes.get(0) == first
    assert data.table.attributes.get(1)["IsGroupOf"] == -1
    assert data.table.attributes.get(2) == {}


def test_decimal_commas_of_a_spreadsheet(root: Path) -> None:
    write(root, 'a,,dog,,"0,25","0,75","0,1",1,,,,,\n')
    assert openimages.read(root, "all").target(0)["boxes"].tolist() == [[15, 4, 45, 40]]
    write(root, "a;;dog;;0,25;0,75;0,1;1;;;;;\n", head=HEAD.replace(",", ";"))
    assert openimages.read(root, "all").target(0)["boxes"].tolist() == [[15, 4, 45, 40]]


def test_a_turned_image_is_measured_upright(tmp_path: Path) -> None:
    """EXIF orientation 6 turns 60x40 stored pixels into 40x60; the shares are of the turned image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif.tobytes())
    data = openimages.read(write(tmp_path, "a,,dog,,0.5,1,0.5,1,,,,,\n"), "all")
    sample = data.read(0)
    assert sample.size == (60, 40)
    assert sample.target["boxes"].tolist() == [[20, 30, 40, 60]]
    assert data.table.sizes.tolist() == [[60, 40]]


def test_names_of_classes_and_splits(root: Path, write_image: Any) -> None:
    write_image(root / "validation" / "c.jpg")
    write(root, "a,,/m/1,1,0,1,0,1,,,,,\n", "oidv6-train-annotations-bbox.csv")
    write(root, "c,,/m/2,1,0,1,0,1,,,,,\n", "validation-annotations-bbox.csv")
    (root / "class-descriptions-boxable.csv").write_text("/m/2,Ant\n/m/1,Yak\n/m/9,Zebu\n")
    assert openimages.splits(root) == ("train", "validation")
    train, val = openimages.read(root, "train"), openimages.read(root, "val")
    assert train.info.class_names == val.info.class_names == ("Ant", "Yak")
    assert train.target(0)["labels"].tolist() == [1]
    assert val.read(0).target["labels"].tolist() == [0]
    (root / "names.csv").write_text("LabelName,DisplayName\n/m/1,Ox\n")
    named = openimages.read(root, "train", class_descriptions="names.csv", class_names=["Ox", "/m/2"])
    assert named.target(0)["labels"].tolist() == [0]
    (root / "names.csv").write_text("/m/1\n")
    with pytest.raises(DataError, match=r"names\.csv: line 1 is not 'number,name'"):
        openimages.read(root, "train", class_descriptions="names.csv")


def test_images_elsewhere(root: Path, write_image: Any) -> None:
    write_image(root.parent / "photos" / "farther.jpeg")
    write(root, "farther,,dog,,0,1,0,1,,,,,\n")
    assert openimages.read(root, "all", images="../photos").read(0).image.shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("a,,dog,,x,1,0,1,,,,,\n", r"boxes\.csv: line 2: XMin is 'x', not a number"),
        ("a,,dog,,0,1,0,,,,,,\n", r"boxes\.csv: line 2: YMax is '', not a number"),
        ("a,,,,0,1,0,1,,,,,\n", r"boxes\.csv: line 2: LabelName is empty"),
        ("a,,dog,,0,1,0,1,,,,,\na,dog\n", r"boxes\.csv: line 3: it has 2 cells, not 13"),
        ("../../etc/x,,dog,,0,1,0,1,,,,,\n", r"boxes\.csv: it names the image .* not a file inside the data folder"),
        ("zz,,dog,,0,1,0,1,,,,,\n", r"zz\.jpg: the file does not exist"),
        ("", r"boxes\.csv: no row of it can be read"),
    ],
)
def test_malformed_rows_name_file_line_and_column(root: Path, rows: str, problem: str) -> None:
    assert re.search(problem, faults_of(openimages.read, write(root, rows), "all"))


def test_no_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_bytes(b"\xff\xfe\x00a,b")
    assert not openimages.matches(tmp_path)
    with pytest.raises(DataError, match="there is no table with columns ImageID"):
        openimages.read(tmp_path, "all")
