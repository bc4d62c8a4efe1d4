"""Label maps as people have them: each fault is handled, or named with the file and what to do; nothing becomes NaN."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.data import open_dataset
from saccade.data.readers import masks
from saccade.errors import DataError

RED, GREEN = (200, 0, 0), (0, 200, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One grey photograph without a label map."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.full((30, 41, 3), 90, np.uint8)).save(tmp_path / "images" / "a.png")
    return tmp_path


def save_map(folder: Path, values: np.ndarray, palette: bool = False) -> None:
    image = Image.fromarray(values)
    if palette:
        image.putpalette([*RED, *GREEN, 9, 9, 9])
    image.save(folder / "masks" / "a.png")


@pytest.mark.data("human_segmentation")
def test_masks_of_another_size_are_named_and_never_used(data_root: Path) -> None:
    root = data_root / "human_segmentation" / "mask_size_differs"
    data = open_dataset(root, "all")
    assert len(data) == 20
    for index in range(0, 20, 4):
        with pytest.raises(DataError, match=r"\d+\.png: the map is \d+x\d+, its image \d+x\d+\. Save both in"):
            data.read(index)
    config = saccade.recipe(model="unet", data=root)
    config.data.workers = 0
    with pytest.raises(DataError, match="the map is"):
        saccade.train(config)


def test_a_palette_image_is_its_indices_unless_colours_are_asked_for(folder: Path) -> None:
    indices = np.zeros((30, 41), np.uint8)
    indices[:10] = 1
    save_map(folder, indices, palette=True)
    by_index = masks.read(folder, "all", class_names=["sky", "road"])
    assert np.array_equal(by_index.read(0).target["label_map"], indices)
    by_color = masks.read(folder, "all", palette={"#c80000": "road", "#00c800": "sky"}, class_names=["sky", "road"])
    assert np.array_equal(by_color.read(0).target["label_map"], 1 - indices)


def test_colours_without_a_table_and_outside_it_are_named(folder: Path) -> None:
    colors = np.full((30, 41, 3), RED, np.uint8)
    colors[:2] = GREEN
    save_map(folder, colors)
    with pytest.raises(DataError, match=r"a\.png: the label map holds colours.*'palette'"):
        masks.read(folder, "all", class_names=["sky", "road"]).read(0)
    with pytest.raises(DataError, match=r"a\.png: .* no colour #00c800 \(82 pixels\)\. Add it to 'palette'"):
        masks.read(folder, "all", palette={"#c80000": "road"}).read(0)
    ignored = masks.read(folder, "all", palette={"#c80000": "road", "#00c800": 255}).read(0)
    assert np.bincount(ignored.target["label_map"].ravel())[[0, 255]].tolist() == [28 * 41, 2 * 41]


def test_labels_beyond_the_classes_are_named(folder: Path) -> None:
    values = np.zeros((30, 41), np.uint8)
    values[3, 3:6] = 7
    save_map(folder, values)
    with pytest.raises(DataError, match=r"a\.png: pixel value 7 is none of 0-2\. Add it to 'values' or 'ignore'"):
        masks.read(folder, "all", class_names=["sky", "road", "car"]).read(0)


def test_images_of_any_kind_become_what_the_network_takes(folder: Path) -> None:
    grey = np.arange(30 * 41, dtype=np.uint16).reshape(30, 41)
    kinds = {
        "grey": Image.fromarray((grey % 256).astype(np.uint8)),
        "sixteen": Image.fromarray(grey * 50),
        "alpha": Image.fromarray(np.stack([grey % 256] * 4, axis=2).astype(np.uint8)),
        "palette": Image.fromarray((grey % 3).astype(np.uint8)).convert("P"),
    }
    save_map(folder, np.zeros((30, 41), np.uint8))
    data = masks.read(folder, "all", class_names=["sky", "road", "car"])
    model = saccade.create_model("unet", num_classes=3, base_channels=4)
    for kind, image in kinds.items():
        image.save(folder / "images" / "a.png")
        sample = data.read(0)
        assert (sample.image.shape, sample.image.dtype) == ((30, 41, 3), np.uint8), kind
        (result,) = saccade.predict(model, folder / "images" / "a.png")
        assert result.label_map.shape == (30, 41), kind


@pytest.mark.parametrize("classes", [2, 3])
def test_a_run_on_difficult_images_has_no_nan(tmp_path: Path, classes: int) -> None:
    """Odd sizes, one grey and one image of 16 bits, one all ignored, and a class that occurs nowhere."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        for number, (height, width) in enumerate([(33, 47), (50, 31), (41, 41), (37, 60)]):
            image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            labels = np.zeros((height, width), np.uint8)
            labels[: height // 2, : width // 2] = 1
            labels[-2:] = 255
            if number == 1:
                image, labels = image[..., 0], np.full_like(labels, 255)
            if number == 2:
                image = image[..., 0].astype(np.uint16) * 257
            Image.fromarray(image).save(tmp_path / "images" / split / f"{number}.png")
            Image.fromarray(labels).save(tmp_path / "masks" / split / f"{number}.png")
    names = ["background", "cell", "never"][:classes]
    (tmp_path / "class_names.txt").write_text("\n".join(names))
    config = saccade.recipe(model="unet", data=tmp_path)
    config.model_args = {"base_channels": 4, **({"num_classes": 1} if classes == 2 else {})}
    config.out, config.name, config.epochs, config.data.size = str(tmp_path / "runs"), "run", 1, (48, 48)
    config.data.workers, config.data.batch_size = 0, 1  # one batch is the ignored image alone
    result = saccade.train(config)
    never = {name for name, value in result.metrics.items() if math.isnan(value)}
    assert never == set()
    with (tmp_path / "runs" / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(math.isfinite(float(value)) for row in rows for value in row.values() if value)
    page = (tmp_path / "runs" / "run" / "report.html").read_text(encoding="utf-8")
    assert "cell" in page
    assert not any(cell in page for cell in (">nan<", ">NaN<", ">inf<"))
