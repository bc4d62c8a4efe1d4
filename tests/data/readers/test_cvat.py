"""CVAT XML: shapes, attributes, subsets, and hostile files."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.faults import faults_of

from saccade.data.readers import cvat, detect_format
from saccade.errors import DataError

META = """<meta><task><labels>
<label><name>dog</name><color>#fff</color><attributes/></label><label><name>cat &amp; co</name></label>
<label><name>nose</name><parent>dog</parent></label>
</labels></task></meta>"""
BOX = '<box label="dog" occluded="1" source="manual" xtl="10.50" ytl="5" xbr="30.25" ybr="20" z_order="2"{0}>{1}</box>'
IMAGE = '<image id="{0}" name="{1}" width="60" height="40"{2}>{3}</image>'


def document(*images: str, meta: str = META) -> str:
    start = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f"{start}{meta}{''.join(images)}</annotations>"


def image(body: str = "", number: int = 7, name: str = "a.png", more: str = "") -> str:
    return IMAGE.format(number, name, more, body)


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name)
    return tmp_path


def write(root: Path, text: str, name: str = "annotations.xml") -> None:
    (root / name).write_text(text)


def test_boxes_with_all_they_say(root: Path) -> None:
    own = '<attribute name="age">3</attribute><attribute name="coat">rough</attribute>'
    body = BOX.format(' group_id="4"', own) + '<box label="cat &amp; co" xtl="0" ytl="0" xbr="60" ybr="40"/>'
    write(root, document(image(body), image(number=3, name="b.png")))
    assert detect_format(root) == "cvat"
    data = cvat.read(root, "all", masks=True)
    assert data.info.class_names == ("dog", "cat & co")
    assert data.info.task == "detection"
    target = data.read(0).target
    assert target["boxes"].tolist() == [[10.5, 5, 30.25, 20], [0, 0, 60, 40]]
    assert target["area"].tolist() == [296.25, 2400]
    assert target["labels"].tolist() == [0, 1]
    assert target["masks"].sum(axis=(1, 2)).tolist() == [285, 2400]  # their boxes
    assert data.table.attributes is not None
    assert data.table.attributes.get(0) == {
        "occluded": 1,
        "source": "manual",
        "z_order": 2,
        "group_id": 4,
        "age": 3,
        "coat": "rough",
    }
    assert data.table.attributes.get(1) == {}
    assert data.image_ids.tolist() == [7, 3]
    assert data.table.sizes.tolist() == [[40, 60], [40, 60]]
    assert data.target(1)["boxes"].shape == (0, 4)
    assert data.annotation_path(1) == str(root / "annotations.xml")


def test_polygons_are_outlines(root: Path) -> None:
    body = '<polygon label="dog" points="10,10;20,10;20,20;10,20" occluded="0"/>'
    write(root, document(image(body)))
    target = cvat.read(root, "all", masks=True).target(0)
    assert target["boxes"].tolist() == [[10, 10, 20, 20]]
    assert target["area"].tolist() == [100]
    expected = np.zeros((40, 60), np.uint8)
    expected[10:20, 10:20] = 1
    assert np.array_equal(target["masks"][0], expected)
    data = cvat.read(root, "all", task="segmentation")
    assert data.info.class_names == ("background", "dog", "cat & co")
    assert np.array_equal(data.target(0)["label_map"], expected)


def test_mask_is_runs_along_the_rows_of_its_rectangle(root: Path) -> None:
    """Rows of the 4x3 rectangle: .##. / ##.. / ...# - the first column is touched, so is the last."""
    body = '<mask label="dog" rle="1, 2, 1, 2, 5, 1" left="20" top="11" width="4" height="3" occluded="0"/>'
    write(root, document(image(body)))
    data = cvat.read(root, "all", masks=True)
    expected = np.zeros((40, 60), np.uint8)
    for y, x in ((11, 21), (11, 22), (12, 20), (12, 21), (13, 23)):
        expected[y, x] = 1
    target = data.target(0)
    assert np.array_equal(target["masks"][0], expected)
    assert target["boxes"].tolist() == [[20, 11, 24, 14]]
    assert target["area"].tolist() == [5]


def test_turned_box_becomes_its_hull_and_outline(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A 20x10 box rotated by a right angle is upright; by 45 degrees its hull is 30 / sqrt(2) wide."""
    boxes = '<box label="dog" xtl="10" ytl="15" xbr="30" ybr="25" rotation="{0}"/>'
    write(root, document(image(boxes.format("90.00") + boxes.format("45.00"))))
    data = cvat.read(root, "all", masks=True)
    boxes_xyxy = data.target(0)["boxes"]
    assert boxes_xyxy[0] == pytest.approx([15, 10, 25, 30])
    half = 30 / np.sqrt(2) / 2
    assert boxes_xyxy[1] == pytest.approx([20 - half, 20 - half, 20 + half, 20 + half])
    assert data.target(0)["area"] == pytest.approx([200, 200])
    assert data.table.attributes is not None
    assert data.table.attributes.get(1) == {"rotation": 45.0}
    masks = data.target(0)["masks"]
    assert masks[0].sum() == 200
    # Clockwise as seen: the right end of the box goes down.
    assert masks[1][26, 26] == 1
    assert masks[1][14, 26] == 0
    assert "2 rotated boxes became the upright boxes around them" in caplog.text


def test_shapes_without_area_are_no_objects_but_kept_and_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = (
        '<polyline label="dog" points="1,1;2,2"/><points label="dog" points="1,1"/><points label="dog" points="1,1"/>'
        '<skeleton label="dog"><points label="nose" points="1,1"/></skeleton>'
    )
    write(root, document(image(body + BOX.format("", ""))))
    with caplog.at_level(logging.WARNING, "saccade"):
        data = cvat.read(root, "all")
    assert len(data.table.labels) == 1
    assert "shapes other than boxes, polygons and masks are left out: 2 points, 1 polyline, 1 skeleton" in caplog.text
    assert data.table.image_attributes is not None
    shapes = data.table.image_attributes.get(0)["shapes"]
    assert shapes[0] == {"shape": "polyline", "label": "dog", "points": "1,1;2,2"}
    assert shapes[3]["parts"] == [{"label": "nose", "points": "1,1"}]


def test_tags_are_classes_of_images(root: Path) -> None:
    tag = '<tag label="{0}" source="manual"/>'
    write(root, document(image(tag.format("dog")), image(tag.format("cat &amp; co"), 8, "b.png")))
    data = cvat.read(root, "all")
    assert data.info.task == "classification"
    assert [int(data.read(index).target["labels"]) for index in range(2)] == [0, 1]
    write(root, document(image(tag.format("dog") + BOX.format("", "")), image(number=8, name="b.png")))
    data = cvat.read(root, "all")
    assert data.info.task == "detection"
    assert data.table.image_attributes is not None
    assert data.table.image_attributes.get(0) == {"tags": ["dog"]}
    faults = faults_of(cvat.read, root, "all", task="classification")
    assert re.search(r"image\[1\] \(b\.png\) has 0 tags, one is its class", faults)


def test_subsets_and_files_are_splits(root: Path, write_image: Any) -> None:
    write_image(root / "images" / "Train" / "c.png")
    images = (image(BOX.format("", ""), 1, "c.png", ' subset="Train"'), image("", 2, "b.png", ' subset="Validation"'))
    write(root, document(*images, meta=""))
    assert cvat.splits(root) == ("Train", "Validation")
    train, val = cvat.read(root, "train"), cvat.read(root, "val")
    assert train.path(0) == str(root / "images" / "Train" / "c.png")
    assert val.info.class_names == train.info.class_names == ("dog",)
    assert val.path(0) == str(root / "b.png")
    assert len(val) == 1

    write(root, document(image()), "train.xml")
    write(root, document(image("", 2, "b.png")), "annotations.xml")
    assert cvat.splits(root) == ("annotations", "train")
    assert cvat.read(root, "train").path(0) == str(root / "a.png")


def test_images_elsewhere_and_other_order_of_classes(root: Path, write_image: Any) -> None:
    write_image(root.parent / "photos" / "far.png")
    write(root, document(image(BOX.format("", ""), name="far.png")))
    data = cvat.read(root, "all", images="../photos", class_names=["cat & co", "dog"])
    assert data.read(0).target["labels"].tolist() == [1]
    assert data.path(0) == str(root / ".." / "photos" / "far.png")


def test_without_subsets_there_is_one_split(root: Path) -> None:
    write(root, document(*(image(number=number, name=f"{number}.png") for number in range(3))))
    assert cvat.splits(root) == ("all",)
    assert len(cvat.read(root, "all")) == 3


MASK = '<mask label="dog" rle="{0}" left="{1}" top="0" width="4" height="3"/>'
BAD = {
    "no number": (
        BOX.format("", "").replace("10.50", "x"),
        r"image\[0\] \(a\.png\)\.box\[0\]\.xtl is 'x', not a number",
    ),
    "no coordinate": ('<box label="dog" xtl="1"/>', r"box\[0\]\.ytl is missing"),
    "no label": (BOX.format("", "") + "<box/>", r"box\[1\]\.label is missing"),
    "short polygon": (
        '<polygon label="dog" points="1,1;2,2"/>',
        r"polygon\[0\]\.points is not a list of three or more",
    ),
    "odd polygon": ('<polygon label="dog" points="1,1;2,2;3"/>', r"polygon\[0\]\.points is not a list"),
    "text polygon": (
        '<polygon label="dog" points="1,1;2,2;3,x"/>',
        r"points holds something that is not a number",
    ),
    "no points": ('<polygon label="dog"/>', r"polygon\[0\]\.points is not a list"),
    "short mask": (MASK.format("1,2", 0), r"mask\[0\]\.rle sums to 3, not to the 4x3 pixels"),
    "negative mask": (MASK.format("-12,24", 0), r"mask\[0\]\.rle sums to 12, not to"),
    "huge mask": (MASK.format("99999999999999999999", 0), r"mask\[0\]\.rle holds something that is not a number"),
    "text mask": (MASK.format("a", 0), r"mask\[0\]\.rle holds something that is not a number"),
    "empty mask": (MASK.format("12", 0), r"mask\[0\]\.rle has no pixel"),
    "mask outside": (MASK.format("0,12", 58), r"mask\[0\] is not inside the 60x40 image"),
}


@pytest.mark.parametrize(("body", "problem"), BAD.values(), ids=BAD)
def test_malformed_shapes_name_file_and_field(root: Path, body: str, problem: str) -> None:
    write(root, document(image(body)))
    assert re.search(rf"annotations\.xml: .*{problem}", faults_of(cvat.read, root, "all"), re.DOTALL)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (document(), "there is no image in it"),
        (document("<track/>"), "this is a video's file"),
        (
            document(image(name="../../etc/passwd")),
            r"it names the image '\.\./\.\./etc/passwd', which is not a file inside",
        ),
        (document('<image id="1"/>'), r"image\[0\]\.name is missing"),
        (document('<image name="a.png" width="x" height="4"/>'), r"image\[0\] \(a\.png\)\.width is 'x', not a number"),
        (document(image()).replace("</annotations>", ""), "not valid XML"),
        (
            '<!DOCTYPE a [<!ENTITY b "c">]>' + "<annotations><image name='&b;'/></annotations>",
            "the XML declares a document type",
        ),
    ],
)
def test_malformed_files_are_named(root: Path, text: str, problem: str) -> None:
    write(root, text)
    assert re.search(rf"annotations\.xml: .*{problem}", faults_of(cvat.read, root, "all"), re.DOTALL)


def test_masks_need_the_size_of_the_image(root: Path) -> None:
    write(root, document('<image name="a.png"><polygon label="dog" points="1,1;5,1;5,5"/></image>'))
    assert cvat.read(root, "all", masks=True).target(0)["masks"].shape == (1, 40, 60)  # the image has it
    (root / "a.png").unlink()
    assert len(cvat.read(root, "all").table.labels) == 1
    with pytest.raises(DataError, match=r"annotations\.xml: a\.png has no width and height"):
        cvat.read(root, "all", masks=True)


def test_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "other.xml").write_text("<annotation/>")
    assert not cvat.matches(tmp_path)
    with pytest.raises(DataError, match="there is no XML file of CVAT"):
        cvat.read(tmp_path, "all")
