"""COCO files: gapped ids, negatives, crowds, outlines and points."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as reference
from tests.data.faults import faults_of

from saccade.data.readers import coco, detect_format
from saccade.errors import DataError

SQUARE = [10, 10, 20, 10, 20, 20, 10, 20]


def annotation(image: Any, category: Any, box: list[Any], **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "area": 7.0, "iscrowd": 0, **more}


def content(**changes: Any) -> dict[str, Any]:
    """Two images, the second without objects; classes with gaps in their ids, not in the order of the file."""
    return {
        "images": [
            {"id": 900, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 5, "file_name": "b.png", "height": 40, "width": 60},
        ],
        "categories": [{"id": 90, "name": "emu"}, {"id": 3, "name": "cat"}, {"id": 17, "name": "yak"}],
        "annotations": [
            annotation(900, 90, [1.5, 2.5, 10, 20], segmentation=[SQUARE]),
            annotation(900, 3, [0, 0, 4, 4]),
        ],
        **changes,
    }


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "train2017" / name)
    (tmp_path / "annotations").mkdir()
    write(tmp_path, content())
    return tmp_path


def write(root: Path, values: Any) -> None:
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(values))


def test_gapped_ids_become_labels_by_name(root: Path) -> None:
    data = coco.read(root, "train")
    assert detect_format(root) == "coco"
    assert data.info.class_names == ("cat", "yak", "emu")
    assert data.info.category_ids == (3, 17, 90)
    target = data.target(0)
    assert [data.info.class_names[label] for label in target["labels"]] == ["emu", "cat"]
    assert target["boxes"].tolist() == [[1.5, 2.5, 11.5, 22.5], [0, 0, 4, 4]]
    assert target["area"].tolist() == [7, 7]


def test_negatives_and_numbers_are_kept(root: Path) -> None:
    data = coco.read(root, "train2017")
    assert len(data) == 2
    assert data.target(1)["boxes"].shape == (0, 4)
    assert [data.read(index).info.image_id for index in range(2)] == [900, 5]
    assert data.read(1).image.shape == (40, 60, 3)


def test_masks_are_decoded_on_demand(root: Path) -> None:
    data = coco.read(root, "train", masks=True)
    masks = data.target(0)["masks"]
    assert masks.shape == (2, 40, 60)
    assert masks[0, 10:20, 10:20].all()
    assert masks[0].sum() == 100
    assert masks[1].sum() == 16  # its box
    assert data.target(1)["masks"].shape == (0, 40, 60)
    assert "masks" not in coco.read(root, "train").target(0)


def test_label_map_paints_small_over_large(root: Path) -> None:
    big = [0, 0, 60, 0, 60, 40, 0, 40]
    small = annotation(900, 3, [10, 10, 10, 10], segmentation=[SQUARE], area=100)
    large = annotation(900, 90, [0, 0, 60, 40], segmentation=[big], area=2400)
    write(root, content(annotations=[small, large]))
    data = coco.read(root, "train", task="segmentation")
    assert data.info.class_names == ("background", "cat", "yak", "emu")
    label_map = data.target(0)["label_map"]
    assert label_map.dtype == np.uint8
    assert (label_map == 1).sum() == 100
    assert (label_map == 3).sum() == 2300
    assert not data.target(1)["label_map"].any()


def test_keypoints_are_moved_to_pixel_centres(root: Path) -> None:
    person = {"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}
    points = [3, 4, 2, 0, 0, 0, 7, 8, 1]
    values = content(categories=[person], annotations=[annotation(900, 1, [0, 0, 9, 9], keypoints=points)])
    (root / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(values))
    data = coco.read(root, "train", task="keypoints")
    assert data.info.class_names == ("nose", "left_eye", "right_eye")
    assert data.info.flip_pairs == ((1, 2),)
    assert data.target(0)["keypoints"].tolist() == [[[3.5, 4.5, 2], [0, 0, 0], [7.5, 8.5, 1]]]
    assert data.target(0)["labels"].tolist() == [0]
    assert data.target(1)["keypoints"].shape == (0, 3, 3)


@pytest.mark.parametrize("layout", ["beside", "single"])
def test_other_places_of_the_file(tmp_path: Path, write_image: Any, layout: str) -> None:
    folder = tmp_path / "valid" if layout == "beside" else tmp_path / "images"
    for name in ("a.png", "b.png"):
        write_image(folder / name)
    file = folder / "_annotations.coco.json" if layout == "beside" else tmp_path / "annotations.json"
    file.write_text(json.dumps(content()))
    assert detect_format(tmp_path) == "coco"
    data = coco.read(tmp_path, "val" if layout == "beside" else "all")
    assert len(data) == 2
    assert data.read(0).image.shape == (40, 60, 3)
    assert data.annotation_path(0) == str(file)


def test_unknown_category_is_kept_as_unknown(root: Path) -> None:
    write(root, content(annotations=[annotation(5, 4, [0, 0, 1, 1])]))
    data = coco.read(root, "train")
    assert data.target(1)["labels"].tolist() == [-1]
    assert data.table.class_name(-1, data.info.class_names) == "category_id 4"


BAD = {
    "no list": ({"images": {}}, "images: expected array, got object"),
    "no images": ({"images": [], "annotations": []}, "images is empty"),
    "orphan": (
        {"annotations": [annotation(1, 3, [0, 0, 1, 1])]},
        r"annotations\[0\]\.image_id: it is 1, which no image has",
    ),
    "short box": (
        {"annotations": [annotation(5, 3, [0, 0, 1])]},
        r"annotations\[0\]\.bbox: it is \[0, 0, 1\]\. Write \[x, y, width, height\]",
    ),
    "text box": (
        {"annotations": [annotation(5, 3, ["a", 0, 1, 1])]},
        r"annotations\[0\]\.bbox: it is \"a\"\. Write \[x, y, width, height\]",
    ),
    "no box": ({"annotations": [annotation(5, 3, [])]}, r"annotations\[0\]\.bbox: it is missing, and there is no"),
    "later": (
        {"annotations": [annotation(5, 3, [0, 0, 1, 1])] * 3 + [annotation(5, 3, [0, 0, 1])]},
        r"annotations\[3\]\.bbox: it is ",
    ),
    "no id": ({"annotations": [annotation(5, None, [0, 0, 1, 1])]}, r"annotations\[0\]\.category_id: it is missing"),
    "half an id": ({"annotations": [annotation(5, 1.5, [0, 0, 1, 1])]}, r"annotations\[0\]\.category_id: it is 1\.5"),
    "huge": ({"annotations": [annotation(5, 3, [0, 0, 10**400, 1])]}, r"annotations\[0\]\.bbox: it is 1000"),
    "no object": ({"annotations": [3]}, r"annotations\[0\]: it is not an object"),
    "twins": (
        {
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}],
            "annotations": [annotation(5, 1, [0, 0, 1, 1]), annotation(5, 2, [0, 0, 1, 1])],
        },
        "1 and 2 are both called 'a'",
    ),
    "no name": ({"categories": [{"id": 1}]}, r"categories\[0\]\.name: it is missing"),
    "many": ({"categories": [{"id": n, "name": str(n)} for n in range(100_001)]}, "100,001 classes"),
    "same id": (
        {"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], "annotations": []},
        r"images\[1\]: another image has the id 1",
    ),
    "no file": ({"images": [{"id": 1}], "annotations": []}, r"images\[0\]\.file_name: it is missing"),
    "climbs": (
        {"images": [{"id": 1, "file_name": "../../etc/passwd"}]},
        r"it names the image '\.\./\.\./etc/passwd', which is not a file inside the data folder",
    ),
    "absolute": (
        {"images": [{"id": 1, "file_name": "/etc/passwd"}]},
        r"it names the image '/etc/passwd', which is not a file inside the data folder",
    ),
    "text size": (
        {"images": [{"id": 5, "file_name": "b.png", "height": "x"}], "annotations": []},
        r"images\[0\]\.height: it is \"x\"\. Write the number of pixels, or null",
    ),
    "vast": (
        {"images": [{"id": 5, "file_name": "b.png", "height": 10**6, "width": 10**6}]},
        r"images\[0\]: the image is 1000000x1000000",
    ),
    "odd polygon": (
        {"annotations": [annotation(900, 3, [0, 0, 4, 4], segmentation=[[1, 2, 3, 4, 5, 6, 7]])]},
        r"annotations\[0\]\.segmentation: a polygon has 7 numbers",
    ),
    "text outline": (
        {"annotations": [annotation(900, 3, [0, 0, 4, 4], segmentation="abc")]},
        r"annotations\[0\]\.segmentation: it is \"abc\"\. Write a list of polygons",
    ),
    "text in a polygon": (
        {"annotations": [annotation(900, 3, [0, 0, 4, 4], segmentation=[1, "x"])]},
        r"annotations\[0\]\.segmentation: it is \"x\"",
    ),
    "negative run": (
        {"annotations": [annotation(900, 3, [0, 0, 4, 4], segmentation={"size": [40, 60], "counts": [2405, -5]})]},
        r"annotations\[0\]\.segmentation\.counts: ",
    ),
    "strange text": (
        {"annotations": [annotation(900, 3, [0, 0, 4, 4], segmentation={"size": [40, 60], "counts": "\x01\x02"})]},
        r"annotations\[0\]\.segmentation\.counts: the run-length code has a strange character",
    ),
    "no counts": (
        {"annotations": [annotation(900, 3, [0, 0, 4, 4], segmentation={"size": [40, 60]})]},
        r"annotations\[0\]\.segmentation: Object missing required field counts",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_files_name_file_and_field(root: Path, case: str) -> None:
    changes, message = BAD[case]
    write(root, content(**changes))
    assert re.search(rf"instances_train2017\.json: .*{message}", faults_of(coco.read, root, "train"), re.DOTALL)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_files_that_are_no_json_object(root: Path, text: str) -> None:
    (root / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(DataError, match=r"instances_train2017\.json: "):
        coco.read(root, "train")


OUTLINES: dict[str, Any] = {
    "two numbers": [[1, 2]],
    "far away": [[0, 0, 1e9, 0, 1e9, 1e9]],
    "other size": {"size": [41, 60], "counts": [2460]},
    "too many": {"size": [40, 60], "counts": [2401]},
    "overflow": {
        "size": [40, 60],
        "counts": reference.encode(np.ones((80, 60), np.uint8, order="F"))["counts"].decode(),
    },
}


def test_masks_need_sizes(root: Path) -> None:
    write(root, content(images=[{"id": 900, "file_name": "a.png"}]) | {"annotations": []})
    assert coco.read(root, "train", masks=True).table.sizes.tolist() == [[40, 60]]  # the image has it
    (root / "train2017" / "a.png").unlink()
    assert len(coco.read(root, "train")) == 1
    with pytest.raises(DataError, match="images lack height or width"):
        coco.read(root, "train", masks=True)


@pytest.mark.parametrize("case", OUTLINES)
def test_hostile_outlines_are_named_when_decoded(root: Path, case: str) -> None:
    write(root, content(annotations=[annotation(900, 3, [0, 0, 4, 4], segmentation=OUTLINES[case])]))
    data = coco.read(root, "train", masks=True)
    with pytest.raises(DataError, match=r"json: the outline of object 0 of train2017/a\.png is malformed"):
        data.target(0)


@pytest.mark.data("tiny_coco")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools
def test_tiny_coco_equals_the_reference_tool(data_root: Path) -> None:
    from pycocotools.coco import COCO

    for split in ("train2017", "val2017"):
        tool = COCO(str(data_root / "tiny_coco" / "annotations" / f"instances_{split}.json"))
        data = coco.read(data_root / "tiny_coco", split, masks=True)
        assert data.info.class_names == tuple(tool.cats[number]["name"] for number in data.info.category_ids)
        assert len(data) == len(tool.imgs) == 50
        for index in range(len(data)):
            expected = tool.loadAnns(tool.getAnnIds(imgIds=int(data.image_ids[index])))
            target = data.target(index)
            assert [data.info.category_ids[label] for label in target["labels"]] == [a["category_id"] for a in expected]
            assert target["iscrowd"].tolist() == [bool(a["iscrowd"]) for a in expected]
            for position, entry in enumerate(expected):
                x, y, width, height = entry["bbox"]
                assert np.allclose(target["boxes"][position], [x, y, x + width, y + height], atol=1e-3)
                assert np.array_equal(target["masks"][position], tool.annToMask(entry))


def test_a_text_that_is_not_utf8_is_named_whatever_stands_before_it(root: Path) -> None:
    file = root / "annotations" / "instances_train2017.json"
    for first in ("x", [0, 0, 1, 1]):
        values = [annotation(5, 3, first), annotation(5, 3, [0, 0, 1, 1], attributes={"a": "MARK"})]  # type: ignore[arg-type]
        write(root, content(annotations=values))
        file.write_bytes(file.read_bytes().replace(b"MARK", b"\xff"))
        assert re.search(r"annotations.*(utf-8|UTF-8)", faults_of(coco.read, root, "train"))
