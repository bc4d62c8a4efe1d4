"""Faults of boxes, classes, outlines and keypoints, found on whole arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from saccade.data.check.report import Issue, Severity
from saccade.data.check.split_view import LocatedIssue, SplitView
from saccade.data.tables.faults import OUTSIDE_TOLERANCE, box_faults
from saccade.data.tables.outline_faults import mask_faults, ring_faults
from saccade.data.tables.table_dataset import TableDataset

__all__ = ["check_objects", "repeated_boxes"]

_REPAIR = "write a corrected copy (saccade check DATA --repair OUT)"
_REMEDIES = {
    "not finite": "Write finite numbers, or remove the object.",
    "inverted": f"Swap the corners, or {_REPAIR}.",
    "zero area": f"Draw the box again or remove it, or {_REPAIR}.",
    "outside": f"Clip the box to the image, or {_REPAIR}.",
}
_RINGS = {  # code and remedy by the kind of fault
    "fewer than three points": ("outlines.points", f"Draw it again or remove it, or {_REPAIR}."),
    "not finite": ("outlines.not-finite", f"Write finite numbers, or {_REPAIR}."),
    "far from the image": ("outlines.far", f"Correct the points, or {_REPAIR}."),
    "zero area": ("outlines.zero-area", f"Draw it again or remove it, or {_REPAIR}."),
    "outside": ("outlines.outside", "Clip the polygon to the image."),
}


def check_objects(view: SplitView) -> Iterator[LocatedIssue]:
    """Find every fault of the objects of a split, on whole arrays.

    Args:
        view: The split.
    """
    yield from _check_classes(view)
    if view.boxes is not None:
        yield from _check_boxes(view, view.boxes)
    if view.keypoints.shape[1]:
        yield from _check_keypoints(view)
    if view.outlines is not None:
        yield from _check_rings(view)
        yield from _check_masks(view)


class _IssueBuilder:
    """Builds the issues of objects, with file, position and box filled in."""

    def __init__(self, view: SplitView) -> None:
        self.view = view
        self.position = view.position

    def name(self, row: int) -> str:
        """Name of an object for the report, such as ``object 3 (cat)``."""
        return f"object {self.position[row]} ({self.view.class_name(int(self.view.labels[row]))})"

    def issue(
        self, row: int, code: str, problem: str, remedy: str, severity: Severity, field: str = ""
    ) -> LocatedIssue:
        """Issue of the object in ``row``; ``field`` is its name if not given."""
        view, index = self.view, int(self.view.image[row])
        box: tuple[float, float, float, float] | None = None
        if view.boxes is not None and np.isfinite(view.boxes[row]).all():
            x1, y1, x2, y2 = view.boxes[row].tolist()
            box = (x1, y1, x2, y2)
        file, image = view.file(index), view.dataset.path(index)
        found = Issue(file, field or self.name(row), problem, remedy, severity, code, view.split, image, box)
        return LocatedIssue(index, int(self.position[row]), found)


def _check_classes(view: SplitView) -> Iterator[LocatedIssue]:
    unknown = view.labels < 0
    if view.dataset.info.task != "keypoints":  # whose class names are those of the points
        unknown |= view.labels >= len(view.known_classes)
    build = _IssueBuilder(view)
    remedy = "Add the class to the class list, or correct the name."
    for row in np.flatnonzero(unknown).tolist():
        problem = f"unknown class '{view.class_name(int(view.labels[row]))}'"
        yield build.issue(row, "labels.class", problem, remedy, "error", f"object {build.position[row]}")


def _check_boxes(view: SplitView, boxes: NDArray[np.float64]) -> Iterator[LocatedIssue]:
    build = _IssueBuilder(view)
    # Training checks boxes against annotated sizes; a box that leaves the real image alone is trained on, and wrong.
    annotated, real = view.annotated[view.image], view.sizes[view.image]
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
            yield build.issue(row, f"boxes.{name.replace(' ', '-')}", problem, _REMEDIES[name], severity)
    bad = np.logical_or.reduce(list(faults.values()))
    sound = np.flatnonzero(~bad)
    sides = boxes[sound, 2:] - boxes[sound, :2]
    for number in np.flatnonzero((sides < 1).any(axis=1)).tolist():
        row, (width, height) = int(sound[number]), sides[number].tolist()
        remedy = "Check whether it is meant; remove it if not."
        yield build.issue(row, "boxes.tiny", f"box of {width:.2f}x{height:.2f} pixels is tiny", remedy, "warning")
    first_of = repeated_boxes(view.image, view.labels, boxes)
    for row in np.flatnonzero(first_of >= 0).tolist():
        problem = f"box and class repeat object {build.position[first_of[row]]}"
        yield build.issue(row, "boxes.repeated", problem, "Remove one of the two.", "warning")


def repeated_boxes(
    image: NDArray[np.int64], labels: NDArray[np.int64], boxes: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Find boxes that repeat an earlier one of the same image and class.

    Args:
        image: Image of each box, (N,).
        labels: Class of each, (N,).
        boxes: (N, 4).

    Returns:
        Index of the first box of the same image, class and coordinates, (N,) int64; -1 for that box itself and for
        all that are unique. Numbers that are not finite equal nothing.

    Example:
        >>> boxes = np.array([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]])
        >>> repeated_boxes(np.array([0, 0, 1]), np.array([2, 2, 2]), boxes)
        array([-1,  0, -1])
    """
    first = np.full(len(labels), -1, np.int64)
    if not len(labels):
        return first
    keys = np.column_stack([image, labels, boxes])
    order = np.lexsort((np.arange(len(keys)), *keys.T[::-1]))
    ordered = keys[order]
    same = np.concatenate([[False], (ordered[1:] == ordered[:-1]).all(axis=1)])
    # Equal rows are adjacent, in their old order; each points to the first of its group.
    first_of_group = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys))))
    first[order[same]] = order[first_of_group[same]]
    return first


def _check_keypoints(view: SplitView) -> Iterator[LocatedIssue]:
    build = _IssueBuilder(view)
    finite = np.logical_and.reduce(np.isfinite(view.keypoints), axis=(1, 2))
    for row in np.flatnonzero(~finite).tolist():
        field = f"object {build.position[row]}, keypoints"
        yield build.issue(
            row, "keypoints.not-finite", "a coordinate is not finite", _REMEDIES["not finite"], "error", field
        )
    sizes = view.sizes[view.image]
    x, y, visibility = np.moveaxis(view.keypoints, -1, 0)
    height, width = sizes[:, :1], sizes[:, 1:]
    past = ((x > width) & (width > 0)) | ((y > height) & (height > 0))
    outside: NDArray[np.bool_] = (visibility > 0) & ((x < 0) | (y < 0) | past)
    names = view.dataset.info.class_names
    remedy = "Correct it, or mark it as not labelled."
    for row, point in np.argwhere(outside & finite[:, None]).tolist():
        size = f"{sizes[row, 1]}x{sizes[row, 0]} " if sizes[row].all() else ""
        problem = f"point {x[row, point]:g}, {y[row, point]:g} is outside of the {size}image"
        name = names[point] if point < len(names) else f"point {point}"
        field = f"object {build.position[row]}, {name}"
        yield build.issue(row, "keypoints.outside", problem, remedy, "warning", field)


def _outline_severity(view: SplitView) -> Severity:
    """Severity of a malformed outline: an error where training fills outlines, else a warning."""
    dataset = view.dataset
    return "error" if isinstance(dataset, TableDataset) and dataset.fills_outlines else "warning"


def _check_rings(view: SplitView) -> Iterator[LocatedIssue]:
    outlines = view.outlines
    assert outlines is not None, "the caller checked for outlines"
    build, severity = _IssueBuilder(view), _outline_severity(view)
    points = np.diff(outlines.point_offsets)
    rows = np.repeat(np.arange(len(outlines)), np.diff(outlines.ring_offsets))
    sizes = view.sizes[view.image[rows]]
    low, high = _extents(view)
    faults = ring_faults(outlines, view.sizes[view.image])
    over = (low < -OUTSIDE_TOLERANCE).any(axis=1) | (high > sizes[:, ::-1] + OUTSIDE_TOLERANCE).any(axis=1)
    faults["outside"] = over & sizes.all(axis=1) & ~np.logical_or.reduce(list(faults.values()))
    # A stray ring without area beside sound ones changes nothing.
    flat = np.bincount(rows[faults["zero area"]], minlength=len(outlines))
    only_flat = flat == np.diff(outlines.ring_offsets)
    for kind, (code, remedy) in _RINGS.items():
        for ring in np.flatnonzero(faults[kind]).tolist():
            row = int(rows[ring])
            field = f"{build.name(row)}, polygon {ring - int(outlines.ring_offsets[row])}"
            (height, width), (x1, y1), (x2, y2) = sizes[ring].tolist(), low[ring].tolist(), high[ring].tolist()
            problem = {
                "fewer than three points": f"a polygon of {points[ring]} points has no area",
                "not finite": "a coordinate is not finite",
                "zero area": "all points lie on one line, so the polygon has no area",
            }.get(kind, f"the polygon reaches from {x1:g}, {y1:g} to {x2:g}, {y2:g}, the image is {width}x{height}")
            harmless = kind == "outside" or (kind == "zero area" and not only_flat[row])
            yield build.issue(row, code, problem, remedy, "warning" if harmless else severity, field)


def _extents(view: SplitView) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest x, y of every ring, each (R, 2); 0 of rings without points."""
    outlines = view.outlines
    assert outlines is not None, "the caller checked for outlines"
    points = np.diff(outlines.point_offsets)
    low, high = np.zeros((len(points), 2)), np.zeros((len(points), 2))
    full = np.flatnonzero(points > 0)
    if len(full):
        starts = outlines.point_offsets[:-1][full]
        low[full] = np.minimum.reduceat(outlines.points_xy, starts, axis=0)
        high[full] = np.maximum.reduceat(outlines.points_xy, starts, axis=0)
    return low, high


def _check_masks(view: SplitView) -> Iterator[LocatedIssue]:
    outlines = view.outlines
    assert outlines is not None, "the caller checked for outlines"
    rows = np.flatnonzero(outlines.has_runs())
    if not len(rows):
        return
    build, severity = _IssueBuilder(view), _outline_severity(view)
    made_for = outlines.run_sizes[rows]
    # A mask is drawn on a canvas of the annotated size, where there is one.
    images = np.where(view.annotated > 0, view.annotated, view.real)[view.image]
    faults = mask_faults(outlines, images)
    other, short, images = faults["mask size"][rows], faults["mask runs"][rows], images[rows]
    totals = np.add.reduceat(outlines.runs.astype(np.int64), outlines.run_offsets[:-1][rows])
    for number in np.flatnonzero(other).tolist():
        (height, width), (mask_height, mask_width) = images[number].tolist(), made_for[number].tolist()
        problem = f"the mask is {mask_width}x{mask_height}, its image {width}x{height}"
        yield build.issue(int(rows[number]), "masks.size", problem, "Draw the mask in the image's size.", severity)
    for number in np.flatnonzero(short).tolist():
        height, width = made_for[number].tolist()
        problem = f"the mask's runs sum to {totals[number]} pixels, not to {width}x{height}"
        yield build.issue(int(rows[number]), "masks.runs", problem, "Encode the mask again.", severity)
