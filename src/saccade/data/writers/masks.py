"""Images and label maps: ``images/<split>/<name>``, ``masks/<split>/<name>.png``, and ``saccade.yaml``.

A label map is a palette PNG whose indices are the labels, 255 = ignore; its colours are those in which Saccade draws
the classes. Objects with outlines are painted over each other, the small ones last.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport
from saccade.data.writers._images import drop_attributes, write_images, write_options
from saccade.results.palette import class_color
from saccade.structures.sample import IGNORE_LABEL

__all__ = ["TASKS", "write"]

TASKS = ("segmentation",)
_BINARY = 2  # classes of masks
_IGNORE_COLOR = (224, 224, 192)


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    """Write one split as images and label maps.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits, of the same classes.
        split: Name of the split.
        images: ``copy``, ``link`` or ``none``.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image or label map is missing or broken, or the classes are not those of the splits written
            before.
    """
    classes = dataset.info.class_names
    options: dict[str, Any] = {
        "image_dir": "images/{split}",
        "label_dir": "masks/{split}",
        "class_names": list(classes),
    }
    if len(classes) == _BINARY:  # else 255 might be taken for the second class where that occurs nowhere
        options["values"] = {0: 0, 1: 1}
    write_options(folder, {"format": "masks", **options}, report)
    names = write_images(dataset, folder / "images" / split, images, report, _names(dataset))
    palette = _palette(classes)
    for index, name in names.items():
        path = folder / "masks" / split / f"{PurePosixPath(name).stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_map(path, dataset.target(index)["label_map"], palette)
    outlines = dataset.table.outlines
    if outlines is not None:
        report.change("polygons", "painted into label maps", int(outlines.has_rings().sum()))
        report.change("masks", "painted into label maps", int(outlines.has_runs().sum()))
        report.drop("objects", "a label map does not separate objects of a class", len(outlines))
    drop_attributes(dataset, report)
    report.keep("label maps", len(names))


def _names(dataset: TableDataset) -> dict[int, str]:
    """File name of each image; it begins with the image's number where two stems would be equal."""
    names = [PurePosixPath(dataset.table.path(index)).name for index in range(len(dataset))]
    stems = Counter(PurePosixPath(name).stem.casefold() for name in names)
    return {
        index: name if stems[PurePosixPath(name).stem.casefold()] == 1 else f"{index}_{name}"
        for index, name in enumerate(names)
    }


def _palette(classes: tuple[str, ...]) -> list[int]:
    """Colours of all 256 indices."""
    colors = [class_color(name) for name in classes]
    colors += [(0, 0, 0)] * (IGNORE_LABEL - len(colors)) + [_IGNORE_COLOR]
    return [part for color in colors for part in color]


def _write_map(path: Path, label_map: NDArray[np.uint8], palette: list[int]) -> None:
    from PIL import Image

    image = Image.frombytes("P", label_map.shape[::-1], np.ascontiguousarray(label_map, np.uint8).tobytes())
    image.putpalette(palette)
    image.save(path)
