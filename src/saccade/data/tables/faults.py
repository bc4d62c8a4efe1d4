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
from saccade.data.tables.outline_faults import mask_faults, ring_faults, without_outlines
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError

__all__ = ["OUTSIDE_TOLERANCE", "BadLabels", "apply_policy", "box_faults", "outline_faults", "table_faults"]

BadLabels = Literal["error", "drop", "repair"]

# Pixels by which a box may pass the edge: rounded coordinates, and tools that count pixels from 1.
OUTSIDE_TOLERANCE = 1.0
_LISTED = 5
_NO_AREA = "zero area"
_OF = {"fewer than three points": "of "}
_MASKS = {"mask size": "mask of another size than its image", "mask runs": "mask whose runs do not fill it"}


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
        finite = np.isfinite(table.keypoints).all(axis=(1, 2))
        faults["not finite"] = faults.get("not finite", np.zeros_like(finite)) | ~finite
    return faults


def outline_faults(dataset: TableDataset) -> dict[str, NDArray[np.bool_]]:
    """Objects whose outline cannot be painted, (N,) by kind of fault; empty where outlines are no ground truth.

    A stray ring without area beside sound ones does no harm; an outline that has nothing else does.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> from saccade.data.tables.outlines import ObjectOutline
        >>> from saccade.structures.dataset import DatasetInfo
        >>> builder = TableBuilder(["cat"], outlines=True)
        >>> builder.add_image("a.png", size=(40, 60))
        >>> outline = ObjectOutline(rings=[[1, 1, 5, 1, 5, 3], [2, 2, 4, 4]])
        >>> builder.add_object("cat", (1, 1, 5, 3), outline=outline)
        >>> data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), Path(), builder.build(), masks=True)
        >>> outline_faults(data)["polygon of fewer than three points"]
        array([ True])
    """
    table = dataset.table
    if not dataset.fills_outlines or table.outlines is None:
        return {}
    sizes = table.sizes[table.image_index]
    rows = np.repeat(np.arange(len(table.outlines)), np.diff(table.outlines.ring_offsets))
    found = ring_faults(table.outlines, sizes)
    count = len(table.labels)
    faults = {
        f"polygon {_OF.get(kind, '')}{kind}": np.bincount(rows[bad], minlength=count) > 0
        for kind, bad in found.items()
        if kind != _NO_AREA
    }
    flat = np.bincount(rows[found[_NO_AREA]], minlength=count)
    faults["outline without area"] = (flat > 0) & (flat == np.diff(table.outlines.ring_offsets))
    masks = mask_faults(table.outlines, sizes)
    return faults | {_MASKS[kind]: bad for kind, bad in masks.items()}


def apply_policy(dataset: TableDataset, policy: BadLabels) -> TableDataset:
    """Refuse, drop or repair faulty labels; count them in ``repairs``, and list in ``left_out`` what is gone.

    Args:
        dataset: Data set as read; it is not changed.
        policy: ``error`` raises; ``drop`` leaves faulty objects out, and of an outline only its faulty polygons where
            others are sound; ``repair`` also swaps inverted corners, clips boxes to the image, and leaves out objects
            that then have no area, are not finite or have an unknown class.

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
    if policy == "error":
        faults |= outline_faults(dataset)
        _refuse(dataset, faults)
        return dataset
    repairs = Counter(f"left out {fault.code}" for fault in unread)
    left_out = [(fault.where, fault.message) for fault in unread]
    table = replace(dataset.table, faults=())
    if policy == "repair" and table.boxes is not None:
        table = _mend(table, faults)
        repairs["swapped inverted"] = int(faults["inverted"].sum())
        repairs["clipped outside"] = int(faults["outside"].sum())
        faults = table_faults(table)
    bad = np.zeros(len(table.labels), np.bool_)
    for kind, found in faults.items():
        repairs[f"dropped {kind}"] += int((found & ~bad).sum())
        left_out += _describe(dataset, {kind: found & ~bad})
        bad |= found
    if table.outlines is not None:
        table, emptied = _mend_outlines(dataset, table, bad, repairs, left_out)
        bad |= emptied
    if not left_out and not any(repairs.values()):
        return dataset
    if dataset.info.task == "classification":
        table = table.select_images(np.flatnonzero(~bad))  # one object an image: an image without its class is dropped
    else:
        table = table.select_objects(~bad)
    counts = dataset.repairs | {name: count for name, count in repairs.items() if count}
    return dataset.with_table(table, counts, left_out)


def _refuse(dataset: TableDataset, faults: dict[str, NDArray[np.bool_]]) -> None:
    """Raise if there are faults, with the first few of them."""
    unread = dataset.table.faults
    total = sum(int(found.sum()) for found in faults.values()) + len(unread)
    if not total:
        return
    described = (f"{where}: {problem}" for where, problem in _describe(dataset, faults))
    lines = list(itertools.islice(itertools.chain(map(str, unread), described), _LISTED))
    raise DataError(
        f"{dataset.info.name} ({dataset.info.split}): {total} faulty label{'s' if total > 1 else ''}:\n  "
        + "\n  ".join(lines + ([f"... and {total - _LISTED} more"] if total > _LISTED else []))
        + "\nCorrect them, set bad_labels to 'drop' (leave them out) or 'repair' (clip or swap what can be), or write "
        "a corrected copy: saccade check DATA --repair OUT."
    )


def _mend_outlines(
    dataset: TableDataset,
    table: AnnotationTable,
    bad: NDArray[np.bool_],
    repairs: Counter[str],
    left_out: list[tuple[str, str]],
) -> tuple[AnnotationTable, NDArray[np.bool_]]:
    """Leave faulty polygons and masks out; objects without any outline then, where outlines are the ground truth."""
    assert table.outlines is not None, "the caller checked for outlines"
    outlines, sizes = table.outlines, table.sizes[table.image_index]
    rows = np.repeat(np.arange(len(outlines)), np.diff(outlines.ring_offsets))
    rings, masks = np.zeros(len(rows), np.bool_), np.zeros(len(outlines), np.bool_)
    for kind, found in ring_faults(outlines, sizes).items():
        chosen = found & ~bad[rows]
        rings |= chosen
        repairs[f"left out polygons: {kind}"] += int(chosen.sum())
        for ring in np.flatnonzero(chosen).tolist():
            where = f"{_place(dataset, int(rows[ring]))}: polygon {ring - int(outlines.ring_offsets[rows[ring]])}"
            left_out.append((where, kind))
    for kind, found in mask_faults(outlines, sizes).items():
        chosen = found & ~bad
        masks |= chosen
        repairs[f"left out masks: {_MASKS[kind]}"] += int(chosen.sum())
        left_out += _describe(dataset, {_MASKS[kind]: chosen})
    emptied = np.zeros(len(outlines), np.bool_)
    if rings.any() or masks.any():
        outlines = without_outlines(outlines, rings, masks)
        lost = (table.outlines.has_rings() | table.outlines.has_runs()) & ~(outlines.has_rings() | outlines.has_runs())
        if dataset.fills_outlines:
            emptied = lost & ~bad
            repairs["dropped without outline"] += int(emptied.sum())
            left_out += [(_place(dataset, row), "no sound outline is left") for row in np.flatnonzero(emptied).tolist()]
    return replace(table, outlines=outlines), emptied


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


def _describe(dataset: TableDataset, faults: dict[str, NDArray[np.bool_]]) -> Iterator[tuple[str, str]]:
    """Place and problem of each fault."""
    table = dataset.table
    images = table.image_index
    for kind, found in faults.items():
        for row in np.flatnonzero(found).tolist():
            box = ""
            if table.boxes is not None and not kind.startswith(("polygon", "mask", "outline")):
                box = ", ".join(f"{value:g}" for value in table.boxes[row].tolist())
            height, width = table.sizes[int(images[row])].tolist()
            image = f" of the {width}x{height} image" if kind == "outside" else ""
            yield _place(dataset, row), f"{f'box {box}: ' if box else ''}{kind}{image}"


def _place(dataset: TableDataset, row: int) -> str:
    """File and position of an object."""
    table = dataset.table
    index = int(np.searchsorted(table.offsets, row, side="right")) - 1
    name = table.class_name(int(table.labels[row]), dataset.label_names)
    return f"{dataset.annotation_path(index)}: object {row - int(table.offsets[index])} ({name})"
