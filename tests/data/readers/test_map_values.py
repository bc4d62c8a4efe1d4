"""Classes of label maps that come without names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from saccade.data import notices
from saccade.data.open import open_dataset, open_raw, resolve_source, split_names
from saccade.data.readers import voc
from saccade.errors import DataError

BACKGROUND = ("background", "foreground")


@pytest.fixture(autouse=True)
def forget_notices() -> None:
    notices.say_once.cache_clear()


def write(path: Path, values: Any, dtype: Any = np.uint8, quality: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    assert cv2.imwrite(str(path), np.asarray(values, dtype), options)


def write_set(root: Path, dtype: Any = np.uint8, suffix: str = ".png", **splits: list[Any]) -> Path:
    """A data set whose label maps are given by split."""
    for split, maps in splits.items():
        for number, values in enumerate(maps):
            values = np.asarray(values)
            pixels = np.random.default_rng(number).integers(0, 255, (*values.shape, 3))
            write(root / "images" / split / f"{number}.png", pixels)
            write(root / "masks" / split / f"{number}{suffix}", values, dtype, 90 if suffix == ".jpg" else None)
    return root


def disc(inside: int, outside: int = 0, side: int = 48) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[:side, :side]
    return np.where((rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 3) ** 2, inside, outside)


def labels(root: Path, split: str) -> set[int]:
    data = open_raw(root, split)
    return {int(value) for index in range(len(data)) for value in np.unique(data.target(index)["label_map"])}


@pytest.mark.parametrize("top", [1, 255])
@pytest.mark.parametrize("only", ["empty", "full"])
def test_a_split_that_lacks_a_value_has_the_classes_of_all(tmp_path: Path, top: int, only: str) -> None:
    lone = np.zeros((48, 48)) if only == "empty" else np.full((48, 48), top)
    root = write_set(tmp_path, train=[disc(top), disc(top)], val=[lone])
    assert open_dataset(root, "val").info.class_names == open_dataset(root, "train").info.class_names == BACKGROUND
    assert labels(root, "train") == {0, 1}
    assert labels(root, "val") == ({0} if only == "empty" else {1})  # 255 is foreground there, not ignored


def test_classes_are_the_values_that_occur_in_any_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_set(tmp_path, train=[disc(1), disc(4)], val=[disc(2)], test=[disc(255)])
    for split in ("train", "val", "test"):
        assert open_raw(root, split).info.class_names == ("class_0", "class_1", "class_2", "class_4")
    assert labels(root, "train") == {0, 1, 3}
    assert labels(root, "test") == {0, 255}
    assert len(caplog.messages) == 1  # however often it is opened
    for word in ("0-2, 4", "no map has 3", "255 is ignored", "class_names.txt", "saccade.yaml"):
        assert word in caplog.text


def test_names_in_a_file_are_those_of_the_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_set(tmp_path, train=[disc(2)], val=[disc(1)])
    (root / "class_names.txt").write_text("_background_\nroad\nsky\n", encoding="utf-8")
    assert open_dataset(root, "val").info.class_names == ("background", "road", "sky")
    assert labels(root, "train") == {0, 2}
    assert not caplog.messages


def test_two_named_classes_may_be_0_and_255(tmp_path: Path) -> None:
    root = write_set(tmp_path, train=[disc(255)], val=[disc(255)])
    (root / "class_names.txt").write_text("table\ncup\n", encoding="utf-8")
    assert open_dataset(root, "val").info.class_names == ("table", "cup")
    assert labels(root, "train") == {0, 1}


def test_255_beside_1_is_ignored_and_alone_it_is_foreground(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bordered = disc(1)
    bordered[0] = 255
    assert labels(write_set(tmp_path / "border", train=[bordered], val=[disc(1)]), "train") == {0, 1, 255}
    mixed = write_set(tmp_path / "mixed", train=[disc(1), disc(255)], val=[disc(255)])
    assert labels(mixed, "train") == labels(mixed, "val") == {0, 1}
    assert "some maps have 0 and 1 (1), others 0 and 255 (2)" in caplog.text


@pytest.mark.parametrize("kind", ["soft", "jpeg", "few", "16 bits", "soft 16 bits"])
def test_soft_edges_are_divided_at_half(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    full = 65535 if "16" in kind else 255
    shape = disc(full, side=96).astype(np.float64)
    if "soft" in kind:
        shape = cv2.GaussianBlur(shape, (0, 0), 1.0)
    if kind == "few":  # drawn at twice the size
        shape = np.round(cv2.resize(disc(full, side=192).astype(np.float64), (96, 96), interpolation=cv2.INTER_AREA))
    root = write_set(
        tmp_path,
        np.uint16 if "16" in kind else np.uint8,
        ".jpg" if kind == "jpeg" else ".png",
        train=[shape, shape],
        val=[shape],
    )
    data = open_dataset(root, "val")
    assert data.info.class_names == BACKGROUND
    label_map = data.target(0)["label_map"]
    assert np.count_nonzero(label_map != (shape > full / 2)) <= 0.01 * label_map.size
    assert set(np.unique(label_map).tolist()) == {0, 1}
    assert ("divided at half" in caplog.text) == (kind != "16 bits")


def photograph() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (48, 48))


def blurred() -> np.ndarray[Any, Any]:
    steps = np.repeat([0, 40, 90, 140], 100)[None].repeat(400, axis=0).astype(np.float64)
    return cv2.GaussianBlur(steps, (0, 0), 2.0)


REFUSED: dict[str, tuple[Any, Any, str, str]] = {
    "photograph": (photograph(), np.uint8, ".png", "as in a photograph, not in a label map"),
    "blurred": (blurred(), np.uint8, ".png", "the label map is blurred"),
    "jpeg": (disc(3, 1), np.uint8, ".jpg", "the label map is a JPEG"),
    "depth": (photograph() * 17, np.uint16, ".png", "more than classes can have"),
    "nothing": (np.zeros((48, 48)), np.uint8, ".png", "hold nothing but 0, so there is nothing to learn"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_label_map_is_named(tmp_path: Path, kind: str) -> None:
    values, dtype, suffix, message = REFUSED[kind]
    write_set(tmp_path, dtype, suffix, train=[values], val=[values])
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path, "val")


def test_masks_of_two_kinds_are_refused(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(disc(255).astype(np.float64), (0, 0), 1.0)
    write_set(tmp_path, train=[disc(1), soft], val=[disc(1)])
    with pytest.raises(DataError, match=r"1 label maps hold 0 and 1|2 label maps hold 0 and 1, others have soft edges"):
        open_dataset(tmp_path, "train")


def test_a_few_greys_are_classes_also_at_255(tmp_path: Path) -> None:
    values = np.repeat([0, 85, 170, 255], 12)[None].repeat(48, axis=0)
    root = write_set(tmp_path, train=[values], val=[values])
    assert open_dataset(root, "val").info.class_names == ("class_0", "class_85", "class_170", "class_255")
    assert labels(root, "val") == {0, 1, 2, 3}


def write_voc_maps(root: Path, values: Any) -> Path:
    """Label maps with VOC's palette, in VOC's folders."""
    palette = [part for index in range(256) for part in ((index & 1) * 128, (index >> 1 & 1) * 128, index // 4 * 4)]
    for number, split in enumerate(("train", "val")):
        write(root / "JPEGImages" / f"{number}.jpg", np.random.default_rng(0).integers(0, 255, (48, 48, 3)))
        image = Image.fromarray(np.asarray(values, np.uint8))
        image.putpalette(palette)
        (root / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        image.save(root / "SegmentationClass" / f"{number}.png")
        (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{number}\n")
    return root


def test_values_without_gaps_are_not_vocs_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = np.repeat([0, 1, 2, 3], 12)[None].repeat(48, axis=0)
    root = write_voc_maps(tmp_path / "own", own)
    assert resolve_source(root).format == "voc"
    for split in split_names(resolve_source(root)):
        assert open_dataset(root, split, task="segmentation").info.class_names == tuple(f"class_{v}" for v in range(4))
    part = write_voc_maps(tmp_path / "part", np.where(own == 3, 15, own))
    data = open_dataset(part, "val", task="segmentation")
    assert data.info.class_names == ("background", *voc.VOC_CLASSES)
    assert int(data.target(0)["label_map"].max()) == 15
    assert "taken for those of VOC's classes" in caplog.text


NAMES = {
    "any case": ("Images", "Masks", "{}", "{}"),
    "short": ("img", "mask", "{}", "{}_mask"),
    "kaggle": ("imgs", "annots", "{}", "{}-mask"),
    "both words": ("images", "masks", "img_{}", "mask_{}"),
    "with a split": ("Training_Images", "Ground_Truth", "{}", "{}"),
    "dotted": ("images", "labels", "{}", "{}.label"),
    "another suffix": ("images", "masks", "{}", "{}_L"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_folders_and_files_of_other_names_are_found(tmp_path: Path, kind: str) -> None:
    images, masks, image, label = NAMES[kind]
    for number in (1, 2, 10, 11, 100):
        write(tmp_path / images / f"{image.format(number)}.png", np.full((48, 48, 3), number))
        write(tmp_path / masks / f"{label.format(number)}.png", disc(number))
    for task in (None, "segmentation"):
        assert resolve_source(tmp_path, task=task).format == "masks"
    data = open_dataset(tmp_path, "all")
    for index in range(5):
        number = int(data.read(index).image[0, 0, 0])
        name = data.info.class_names[int(data.target(index)["label_map"].max())]
        assert name == f"class_{number}"


def test_folders_that_are_not_found_are_named_with_the_options(tmp_path: Path) -> None:
    write(tmp_path / "photos" / "a.png", np.zeros((4, 4, 3)))
    write(tmp_path / "truth" / "a_x.png", np.eye(4))
    with pytest.raises(
        DataError, match=r"photos/ with 1 \.png; truth/ with 1 \.png.*image_dir, label_dir and label_suffix"
    ):
        open_dataset(tmp_path, "all", task="segmentation")
    (tmp_path / "saccade.yaml").write_text("format: masks\nimage_dir: photos\nlabel_dir: truth\n")
    assert open_dataset(tmp_path, "all").info.class_names == BACKGROUND
    write(tmp_path / "photos" / "b.png", np.zeros((4, 4, 3)))
    with pytest.raises(DataError, match=r"label map of the same name.*label_suffix"):
        open_dataset(tmp_path, "all")
