"""Label faults that break or mislead training, and the policies for them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError

__all__ = ["OUTSIDE_TOLERANCE", "BadLabels", "apply_policy", "box_faults", "table_faults"]

BadLabels = Literal["error", "drop", "repair"]

# Pixels by which a box may pass the edge: rounded coordinates, and tools that count pixels from 1.
OUTSIDE_TOLERANCE = 1.0
_LISTED = 5


def box_faults(boxes_xyxy: NDArray[np.floating[Any]], sizes: NDArray[np.int32]) -> dict[str, NDArray[np.bool_]]:
    """Boxes that are not finite, inverted, without area or outside of their image.

    Args:
        boxes_xyxy: (N, 4), pixels.
        sizes: (height, width) of the image of each box, (N, 2), or of all, (2,); 0 where unknown.

    Returns:
        By kind of fault, (N,) bool. A box has one kind at most, the first that applies.

    Example:
        >>> boxes = np.array([[10, 5, 30, 35], [30, 5, 10, 35], [50, 5, 90, 35]], float)
        >>> {kind: found.tolist() for kind, found in box_faults(boxes, np.array([40, 60])).items() if found.any()}
        {'inverted': [False, True, False], 'outside': [False, False, True]}
    """
    x1, y1, x2, y2 = boxes_xyxy.T
    height, width = np.broadcast_to(sizes, (len(boxes_xyxy), 2)).T
    tests = {
        "not finite": ~np.isfinite(boxes_xyxy).all(axis=1),
        "inverted": (x2 < x1) | (y2 < y1),
        "zero area": (x2 == x1) | (y2 == y1),
        "outside": (np.minimum(x1, y1) < -OUTSIDE_TOLERANCE)
        | ((x2 > width + OUTSIDE_TOLERANCE) & (width > 0))
        | ((y2 > height + OUTSIDE_TOLERANCE) & (height > 0)),
    }
    free = np.ones(len(boxes_xyxy), np.bool_)
    faults: dict[str, NDArray[np.bool_]] = {}
    for kind, found in tests.items():
        faults[kind] = found & free
        free &= ~found
    return faults


def table_faults(table: AnnotationTable) -> dict[str, NDArray[np.bool_]]:
    """Faults of every object: those of :func:`box_faults`, unknown classes, and keypoints that are not finite.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> builder = TableBuilder(["cat"])
        >>> builder.add_image("a.jpg")
        >>> builder.add_object("dog", (10, 5, 30, 35))
        >>> table_faults(builder.build())["unknown class"]
        array([ True])
    """
    faults = {"unknown class": table.labels < 0}
    if table.boxes is not None:
        faults |= box_faults(table.boxes, table.sizes[table.image_index])
    if table.keypoints.shape[1]:
        finite = np.isfinite(table.keypoints).reshape(len(table.labels), -1).all(axis=1)
        faults["not finite"] = faults.get("not finite", np.zeros_like(finite)) | ~finite
    return faults


def apply_policy(dataset: TableDataset, policy: BadLabels) -> TableDataset:
    """Refuse, drop or repair faulty labels, and count in ``repairs`` what was changed.

    Args:
        dataset: Data set as read; it is not changed.
        policy: ``error`` raises; ``drop`` leaves faulty objects out; ``repair`` swaps inverted corners, clips boxes to
            the image, and leaves out objects that then have no area, are not finite or have an unknown class.

    Raises:
        DataError: If the policy is ``error`` and there are faults; the first few are listed.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> from saccade.structures.dataset import DatasetInfo
        >>> builder = TableBuilder(["cat"])
        >>> builder.add_image("a.png", size=(40, 60))
        >>> builder.add_object("cat", (30, 5, 10, 35))
        >>> data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), Path(), builder.build())
        >>> mended = apply_policy(data, "repair")
        >>> mended.target(0)["boxes"], mended.repairs
        (array([[10.,  5., 30., 35.]]), {'swapped inverted': 1})
    """
    faults, unread = table_faults(dataset.table), dataset.table.faults
    total = sum(int(found.sum()) for found in faults.values()) + len(unread)
    if not total:
        return dataset
    if policy == "error":
        lines = list(itertools.islice(itertools.chain(map(str, unread), _describe(dataset, faults)), _LISTED))
        raise DataError(
            f"{dataset.info.name} ({dataset.info.split}): {total} faulty label{'s' if total > 1 else ''}:\n  "
            + "\n  ".join(lines + ([f"... and {total - _LISTED} more"] if total > _LISTED else []))
            + "\nCorrect them, or set bad_labels to 'drop' (leave them out) or 'repair' (clip or swap what can be)."
        )
    repairs = {f"left out {code}": count for code, count in Counter(fault.code for fault in unread).items()}
    table = replace(dataset.table, faults=())
    if policy == "repair" and table.boxes is not None:
        table = _mend(table, faults)
        repairs["swapped inverted"] = int(faults["inverted"].sum())
        repairs["clipped outside"] = int(faults["outside"].sum())
        faults = table_faults(table)
    bad = np.zeros(len(table.labels), np.bool_)
    for kind, found in faults.items():
        repairs[f"dropped {kind}"] = int((found & ~bad).sum())
        bad |= found
    if dataset.info.task == "classification":
        table = table.select_images(np.flatnonzero(~bad))  # one object an image: an image without its class is dropped
    else:
        table = table.select_objects(~bad)
    return dataset.with_table(table, dataset.repairs | {name: count for name, count in repairs.items() if count})


def _mend(table: AnnotationTable, faults: dict[str, NDArray[np.bool_]]) -> AnnotationTable:
    """Sort the corners of inverted boxes and clip all faulty ones to their image; areas follow."""
    assert table.boxes is not None
    rows = np.flatnonzero(faults["inverted"] | faults["outside"])
    chosen = table.boxes[rows]
    low, high = np.minimum(chosen[:, :2], chosen[:, 2:]), np.maximum(chosen[:, :2], chosen[:, 2:])
    ends = table.sizes[table.image_index[rows]][:, ::-1].astype(np.float32)
    ends[ends == 0] = np.inf
    mended = np.concatenate([np.clip(low, 0, ends), np.clip(high, 0, ends)], axis=1)
    areas = (mended[:, 2] - mended[:, 0]) * (mended[:, 3] - mended[:, 1])
    boxes, area = table.boxes.copy(), table.area.copy()
    boxes[rows] = mended
    area[rows] = np.where(faults["inverted"][rows], areas, np.minimum(areas, area[rows]))
    return replace(table, boxes=boxes, area=area)


def _describe(dataset: TableDataset, faults: dict[str, NDArray[np.bool_]]) -> Iterator[str]:
    """One line a fault: file, field, problem."""
    table = dataset.table
    images = table.image_index
    for kind, found in faults.items():
        for row in np.flatnonzero(found).tolist():
            index = int(images[row])
            name = table.class_name(int(table.labels[row]), dataset.info.class_names)
            box = "" if table.boxes is None else " " + ", ".join(f"{value:g}" for value in table.boxes[row].tolist())
            where = f"object {row - int(table.offsets[index])} ({name})"
            height, width = table.sizes[index].tolist()
            image = f" of the {width}x{height} image" if kind == "outside" else ""
            yield f"{dataset.annotation_path(index)}: {where}: box{box}: {kind}{image}"
