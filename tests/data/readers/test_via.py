"""VIA: regions of both versions, the attribute that names the class, what has no area, faults."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from tests.data.faults import codes_of, faults_of

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, via
from saccade.errors import DataError

SIZE = (40, 60)
RECT = {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 30}
POLYGON = {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [5, 5, 35, 35]}
CIRCLE = {"name": "circle", "cx": 30, "cy": 20, "r": 10}
ELLIPSE = {"name": "ellipse", "cx": 30, "cy": 20, "rx": 20, "ry": 10}


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def write(root: Path, regions: Any, name: str = "via_region_data.json", project: bool = False) -> Path:
    images = {
        "a.png99": {"filename": "a.png", "size": 99, "regions": regions, "file_attributes": {"weather": "fog"}},
        "b.png98": {"filename": "b.png", "size": 98, "regions": [], "file_attributes": {}},
    }
    content = {"_via_settings": {}, "_via_img_metadata": images, "_via_attributes": {}} if project else images
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps(content))
    return root


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in "ab":
        write_image(tmp_path / "photos" / f"{name}.png", SIZE)
    return tmp_path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("project", [False, True])
def test_shapes_of_both_versions(version: int, project: bool, root: Path) -> None:
    regions = [region(shape, label="cat") for shape in (RECT, POLYGON, CIRCLE, ELLIPSE)]
    write(root, regions if version == 2 else {str(n): entry for n, entry in enumerate(regions)}, project=project)
    assert detect_format(root) == "via"
    assert via.splits(root) == ("all",)
    data = via.read(root, "all", masks=True)
    target = data.target(0)
    expected = [[10, 5, 30, 35], [10, 5, 30, 35], [20, 10, 40, 30], [10, 10, 50, 30]]
    assert target["boxes"].round(9).tolist() == expected
    assert target["area"] == pytest.approx([600, 600, math.pi * 100, math.pi * 200], rel=0.01)
    assert target["masks"].sum(axis=(1, 2)).tolist() == pytest.approx(
        [600, 600, math.pi * 100, math.pi * 200], rel=0.05
    )
    assert len(data.target(1)["boxes"]) == 0
    assert data.read(0).image.shape == (40, 60, 3)
    assert data.table.image_attributes is not None
    assert data.table.image_attributes.get(0) == {"weather": "fog"}
    label_map = open_dataset(root, "all", task="segmentation").target(0)["label_map"]
    assert label_map[20, 15] == 1
    assert label_map[0, 0] == 0


def test_a_turned_ellipse(root: Path) -> None:
    write(root, [region({**ELLIPSE, "theta": math.pi / 2})])
    assert via.read(root, "all").target(0)["boxes"].round(9).tolist() == [[20, 0, 40, 40]]


def test_the_attribute_that_names_the_class(root: Path) -> None:
    write(root, [region(RECT, fruit="apple"), region(RECT, fruit="pear")])
    assert via.read(root, "all").info.class_names == ("apple", "pear")  # the only one
    write(root, [region(RECT, Class="apple", ripe="yes"), region(RECT, Class="pear", ripe="")])
    data = via.read(root, "all")
    assert data.info.class_names == ("apple", "pear")  # by its name
    assert data.table.attributes is not None
    assert data.table.attributes.get(0) == {"ripe": "yes"}
    assert via.read(root, "all", class_attribute="ripe").info.class_names == ("yes",)
    write(root, [region(RECT, fruit="apple", ripe="yes", size="3")])
    with pytest.raises(DataError, match=r"several attributes, .* not known: fruit, ripe, size\. Give it by the option"):
        via.read(root, "all")
    assert open_dataset(root, "all", class_attribute="fruit").info.class_names == ("apple",)
    write(root, [region(RECT), region(RECT)])
    assert via.read(root, "all").info.class_names == ("object",)
    write(root, [region(RECT, kind={"apple": True, "pear": False}), region(RECT, kind={"apple": True, "pear": True})])
    data = via.read(root, "all")
    assert data.info.class_names == ("apple",)
    assert codes_of(data) == ["labels.class"]


def test_what_has_no_area_is_kept_and_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = {"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]}
    point = {"name": "point", "cx": 3, "cy": 4}
    write(root, [region(line, label="road"), region(point, label="road"), region(RECT, label="cat")])
    with caplog.at_level(logging.WARNING, "saccade"):
        data = via.read(root, "all")
    assert data.info.class_names == ("cat",)
    assert len(data.target(0)["boxes"]) == 1
    assert data.table.image_attributes is not None
    assert data.table.image_attributes.get(0)["shapes"] == [line, point]
    assert "1 point, 1 polyline" in caplog.text


def test_folders_and_files_of_splits(root: Path, write_image: Any) -> None:
    for split, label in (("train", "cat"), ("val", "dog")):
        write_image(root / split / "a.png", SIZE)
        write_image(root / split / "b.png", SIZE)
        write(root, [region(RECT, label=label)], f"{split}/via_region_data.json")
    assert via.splits(root) == ("train", "val")
    val = via.read(root, "val")
    assert val.info.class_names == ("cat", "dog")
    assert val.target(0)["labels"].tolist() == [1]
    assert val.path(0) == str(root / "val/a.png")
    assert val.annotation_path(0) == str(root / "val/via_region_data.json")


BAD = {
    "no number": ({**RECT, "x": "left"}, "labels.number", r"regions\[0\]: x is 'left', not a number"),
    "no side": ({"name": "rect", "x": 1, "y": 1}, "labels.number", r"regions\[0\]: width is missing"),
    "two points": ({**POLYGON, "all_points_x": [1, 2]}, "labels.outline", r"regions\[0\]: it has 2 x and 4 y"),
    "no points": ({"name": "polygon"}, "labels.outline", r"regions\[0\]: it has 0 x and 0 y"),
    "unknown": ({"name": "cloud"}, "json.field", r"name is 'cloud', which is not known"),
    "no shape": (None, "json.field", "shape_attributes is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_region_leaves_the_others(case: str, root: Path) -> None:
    shape, code, message = BAD[case]
    write(root, [region(shape, label="cat"), region(RECT, label="cat")])  # type: ignore[arg-type]
    data = via.read(root, "all")
    assert codes_of(data) == [code]
    with pytest.raises(DataError, match=rf"image 0 \(a\.png\): {message}" if "[0]" in message else message):
        open_dataset(root, "all")
    assert data.target(0)["boxes"].tolist() == [[10, 5, 30, 35]]


def test_other_files_are_not_taken_for_it(tmp_path: Path) -> None:
    for number, text in enumerate(("{}", "[]", "{", '{"a": 1}', '{"a": {"filename": "x"}}', '{"shapes": []}')):
        (tmp_path / f"{number}.json").write_text(text)
    assert not via.matches(tmp_path)
    assert "there is no JSON file of VIA" in faults_of(via.read, tmp_path, "all")
