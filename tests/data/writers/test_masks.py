"""Label maps written and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from saccade.data.open import open_dataset
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import masks
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.results.palette import class_color

RNG = np.random.default_rng(0)


@pytest.fixture
def source(tmp_path: Path, write_image: Any) -> Path:
    root = tmp_path / "source"
    for split, number in (("train", 1), ("train", 2), ("val", 3)):
        write_image(root / split / f"{number}.jpg")
        values = RNG.choice(np.array([10, 20, 30, 255], np.uint8), (40, 60))
        (root / f"{split}annot").mkdir(exist_ok=True)
        assert cv2.imwrite(str(root / f"{split}annot" / f"{number}.png"), values)
    (root / "saccade.yaml").write_text(
        "format: masks\nclass_names: [sky, road]\nvalues: {10: 1, 20: 0}\nignore: [30]\n"
        "image_dir: '{split}'\nlabel_dir: '{split}annot'\n"
    )
    return root


def test_there_and_back(tmp_path: Path, source: Path) -> None:
    report = convert(source, tmp_path / "out", "masks")
    assert report.lossless
    assert report.kept == {"images": 3, "label maps": 3, "classes": 2}
    for split in ("train", "val"):
        ours, theirs = open_dataset(tmp_path / "out", split), open_dataset(source, split)
        assert ours.info.class_names == ("sky", "road")
        assert len(ours) == len(theirs)
        for index in range(len(ours)):
            a, b = ours.read(index), theirs.read(index)
            assert np.array_equal(a.image, b.image)
            assert np.array_equal(a.target["label_map"], b.target["label_map"])


def test_label_maps_show_the_colours_of_the_classes(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "out", "masks", splits="train")
    image = Image.open(tmp_path / "out/masks/train/1.png")
    indices, colors = np.array(image), np.array(image.convert("RGB"))
    assert image.mode == "P"
    assert (colors[indices == 1] == class_color("road")).all()
    assert set(np.unique(indices)) == {0, 1, 255}


def test_equal_stems_stay_apart(tmp_path: Path, write_image: Any) -> None:
    root = tmp_path / "source"
    for number, folder in enumerate(("a", "b")):
        write_image(root / "JPEGImages" / f"{folder}.jpg")
        (root / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / "SegmentationClass" / f"{folder}.png"), np.full((40, 60), number, np.uint8))
    data = open_dataset(root, "all")
    assert isinstance(data, TableDataset)
    (root / "JPEGImages" / "sub").mkdir()
    (root / "JPEGImages" / "b.jpg").rename(root / "JPEGImages" / "sub" / "A.png")
    paths = np.array([b"JPEGImages/a.jpg", b"JPEGImages/sub/A.png"])
    masks.write(
        data.with_table(replace(data.table, paths=paths)), tmp_path / "out", "all", "copy", LossReport("masks", "masks")
    )
    again = open_dataset(tmp_path / "out", "all")
    assert [int(again.target(index)["label_map"][0, 0]) for index in range(2)] == [0, 1]
    assert sorted(file.name for file in (tmp_path / "out/masks/all").iterdir()) == ["0_a.png", "1_A.png"]


@pytest.mark.data("tiny_coco")
def test_objects_of_coco_are_painted(tmp_path: Path, data_root: Path) -> None:
    report = convert(data_root / "tiny_coco", tmp_path / "out", "masks", splits="val", task="segmentation")
    source = open_dataset(data_root / "tiny_coco", "val", task="segmentation", bad_labels="drop")
    again = open_dataset(tmp_path / "out", "val")
    assert again.info.class_names == source.info.class_names
    indices = {Path(again.path(index)).name: index for index in range(len(again))}
    for index in range(0, len(source), 7):
        ours = again.target(indices[Path(source.path(index)).name])
        assert np.array_equal(ours["label_map"], source.target(index)["label_map"])
    assert report.changed["polygons", "painted into label maps"] > 0
    assert report.dropped["objects", "a label map does not separate objects of a class"] == len(
        source.table.labels  # type: ignore[attr-defined]
    )
