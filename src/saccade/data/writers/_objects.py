"""Shared by writers of boxes and polygons: names, sizes, and outlines of masks and label maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import upright_size
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import LossReport
from saccade.errors import DataError
from saccade.ops.mask_rings import rings_of
from saccade.structures.sample import IGNORE_LABEL

__all__ = [
    "class_names_of",
    "drop_points",
    "drop_skeleton",
    "has_background",
    "image_size",
    "regions_of",
    "rings_of",
    "unique_stems",
]


def unique_stems(names: Sequence[str], report: LossReport) -> list[str]:
    """Rename images of equal stem, whose annotation files would be the same.

    Args:
        names: File names without folders.
        report: Counts the renamed.

    Returns:
        File names of different stems, in the same order.

    Example:
        >>> unique_stems(["a.jpg", "a.png"], LossReport("csv", "yolo"))
        ['a.jpg', 'a_png.png']
    """
    taken: set[str] = set()
    found = []
    for name in names:
        path = PurePosixPath(name)
        stem = path.stem
        while stem.lower() in taken:
            stem += f"_{path.suffix[1:] or '2'}"
        report.change("images", "renamed, because another has the same stem", int(stem != path.stem))
        taken.add(stem.lower())
        found.append(stem + path.suffix)
    return found


def class_names_of(dataset: TableDataset) -> tuple[str, ...]:
    """Class names of the objects of an annotation table, by label; without the background of label maps."""
    info = dataset.info
    if info.task == "keypoints":  # class_names are those of the points
        last = int(dataset.table.labels.max(initial=0))
        return info.object_names or (tuple(f"class_{label}" for label in range(last + 1)) if last else ("object",))
    return info.class_names[1:] if info.task == "segmentation" and has_background(dataset) else info.class_names


def drop_points(dataset: TableDataset, report: LossReport) -> None:
    """Count labelled keypoints and their skeleton as dropped, for formats without points."""
    points = dataset.table.keypoints
    report.drop("keypoints", "the format has none", int((points[..., 2] > 0).sum()) if points.shape[1] else 0)
    drop_skeleton(dataset, report)


def drop_skeleton(dataset: TableDataset, report: LossReport) -> None:
    """Count the limbs between keypoints as dropped, once for all splits, for formats that have points alone."""
    limbs = len(dataset.info.points.skeleton)
    report.dropped |= Counter({("limbs of the skeleton", "the format has none"): limbs} if limbs else {})


def has_background(dataset: TableDataset) -> bool:
    """Whether value 0 of label maps is background; in maps that are painted from objects it always is."""
    return dataset.table.outlines is not None or dataset.info.class_names[:1] == ("background",)


def image_size(dataset: TableDataset, index: int) -> tuple[int, int]:
    """Size (height, width) of an image, EXIF orientation applied; as annotated where the image is missing.

    Raises:
        DataError: If neither is known.
    """
    height, width = dataset.table.sizes[index].tolist()
    path = Path(dataset.path(index))
    if path.is_file() or not (height and width):
        try:
            return upright_size(path) if path.is_file() else dataset.read(index).size
        except DataError:
            if not (height and width):
                raise
    return height, width


def regions_of(
    label_map: NDArray[np.uint8], first: int, report: LossReport
) -> Iterator[tuple[int, list[NDArray[np.float64]], list[bool]]]:
    """Trace the outline of each connected region of a label map.

    Args:
        label_map: (H, W) uint8, 255 = ignore.
        first: Smallest value that is a class.
        report: Counts the label map, and the ignored pixels as dropped.

    Yields:
        Value, rings and hole flags of a region.

    Example:
        >>> label_map = np.array([[0, 2, 2, 0], [0, 0, 0, 1]], np.uint8)
        >>> report = LossReport("masks", "yolo")
        >>> [(value, len(rings)) for value, rings, holes in regions_of(label_map, 1, report)]
        [(1, 1), (2, 1)]
    """
    report.change("label maps", "written as polygons around each region")
    report.drop("pixels to ignore", "polygons have no such regions", int((label_map == IGNORE_LABEL).sum()))
    for value in np.unique(label_map[(label_map >= first) & (label_map != IGNORE_LABEL)]).tolist():
        count, regions, extents, _ = cv2.connectedComponentsWithStats((label_map == value).astype(np.uint8))
        for region in range(1, count):
            left, top, width, height, _ = extents[region].tolist()
            rings, holes = rings_of(regions[top : top + height, left : left + width] == region)
            yield value, [np.add(ring, (left, top)) for ring in rings], holes
