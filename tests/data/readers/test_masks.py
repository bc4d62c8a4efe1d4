"""Images with label maps and instance maps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, instance_masks, masks
from saccade.data.readers._label_maps import label_lookup, palette_table
from saccade.errors import DataError


def write_map(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(values, np.uint8))


LAYOUTS = [
    ("train", "trainannot", "val"),
    ("train/image", "train/label", "val"),
    ("train/images", "train/masks", "val"),
    ("images/train", "annotations/train", "val"),
]


@pytest.mark.parametrize(("images", "labels", "other"), LAYOUTS)
def test_layouts_with_splits_are_found(tmp_path: Path, write_image: Any, images: str, labels: str, other: str) -> None:
    values = np.zeros((40, 60), np.uint8)
    values[0, :3] = [1, 2, 255]
    for folder, kind in ((images, "x"), (labels, "y")):
        for split in ("train", other):
            target = tmp_path / folder.replace("train", split)
            for number in (2, 10):
                write_image(target / f"{number}.png") if kind == "x" else write_map(target / f"{number}.png", values)
    assert detect_format(tmp_path) == "masks"
    assert masks.splits(tmp_path) == ("train", "val")
    data = masks.read(tmp_path, "train", class_names=["a", "b", "c"])
    assert [Path(data.path(index)).name for index in range(2)] == ["2.png", "10.png"]
    sample = data.read(0)
    assert sample.target["label_map"].dtype == np.uint8
    assert np.array_equal(sample.target["label_map"], values)


def test_flat_layout_is_one_split_or_has_ranges(tmp_path: Path, write_image: Any) -> None:
    for number in range(12):
        write_image(tmp_path / "images" / f"{number}.jpg", (8, 8))
        write_map(tmp_path / "masks" / f"{number}_mask.png", np.zeros((8, 8)))
    options: dict[str, Any] = {"label_suffix": "_mask", "class_names": ["a"]}
    assert masks.splits(tmp_path) == ("all",)

    def numbers(split: str, **more: Any) -> list[int]:
        data = masks.read(tmp_path, split, **options, **more)
        return [int(Path(data.path(index)).stem) for index in range(len(data))]

    assert numbers("all") == list(range(12))
    with pytest.raises(DataError, match="no split 'val'; it has: all"):
        numbers("val")
    held = open_dataset(tmp_path, "val", **options)
    assert len(held) == 2
    ranges = {"train": "0-3,8", "val": "10-11"}
    assert numbers("train", ranges=ranges) == [0, 1, 2, 3, 8]
    assert numbers("val", ranges=ranges) == [10, 11]
    assert len(numbers("all", ranges=ranges)) == 12
    for wrong in ("0-12", "5-3", "x", ""):
        with pytest.raises(DataError, match=r"there are items 0-11\. Write it as"):
            numbers("train", ranges={"train": wrong})
    with pytest.raises(DataError, match="no split 'test'; it has: all, train, val"):
        numbers("test", ranges=ranges)


@pytest.fixture
def pair(tmp_path: Path, write_image: Any) -> Path:
    write_image(tmp_path / "images" / "a.png", (2, 3))
    return tmp_path


def test_values_are_mapped_and_ignored(pair: Path) -> None:
    write_map(pair / "masks" / "a.png", [[0, 255, 7], [11, 0, 7]])
    data = masks.read(pair, "all", class_names=["a", "b", "c"], values={0: 1, 255: 0, 7: 2}, ignore=[11])
    assert data.target(0)["label_map"].tolist() == [[1, 0, 2], [255, 1, 2]]


def test_values_that_are_no_class_are_named(pair: Path) -> None:
    write_map(pair / "masks" / "a.png", [[0, 9, 8], [0, 0, 255]])
    with pytest.raises(DataError, match=r"a\.png: pixel value 8, 9 is none of 0-1\. Add it"):
        masks.read(pair, "all", class_names=["a", "b"]).target(0)


def test_classes_are_inferred(pair: Path) -> None:
    write_map(pair / "masks" / "a.png", [[0, 255, 0], [255, 0, 0]])
    data = masks.read(pair, "all")
    assert data.info.class_names == ("background", "foreground")
    assert data.target(0)["label_map"].tolist() == [[0, 1, 0], [1, 0, 0]]
    write_map(pair / "masks" / "a.png", [[0, 255, 3], [1, 0, 0]])
    data = masks.read(pair, "all")
    assert data.info.class_names == ("class_0", "class_1", "class_3")  # no map has 2
    assert data.target(0)["label_map"].tolist() == [[0, 255, 2], [1, 0, 0]]


def test_size_mismatch_and_missing_maps_are_named(pair: Path, write_image: Any) -> None:
    write_map(pair / "masks" / "a.png", np.zeros((4, 6)))
    data = masks.read(pair, "all", class_names=["a"])
    with pytest.raises(DataError, match=r"masks/a\.png: the map is 6x4, its image 3x2\. Save both"):
        data.read(0)
    write_image(pair / "images" / "b.png")
    with pytest.raises(DataError, match=r"1 images have no label map .*: b\.png"):
        masks.read(pair, "all", class_names=["a"])


def test_impossible_tables_are_refused() -> None:
    with pytest.raises(DataError, match="300 classes are more than"):
        label_lookup(300)
    for values in ({0: 2}, {0: -1}, {-1: 0}, {70000: 0}):
        with pytest.raises(DataError, match="labels are 0-1"):
            label_lookup(2, values)


def test_instances_become_tight_boxes_and_masks(tmp_path: Path, write_image: Any) -> None:
    values = np.zeros((40, 60), np.uint8)
    values[5:15, 10:30] = 1
    values[20:40, 50:60] = 7
    values[0, 0] = 7
    write_image(tmp_path / "PNGImages" / "a.png")
    write_map(tmp_path / "PedMasks" / "a_mask.png", values)
    assert detect_format(tmp_path) == "instance_masks"
    data = instance_masks.read(tmp_path, "all", masks=True)
    target = data.read(0).target
    assert target["boxes"].tolist() == [[10, 5, 30, 15], [0, 0, 60, 40]]
    assert target["area"].tolist() == [200, 201]
    assert np.array_equal(target["masks"], np.stack([values == 1, values == 7]))
    merged = instance_masks.read(tmp_path, "all", task="segmentation")
    assert merged.info.class_names == ("background", "pedestrian")
    assert np.array_equal(merged.target(0)["label_map"], values > 0)


@pytest.mark.data("pennfudan")
def test_boxes_of_penn_fudan_equal_its_annotation(data_root: Path) -> None:
    """The text files count from 1 and include both ends, so x1 - 1 and x2 are continuous; they were drawn by hand."""
    root = data_root / "pennfudan"
    data = instance_masks.read(root, "all")
    for index in range(len(data)):
        text = (root / "Annotation" / f"{Path(data.path(index)).stem}.txt").read_text()
        found = re.findall(r"\(Xmin, Ymin\) - \(Xmax, Ymax\) : \((\d+), (\d+)\) - \((\d+), (\d+)\)", text)
        written = np.array(found, np.float32) - [1, 1, 0, 0]
        assert np.abs(data.target(index)["boxes"] - written).max() <= 3


@pytest.mark.data("camvid")
def test_camvid_void_is_ignored(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.data.open import open_dataset

    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    data = open_dataset("camvid", "val")
    for index in range(len(data)):
        label_map = data.target(index)["label_map"]
        raw = cv2.imread(data.path(index).replace("/val/", "/valannot/"), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(label_map == 255, raw == 11)
        assert np.array_equal(label_map[raw < 11], raw[raw < 11])


def write_colors(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(values, np.uint8)[..., ::-1])


COLORS = [[[0, 0, 0], [128, 64, 128], [70, 70, 70]], [[255, 255, 255], [0, 0, 0], [128, 64, 128]]]


@pytest.mark.parametrize(
    ("palette", "class_names", "names"),
    [
        ({"#000000": "sky", "#804080": "road", "#464646": "box", "#ffffff": "ignore"}, None, ("sky", "road", "box")),
        ({"0,0,0": 0, "128, 64, 128": 1, (70, 70, 70): 2, "#FFFFFF": 255}, None, ("class_0", "class_1", "class_2")),
        ({(0, 0, 0): "b", (128, 64, 128): 0, (70, 70, 70): "c", (255, 255, 255): 255}, list("abc"), ("a", "b", "c")),
    ],
)  # fmt: skip
def test_colours_stand_for_classes(pair: Path, palette: Any, class_names: Any, names: tuple[str, ...]) -> None:
    write_colors(pair / "masks" / "a.png", COLORS)
    data = masks.read(pair, "all", palette=palette, class_names=class_names)
    assert data.info.class_names == names
    expected = [[0, 1, 2], [255, 0, 1]] if names[0] != "a" else [[1, 0, 2], [255, 1, 0]]
    assert data.read(0).target["label_map"].tolist() == expected
    assert data.target(0)["label_map"].dtype == np.uint8


def test_a_palette_image_is_read_by_its_colours(pair: Path) -> None:
    from PIL import Image

    image = Image.new("P", (3, 2))
    image.putdata([7, 3, 7, 3, 7, 7])
    colors = [0] * 768
    colors[9:12], colors[21:24] = [1, 2, 3], [4, 5, 6]
    image.putpalette(colors)
    (pair / "masks").mkdir()
    image.save(pair / "masks" / "a.png")
    data = masks.read(pair, "all", palette={"#010203": 1, "#040506": 0})
    assert data.target(0)["label_map"].tolist() == [[0, 1, 0], [1, 0, 0]]


def test_colours_that_stand_for_nothing_are_named(pair: Path) -> None:
    write_colors(pair / "masks" / "a.png", COLORS)
    with pytest.raises(
        DataError, match=r"a\.png: the palette has no colour #464646 \(1 pixels\), #ffffff \(1 pixels\)\. Add"
    ):
        masks.read(pair, "all", palette={"#000000": 0, "#804080": 1}).target(0)
    for palette, message in (
        ({}, "it is empty"),
        ({"#12345": 0}, "'#12345' is not a colour"),
        ({"1,2": 0}, "'1,2' is not a colour"),
        ({(1, 2, 300): 0}, "is not a colour"),
        ({"#000000": "road"}, "stands for 'road', which is none of 1 classes"),
        ({"#000000": 3}, "stands for '3', which is none of 1"),
    ):
        with pytest.raises(DataError, match=message):
            palette_table(palette, ["sky"])
    with pytest.raises(DataError, match=r"'palette' gives the class of every colour\. Remove values"):
        masks.read(pair, "all", palette={"#000000": 0}, ignore=[3])


def test_palette_of_an_options_file(pair: Path) -> None:
    from saccade.data.open import open_dataset

    write_colors(pair / "masks" / "a.png", COLORS)
    (pair / "saccade.yaml").write_text(
        "format: masks\npalette:\n  '#000000': sky\n  '#804080': road\n  '#464646': road\n  '#ffffff': ignore\n"
    )
    data = open_dataset(pair, "all")
    assert data.info.class_names == ("sky", "road")
    assert data.target(0)["label_map"].tolist() == [[0, 1, 1], [255, 0, 1]]


def test_instance_ids_hold_class_and_number(tmp_path: Path, write_image: Any) -> None:
    values = np.zeros((40, 60), np.uint16)
    values[5:15, 10:30] = 2001
    values[20:40, 50:60] = 2002
    values[0:3, 0:4] = 1000
    values[30:, :10] = 3
    values[39, 59] = 4005
    write_image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    assert cv2.imwrite(str(tmp_path / "masks" / "a.png"), values)
    options: dict[str, Any] = {
        "instance_divisor": 1000,
        "class_names": ["road", "car", "man"],
        "values": {1: 1, 2: 2, 3: 0},
        "ignore": [0, 4],
    }
    expected = np.full((40, 60), 255)
    expected[5:15, 10:30] = 2
    expected[20:40, 50:60] = 2
    expected[0:3, 0:4] = 1
    expected[30:, :10] = 0
    expected[39, 59] = 255
    assert np.array_equal(masks.read(tmp_path, "all", **options).target(0)["label_map"], expected)
    target = masks.read(tmp_path, "all", "detection", masks=True, **options).read(0).target
    assert target["labels"].tolist() == [1, 2, 2]
    assert target["boxes"].tolist() == [[0, 0, 4, 3], [10, 5, 30, 15], [50, 20, 60, 40]]
    assert target["area"].tolist() == [12, 200, 199]
    assert np.array_equal(target["masks"][1], values == 2001)
    with pytest.raises(DataError, match="'masks' has no ground truth for task 'detection'"):
        masks.read(tmp_path, "all", "detection")
    inferred = masks.read(tmp_path, "all", instance_divisor=1000)
    assert len(inferred.info.class_names) == 5
    assert inferred.target(0)["label_map"][39, 59] == 4
