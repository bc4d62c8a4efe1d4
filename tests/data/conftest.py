"""Small data sets written by the tests themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

WriteImage = Callable[..., Path]
WriteVoc = Callable[..., Path]

_OBJECT = (
    "<object><name>{0}</name><difficult>{5}</difficult>"
    "<bndbox><xmin>{1}</xmin><ymin>{2}</ymin><xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>"
)


@pytest.fixture
def write_image() -> WriteImage:
    """Write a noise image of (height, width) and give its path."""

    def write(path: Path, size: tuple[int, int] = (40, 60), channels: int = 3) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = size if channels == 1 else (*size, channels)
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        assert cv2.imwrite(str(path), pixels)
        return path

    return write


@pytest.fixture
def write_voc(write_image: WriteImage) -> WriteVoc:
    """Write a VOC folder from ``{id: [(name, xmin, ymin, xmax, ymax[, difficult])]}``; images are 40 x 60."""

    def write(
        root: Path, objects: dict[str, Sequence[tuple[object, ...]]], splits: dict[str, list[str]] | None = None
    ) -> Path:
        (root / "Annotations").mkdir(parents=True)
        for identifier, rows in objects.items():
            write_image(root / "JPEGImages" / f"{identifier}.jpg")
            body = "".join(_OBJECT.format(*row, *([0] if len(row) == 5 else [])) for row in rows)
            text = f"<annotation><size><width>60</width><height>40</height></size>{body}</annotation>"
            (root / "Annotations" / f"{identifier}.xml").write_text(text)
        for split, ids in (splits or {}).items():
            file = root / "ImageSets" / "Main" / f"{split}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(ids) + "\n")
        return root

    return write
