"""PASCAL VOC folders, whole and hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.data.readers import detect_format, voc
from saccade.errors import DataError


def test_one_based_inclusive_boxes_become_continuous(tmp_path: Path, write_voc: Any) -> None:
    """A box around all pixels of a 60x40 picture is written 1, 1, 60, 40."""
    rows = [("cat", 1, 1, 60, 40), ("cat", 7, 5, 8, 30), ("cat", 9, 9, 9, 9), ("cat", 30, 20, 11, 25)]
    data = voc.read(write_voc(tmp_path, {"a": rows}), "all")
    target = data.target(0)
    assert target["boxes"].tolist() == [[0, 0, 60, 40], [6, 4, 8, 30], [9, 9, 9, 9], [30, 19, 10, 25]]
    assert target["area"].tolist() == [2400, 52, 0, 0]
    assert target["boxes"].dtype == np.float64
    assert data.table.sizes.tolist() == [[40, 60]]


def test_classes_are_the_same_for_every_split(tmp_path: Path, write_voc: Any) -> None:
    objects = {"1": [("dog", 1, 1, 5, 5)], "2": [("ant", 1, 1, 5, 5)], "10": []}
    root = write_voc(tmp_path, objects, {"train": ["1", "10"], "val": ["2"]})
    train, val = voc.read(root, "train"), voc.read(root, "val")
    assert train.info.class_names == val.info.class_names == ("ant", "dog")
    assert train.target(0)["labels"].tolist() == [1]
    assert val.target(0)["labels"].tolist() == [0]
    assert train.target(1)["boxes"].shape == (0, 4)
    assert train.read(1).image.shape == (40, 60, 3)
    assert voc.splits(root) == ("train", "val")
    assert detect_format(root) == "voc"


def test_without_lists_every_fifth_picture_is_val(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {str(number): [] for number in range(1, 12)})
    names = {
        split: [Path(part.path(i)).stem for i in range(len(part))]
        for split in voc.splits(root)
        for part in [voc.read(root, split)]
    }
    assert names["val"] == ["5", "10"]
    assert names["train"] == ["1", "2", "3", "4", "6", "7", "8", "9", "11"]
    assert names["all"] == [str(number) for number in range(1, 12)]


def test_lists_of_single_classes_are_no_splits(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []}, {"train": ["a"], "cat_train": ["a -1"], "my_part": ["a  1"]})
    assert voc.splits(root) == ("my_part", "train")
    assert len(voc.read(root, "my_part")) == 1


def test_difficult_is_kept_beside_the_target(tmp_path: Path, write_voc: Any) -> None:
    data = voc.read(write_voc(tmp_path, {"a": [("cat", 1, 1, 5, 5, 1), ("cat", 1, 1, 5, 5, 0)]}), "all")
    assert data.table.extras["difficult"].tolist() == [1, 0]
    assert data.target(0)["iscrowd"].tolist() == [False, False]


def test_pictures_of_other_formats_are_found_by_id(tmp_path: Path, write_voc: Any, write_image: Any) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "JPEGImages" / "a.jpg").unlink()
    write_image(root / "JPEGImages" / "a.png")
    assert voc.read(root, "all").read(0).image.shape == (40, 60, 3)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE bomb [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><filename>&c;</filename></annotation>"""
OUTSIDE = """<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]><annotation><filename>&secret;</filename></annotation>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE], ids=["expansion", "external"])
def test_entities_are_refused(tmp_path: Path, write_voc: Any, text: str) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml: the XML declares"):
        voc.read(root, "all")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\secret.jpg", "a/..\\..\\b.jpg", "\\\\host\\x.jpg"]
)
def test_file_names_may_not_leave_the_folder(tmp_path: Path, write_voc: Any, name: str) -> None:
    root = write_voc(tmp_path, {"a": []}, {"train": ["a"]})
    (root / "Annotations" / "a.xml").write_text(f"<annotation><filename>{name}</filename></annotation>")
    with pytest.raises(DataError, match=r"a\.xml: filename is .* not a file inside the data folder"):
        voc.read(root, "train")
    (root / "Annotations" / "a.xml").write_text("<annotation/>")
    (root / "ImageSets" / "Main" / "train.txt").write_text(f"{name.replace(' ', '')}\n")
    with pytest.raises(DataError, match=r"train\.txt: line 1 is .* not a file inside the data folder"):
        voc.read(root, "train")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("<object><bndbox/></object>", r"object\[0\]\.name is missing"),
        ("<object><name>cat</name></object>", r"object\[0\]\.bndbox is missing"),
        (
            "<object><name>cat</name><bndbox><xmin>x</xmin></bndbox></object>",
            r"object\[0\]\.bndbox\.xmin is 'x', not a number",
        ),
        ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", r"object\[0\]\.bndbox\.ymin is 'None'"),
        ("<size><width>60</width></size>", r"size\.height is 'None'"),
        ("<object>", "not valid XML"),
    ],
)
def test_malformed_annotations_name_file_and_field(tmp_path: Path, write_voc: Any, body: str, field: str) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{body}</annotation>")
    with pytest.raises(DataError, match=rf"a\.xml: .*{field}"):
        voc.read(root, "all")


def test_missing_annotation_and_empty_list_are_named(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []}, {"train": ["a", "b"], "val": [""]})
    with pytest.raises(DataError, match=r"b\.xml: the annotation does not exist"):
        voc.read(root, "train")
    with pytest.raises(DataError, match=r"val\.txt: the list is empty"):
        voc.read(root, "val")


def test_missing_picture_is_named_when_it_is_read(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.jpg: the file does not exist"):
        voc.read(root, "all").read(0)
