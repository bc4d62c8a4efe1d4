"""Faults of boxes, classes, outlines and keypoints, found on whole arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from saccade.data.check.report import Issue, Severity
from saccade.data.check.split_view import LocatedIssue, SplitView
from saccade.data.tables.faults import OUTSIDE_TOLERANCE, box_faults

__all__ = ["check_objects", "repeated_boxes"]

_REMEDIES = {
    "not finite": "Write finite numbers, or remove the object.",
    "inverted": "Swap the corners, or open with bad_labels=repair.",
    "zero area": "Draw the box again, or remove it (bad_labels=drop).",
    "outside": "Clip the box to the image, or open with bad_labels=repair.",
}
_FAR = 10  # sides of the image beyond which a polygon is not filled (outlines.mask_of_rings)


def check_objects(part: SplitView) -> Iterator[LocatedIssue]:
    """Every fault of the objects of a split."""
    yield from _check_classes(part)
    if part.boxes is not None:
        yield from _check_boxes(part, part.boxes)
    if part.keypoints.shape[1]:
        yield from _check_keypoints(part)
    if part.outlines is not None:
        yield from _check_rings(part)
        yield from _check_masks(part)


class _Writer:
    """Makes the issue of an object."""

    def __init__(self, part: SplitView) -> None:
        self.part = part
        self.position = part.position

    def place(self, row: int) -> str:
        """``object 3 (cat)``."""
        return f"object {self.position[row]} ({self.part.class_name(int(self.part.labels[row]))})"

    def issue(
        self, row: int, kind: str, problem: str, remedy: str, severity: Severity, field: str = ""
    ) -> LocatedIssue:
        part, index = self.part, int(self.part.image[row])
        box: tuple[float, float, float, float] | None = None
        if part.boxes is not None and np.isfinite(part.boxes[row]).all():
            x1, y1, x2, y2 = part.boxes[row].tolist()
            box = (x1, y1, x2, y2)
        file, image = part.file(index), part.dataset.path(index)
        found = Issue(file, field or self.place(row), problem, remedy, severity, kind, part.split, image, box)
        return LocatedIssue(index, int(self.position[row]), found)


def _check_classes(part: SplitView) -> Iterator[LocatedIssue]:
    unknown = part.labels < 0
    if part.dataset.info.task != "keypoints":  # whose class names are those of the points
        unknown |= part.labels >= len(part.known_classes)
    write = _Writer(part)
    remedy = "Add the class to the class list, or correct the name."
    for row in np.flatnonzero(unknown).tolist():
        problem = f"unknown class '{part.class_name(int(part.labels[row]))}'"
        yield write.issue(row, "unknown-class", problem, remedy, "error", f"object {write.position[row]}")


def _check_boxes(part: SplitView, boxes: NDArray[np.float64]) -> Iterator[LocatedIssue]:
    write = _Writer(part)
    # Training goes by the annotated sizes; what leaves the real image alone is learnt from, and wrongly.
    annotated, real = part.annotated[part.image], part.sizes[part.image]
    refused = box_faults(boxes, annotated)
    faults = dict(refused)
    faults["outside"] = faults["outside"] | box_faults(boxes, real)["outside"]
    for name, found in faults.items():
        for row in np.flatnonzero(found).tolist():
            numbers = ", ".join(f"{value:g}" for value in boxes[row].tolist())
            problem = f"box {numbers}: {name}"
            severity: Severity = "error" if refused[name][row] else "warning"
            if name == "outside":
                height, width = (annotated if refused[name][row] else real)[row].tolist()
                problem += f" of the {width}x{height} image" if width and height else ""
            yield write.issue(row, name.replace(" ", "-"), problem, _REMEDIES[name], severity)
    bad = np.logical_or.reduce(list(faults.values()))
    sound = np.flatnonzero(~bad)
    sides = boxes[sound, 2:] - boxes[sound, :2]
    for place in np.flatnonzero((sides < 1).any(axis=1)).tolist():
        row, (width, height) = int(sound[place]), sides[place].tolist()
        remedy = "Look whether it is meant; remove it if not."
        yield write.issue(row, "tiny", f"box of {width:.2f}x{height:.2f} pixels is tiny", remedy, "warning")
    first_of = repeated_boxes(part.image, part.labels, boxes)
    for row in np.flatnonzero(first_of >= 0).tolist():
        problem = f"box and class repeat object {write.position[first_of[row]]}"
        yield write.issue(row, "repeated-box", problem, "Remove one of the two.", "warning")


def repeated_boxes(
    image: NDArray[np.int64], labels: NDArray[np.int64], boxes: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Which boxes were there before.

    Args:
        image: Image of each box, (N,).
        labels: Class of each, (N,).
        boxes: (N, 4).

    Returns:
        The first box of the same image, class and coordinates, (N,) int64; -1 where there is none before it. Numbers
        that are not finite equal nothing.
    """
    first = np.full(len(labels), -1, np.int64)
    if not len(labels):
        return first
    keys = np.column_stack([image, labels, boxes])
    order = np.lexsort((np.arange(len(keys)), *keys.T[::-1]))
    ordered = keys[order]
    same = np.concatenate([[False], (ordered[1:] == ordered[:-1]).all(axis=1)])
    # Rows of a group stand together, in their old order; each points to the row that opens its group.
    opens = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys))))
    first[order[same]] = order[opens[same]]
    return first


def _check_keypoints(part: SplitView) -> Iterator[LocatedIssue]:
    write = _Writer(part)
    finite = np.logical_and.reduce(np.isfinite(part.keypoints), axis=(1, 2))
    for row in np.flatnonzero(~finite).tolist():
        field = f"object {write.position[row]}, keypoints"
        yield write.issue(row, "not-finite", "a coordinate is not finite", _REMEDIES["not finite"], "error", field)
    sizes = part.sizes[part.image]
    x, y, visibility = np.moveaxis(part.keypoints, -1, 0)
    height, width = sizes[:, :1], sizes[:, 1:]
    past = ((x > width) & (width > 0)) | ((y > height) & (height > 0))
    outside: NDArray[np.bool_] = (visibility > 0) & ((x < 0) | (y < 0) | past)
    names = part.dataset.info.class_names
    remedy = "Correct it, or mark it as not labelled."
    for row, point in np.argwhere(outside & finite[:, None]).tolist():
        size = f"{sizes[row, 1]}x{sizes[row, 0]} " if sizes[row].all() else ""
        problem = f"point {x[row, point]:g}, {y[row, point]:g} is outside of the {size}image"
        name = names[point] if point < len(names) else f"point {point}"
        field = f"object {write.position[row]}, {name}"
        yield write.issue(row, "keypoint-outside", problem, remedy, "warning", field)


def _draws_outlines(part: SplitView) -> Severity:
    """What a malformed outline costs: an error where training fills outlines, else a warning."""
    fills = part.dataset.info.task == "segmentation" or getattr(part.dataset, "masks", False)
    return "error" if fills else "warning"


def _check_rings(part: SplitView) -> Iterator[LocatedIssue]:
    outlines = part.outlines
    assert outlines is not None, "asked for outlines"
    write, severity = _Writer(part), _draws_outlines(part)
    points = np.diff(outlines.point_offsets)
    rows = np.repeat(np.arange(len(outlines)), np.diff(outlines.ring_offsets))

    def field_of(ring: int) -> str:
        return f"{write.place(int(rows[ring]))}, polygon {ring - int(outlines.ring_offsets[rows[ring]])}"

    for ring in np.flatnonzero(points < 3).tolist():
        problem, remedy = f"a polygon of {points[ring]} points has no area", "Draw it again, or remove it."
        yield write.issue(int(rows[ring]), "ring-points", problem, remedy, severity, field_of(ring))
    # Rings without points have no corner to look at; the others lie one behind the other.
    full = np.flatnonzero(points > 0)
    if not len(full):
        return
    starts = outlines.point_offsets[:-1][full]
    low = np.minimum.reduceat(outlines.points_xy, starts, axis=0)
    high = np.maximum.reduceat(outlines.points_xy, starts, axis=0)
    finite = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    for place in np.flatnonzero(~finite).tolist():
        remedy = _REMEDIES["not finite"]
        row, field = int(rows[full[place]]), field_of(int(full[place]))
        yield write.issue(row, "not-finite", "a coordinate is not finite", remedy, severity, field)
    sizes = part.sizes[part.image[rows[full]]]
    known = sizes.all(axis=1) & finite
    limit = _FAR * sizes.max(axis=1, initial=0)
    far = known & (np.maximum(np.abs(low).max(axis=1), np.abs(high).max(axis=1)) > limit)
    over = (low < -OUTSIDE_TOLERANCE).any(axis=1) | (high > sizes[:, ::-1] + OUTSIDE_TOLERANCE).any(axis=1)
    for place in np.flatnonzero(known & over).tolist():
        height, width = sizes[place].tolist()
        (x1, y1), (x2, y2) = low[place].tolist(), high[place].tolist()
        problem = f"the polygon reaches from {x1:g}, {y1:g} to {x2:g}, {y2:g}, the image is {width}x{height}"
        row, field = int(rows[full[place]]), field_of(int(full[place]))
        if far[place]:
            yield write.issue(row, "ring-far", problem, "Correct the points.", severity, field)
        else:
            yield write.issue(row, "ring-outside", problem, "Clip the polygon to the image.", "warning", field)


def _check_masks(part: SplitView) -> Iterator[LocatedIssue]:
    outlines = part.outlines
    assert outlines is not None, "asked for outlines"
    rows = np.flatnonzero(outlines.has_runs())
    if not len(rows):
        return
    write, severity = _Writer(part), _draws_outlines(part)
    made_for = outlines.run_sizes[rows]
    # A mask is drawn on a canvas of the annotated size, where there is one.
    annotated = part.annotated[part.image[rows]]
    images = np.where(annotated > 0, annotated, part.real[part.image[rows]])
    other = (made_for != images).any(axis=1) & images.all(axis=1)
    totals = np.add.reduceat(outlines.runs.astype(np.int64), outlines.run_offsets[:-1][rows])
    short = ~other & (totals != made_for.astype(np.int64).prod(axis=1))
    for place in np.flatnonzero(other).tolist():
        (height, width), (rows_of, columns_of) = images[place].tolist(), made_for[place].tolist()
        problem = f"the mask is {columns_of}x{rows_of}, its image {width}x{height}"
        yield write.issue(int(rows[place]), "mask-size", problem, "Draw the mask in the image's size.", severity)
    for place in np.flatnonzero(short).tolist():
        height, width = made_for[place].tolist()
        problem = f"the mask's runs sum to {totals[place]} pixels, not to {width}x{height}"
        yield write.issue(int(rows[place]), "mask-runs", problem, "Encode the mask again.", severity)
