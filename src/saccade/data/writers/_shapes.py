"""Shared by writers for annotation tools: the shapes that an image is drawn with, whatever its ground truth is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import LossReport
from saccade.data.writers._objects import class_names_of, has_background, regions_of, rings_of
from saccade.errors import DataError

__all__ = ["DrawnShape", "class_of_image", "drawn_shapes"]


@dataclass(frozen=True)
class DrawnShape:
    """One object: its box, or its outline where it has one.

    Args:
        label: Name of its class.
        box_xyxy: Pixels.
        rings: Polygons (P, 2), xy; none of an object that has a box alone.
        holes: Which of them are holes.
        points: (K, 3) x, y, visibility of its keypoints; None without any.
        attributes: By name, ``score`` among them where a network drew it.
    """

    label: str
    box_xyxy: tuple[float, float, float, float]
    rings: list[NDArray[np.float64]] = field(default_factory=list)
    holes: list[bool] = field(default_factory=list)
    points: NDArray[np.float32] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


def class_of_image(dataset: TableDataset, index: int) -> tuple[str, dict[str, Any]]:
    """Class of an image of a classification data set, and the attributes that it has."""
    row = int(dataset.table.offsets[index])
    attributes = {} if dataset.table.attributes is None else dataset.table.attributes.get(row)
    return dataset.table.class_name(int(dataset.table.labels[row]), dataset.info.class_names), attributes


def drawn_shapes(dataset: TableDataset, index: int, report: LossReport) -> Iterator[DrawnShape]:
    r"""Shapes of an image, in the order of its objects; regions of a label map become polygons.

    Args:
        dataset: Detection, segmentation or keypoints.
        index: The image.
        report: Counts objects and crowds.

    Example:
        >>> from saccade.data.open import open_raw
        >>> from saccade.structures.files import write_text
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,1,2,30,20,cat\n")
        >>> [shape.label for shape in drawn_shapes(open_raw("pets", "train"), 0, LossReport("csv", "cvat"))]
        ['cat']
    """
    names = class_names_of(dataset)
    if dataset.info.task == "segmentation" and dataset.table.outlines is None:
        first = int(has_background(dataset))
        for value, rings, holes in regions_of(dataset.target(index)["label_map"], first, report):
            report.keep("objects")
            yield DrawnShape(names[value - first], _hull(rings), rings, holes)
        return
    table = dataset.table
    own = table.outlines is None and type(dataset).object_masks is not TableDataset.object_masks
    masks = dataset.object_masks(index) if own else None
    for position, row in enumerate(range(*table.objects(index).indices(len(table.labels)))):
        rings, holes = _rings(dataset, row, None if masks is None else masks[position])
        points = table.keypoints[row] if table.keypoints.shape[1] else None
        box = tuple(table.boxes[row].tolist()) if table.boxes is not None else _hull(rings or _seen(points))
        attributes = {} if table.attributes is None else table.attributes.get(row)
        if not np.isfinite(box).all() or not all(np.isfinite(ring).all() for ring in rings):
            report.drop("objects", "their numbers are not finite")
            continue
        report.keep("objects")
        report.drop("crowd marks", "the format has none; they are objects", int(table.iscrowd[row]))
        yield DrawnShape(table.class_name(int(table.labels[row]), names), box, rings, holes, points, attributes)


def _rings(
    dataset: TableDataset, row: int, mask: NDArray[np.uint8] | None
) -> tuple[list[NDArray[np.float64]], list[bool]]:
    outlines = dataset.table.outlines
    if outlines is not None and len(outlines.mask_runs(row)):
        height, width = outlines.run_sizes[row].tolist()
        try:
            mask = outlines.mask(row, height, width)
        except ValueError as error:
            index = int(dataset.table.image_index[row])
            raise DataError(
                f"{dataset.annotation_path(index)}: the mask of an object of {dataset.table.path(index)} is malformed "
                f"({error}). Correct it, or remove the object."
            ) from error
    if mask is not None:
        return rings_of(mask)
    if outlines is None:
        return [], []
    pairs = zip(outlines.rings(row), outlines.hole_flags(row), strict=True)
    drawn = [(ring, bool(hole)) for ring, hole in pairs if len(ring) >= 3]
    return [ring for ring, _ in drawn], [hole for _, hole in drawn]


def _seen(points: NDArray[np.float32] | None) -> list[NDArray[np.float64]]:
    """The labelled keypoints, as a ring around which a box is drawn."""
    if points is None or not (points[:, 2] > 0).any():
        return []
    return [points[points[:, 2] > 0, :2].astype(np.float64)]


def _hull(rings: list[NDArray[np.float64]]) -> tuple[float, float, float, float]:
    points = np.concatenate(rings) if rings else np.zeros((1, 2))
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2
