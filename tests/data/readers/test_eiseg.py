"""EISeg: polygons, label maps and COCO of the same objects, in a folder ``label`` beside the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from saccade.data import open_dataset
from saccade.data.readers import detect_format
from saccade.data.readers._eiseg import class_numbers
from saccade.data.writers.convert import convert
from saccade.errors import DataError

SIZE = (30, 40)
NUMBERS = {"dog": 1, "cat": 3}  # not in the order of the names, and with a gap
OBJECTS = {
    "photo1": [("cat", [[2.0, 3.0], [20.0, 3.0], [20.0, 15.0], [2.0, 15.0]])],
    "photo2": [("dog", [[5.0, 5.0], [30.0, 5.0], [30.0, 20.0], [5.0, 20.0]]), ("cat", [[32, 22], [38, 22], [38, 28]])],
    "photo3": [],
}


def label_map(name: str, numbers: dict[str, int]) -> np.ndarray:
    """The objects, pixel by pixel; the triangle's slanted side passes through the centres of pixels."""
    found = np.zeros(SIZE, np.uint8)
    if name == "photo1":
        found[3:15, 2:20] = numbers["cat"]
    if name == "photo2":
        found[5:20, 5:30] = numbers["dog"]
        found[22:28, 32:38][np.triu_indices(6)] = numbers["cat"]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """Writes a folder with some of EISeg's kinds of files."""

    def write(*kinds: str, suffix: str = ".jpg") -> Path:
        root = tmp_path / "_".join(kinds)
        (root / "label").mkdir(parents=True)
        images, annotations = [], []
        for number, (name, objects) in enumerate(OBJECTS.items(), 1):
            cv2.imwrite(str(root / f"{name}{suffix}"), np.full((*SIZE, 3), 90, np.uint8))
            if "grey" in kinds:
                values = label_map(name, NUMBERS)
                cv2.imwrite(str(root / "label" / f"{name}.png"), values)
                cv2.imwrite(str(root / "label" / f"{name}_pseudo.png"), np.stack([values * 60] * 3, axis=2))
                cv2.imwrite(str(root / "label" / f"{name}_cutout.png"), np.stack([values * 60] * 4, axis=2))
            if "json" in kinds:
                shapes = [
                    {"name": label, "labelIdx": NUMBERS[label], "color": [255, 0, 0], "points": points}
                    for label, points in objects
                ]
                (root / "label" / f"{name}.json").write_text(json.dumps(shapes))
            images.append({"id": number, "width": 40, "height": 30, "file_name": f"{name}{suffix}", "license": ""})
            annotations += [
                {"image_id": number, "category_id": NUMBERS[label], "segmentation": [np.ravel(points).tolist()]}
                for label, points in objects
            ]
        if "coco" in kinds:
            entries = [{**one, "id": index, "area": 0, "bbox": [0, 0, 0, 0]} for index, one in enumerate(annotations)]
            categories = [
                {"id": 1, "name": "dog", "color": [255, 0, 0]},
                {"id": 3, "name": "cat", "color": [0, 255, 0]},
            ]
            content = {"categories": categories, "images": images, "annotations": entries, "info": "info"}
            (root / "label" / "annotations.json").write_text(json.dumps(content))
        if kinds != ("json",):
            (root / "label" / "autosave_label.txt").write_text("1 dog 255 0 0 \n3 cat 0 255 0 \n")
        return root

    return write


@pytest.mark.parametrize(
    ("kinds", "format"),
    [(("grey",), "masks"), (("json",), "labelme"), (("coco",), "coco"), (("grey", "json"), "masks")],
)
def test_each_kind_of_file_gives_the_same_label_maps(folder: Any, kinds: tuple[str, ...], format: str) -> None:
    root = folder(*kinds)
    assert detect_format(root, "segmentation") == format
    data = open_dataset(root, "all", task="segmentation")
    assert data.info.class_names == ("background", "dog", "cat")
    assert [Path(data.path(index)).name for index in range(3)] == ["photo1.jpg", "photo2.jpg", "photo3.jpg"]
    for index, name in enumerate(OBJECTS):
        found, expected = data.target(index)["label_map"], label_map(name, {"dog": 1, "cat": 2})
        # Pixels whose centres lie on the slanted side may be in or out.
        assert np.count_nonzero(found != expected) <= (6 if name == "photo2" else 0)


@pytest.mark.parametrize("kind", ["json", "coco"])
def test_polygons_become_boxes_and_go_out_again(folder: Any, kind: str, tmp_path: Path) -> None:
    root = folder(kind)
    data = open_dataset(root, "all", task="detection")
    assert data.info.class_names == ("dog", "cat")
    target = data.target(1)
    assert target["labels"].tolist() == [0, 1]
    assert target["boxes"].tolist() == [[5, 5, 30, 20], [32, 22, 38, 28]]
    assert target["area"].tolist() == [375, 18]
    for to in ("coco", "labelme"):
        convert(root, tmp_path / f"out_{to}", to, splits="all")
        back = open_dataset(tmp_path / f"out_{to}", "all", task="detection")
        for index in range(3):
            assert back.target(index)["boxes"].tolist() == data.target(index)["boxes"].tolist()


def test_the_image_is_found_above_and_never_the_label_map(folder: Any) -> None:
    for suffix in (".png", ".PNG", ".bmp"):
        root = folder("grey", "json", suffix=suffix)
        data = open_dataset(root, "all", task="detection")
        assert [Path(data.path(index)) for index in range(3)] == [root / f"{name}{suffix}" for name in OBJECTS]
        root.rename(root.with_name(f"done{suffix}"))
    root = folder("json")
    for name in OBJECTS:  # EISeg's option to keep the suffix
        (root / "label" / f"{name}.json").rename(root / "label" / f"{name}.jpg.json")
    data = open_dataset(root, "all", task="segmentation")
    assert [Path(data.path(index)) for index in range(3)] == [root / f"{name}.jpg" for name in OBJECTS]


def test_faults_of_the_lists_are_named(folder: Any) -> None:
    root = folder("grey")
    for text in ("cat 255 0 0", "1 cat 255 0 0\n1 dog 0 0 0", "1 cat 255 0 0\n2 cat 0 0 0", "1"):
        (root / "label" / "autosave_label.txt").write_text(text)
        with pytest.raises(DataError, match=r"autosave_label\.txt: line \d is not 'number name red green blue'"):
            class_numbers(root)
    root = folder("json")
    (root / "label" / "photo1.json").write_text('[{"name": "cat", "labelIdx": 3, "points": [["x", 1]]}]')
    with pytest.raises(DataError, match=r"photo1\.json.*shapes\[0\]\.points"):
        open_dataset(root, "all", task="detection")
