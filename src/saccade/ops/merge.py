"""Merging of detections that several tiles, or several views, of one image have of the same objects.

Everything is a function of boxes in pixels of the image; the tile or view from which a box comes is its *source*.

- :func:`cut_off`: boxes that end at a border that a tile has and the image has not, and those of them that another tile
  shows whole;
- :func:`join_pieces`: groups of boxes that are pieces of an object too large for any tile;
- :func:`suppress`: non-maximum suppression between sources;
- :func:`weighted_boxes`: weighted boxes fusion (Solovyev et al. 2021, "Weighted boxes fusion: Ensembling boxes from
  different object detection models", arXiv 1910.13302).

The last two never compare two boxes of one source: the network's own suppression has already decided about them,
perhaps with another threshold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.ops.boxes_numpy import box_iou

__all__ = ["FusedBoxes", "boxes_of_points", "cut_off", "join_pieces", "suppress", "weighted_boxes"]

Array = NDArray[Any]

_PAIRS_AT_ONCE = 1 << 20


class FusedBoxes(NamedTuple):
    """Fused boxes by falling score, and which of the given boxes went into each: result of :func:`weighted_boxes`.

    Attributes:
        boxes: (M, 4) xyxy, of the given boxes' type.
        scores: (M,), of the given scores' type.
        labels: (M,) int64.
        members: (N,) int64, index of the fused box that each given box went into.
        best: (M,) int64, index of the given box with the highest score in each.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]])
        >>> fused = weighted_boxes(boxes, np.array([0.5, 0.8, 0.7]), np.zeros(3), np.arange(3))
        >>> fused.members, fused.best
        (array([1, 0, 1]), array([1, 2]))
    """

    boxes: Array
    scores: Array
    labels: Array
    members: NDArray[np.int64]
    best: NDArray[np.int64]


def cut_off(
    boxes_xyxy: Array, rows: Array, columns: Array, row_spans: Array, column_spans: Array, margin: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find boxes that a border between tiles may have cut, and those of them that another tile shows whole.

    A box that ends within ``margin`` of a border of its tile counts as cut there. Where another tile contains all of
    it, farther than ``margin`` from every border, that tile shows everything this one does, and more: its detections
    count, and this box is to be dropped, whether or not the object was detected there.

    Args:
        boxes_xyxy: (N, 4), pixels of the image.
        rows: (N,) row of tiles that each box comes from.
        columns: (N,) column of tiles.
        row_spans: (R, 2) top and bottom of each row of tiles; infinite where the image ends, which cuts nothing.
        column_spans: (C, 2) left and right of each column of tiles.
        margin: Pixels.

    Returns:
        ``cut`` (N,) and ``whole_elsewhere`` (N,), both bool; the second implies the first.

    Example:
        >>> spans = np.array([[-np.inf, 60], [40, np.inf]])
        >>> unbounded = np.array([[-np.inf, np.inf]])
        >>> boxes, zero = np.array([[45.0, 0, 60, 9]]), np.zeros(1, int)
        >>> cut_off(boxes, zero, zero, unbounded, spans, 1.0)
        (array([ True]), array([ True]))
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    # Tiles form a grid, so the best row and the best column of tiles are found independently.
    below = _clearance(boxes[:, 1], boxes[:, 3], row_spans)
    beside = _clearance(boxes[:, 0], boxes[:, 2], column_spans)
    every = np.arange(len(boxes))
    own = np.minimum(below[every, rows], beside[every, columns])
    best = np.minimum(below.max(axis=1), beside.max(axis=1))
    cut = own < margin
    return cut, cut & (best >= margin)


def join_pieces(boxes_xyxy: Array, labels: Array, tiles_xyxy: Array, iou_threshold: float = 0.5) -> NDArray[np.int64]:
    """Group boxes that are pieces of one object that no tile shows whole.

    Two boxes of a class belong together if they agree on the area that both of their tiles cover: clipped to it, they
    overlap by more than ``iou_threshold``.

    Args:
        boxes_xyxy: (N, 4), pixels of the image.
        labels: (N,).
        tiles_xyxy: (N, 4), the tile that each box comes from.
        iou_threshold: IoU of the clipped boxes above which they belong together, 0..1.

    Returns:
        Index of the object that each box is a piece of, (N,) int64, 0..M-1.

    Example:
        >>> tiles = np.array([[0, 0, 60, 60], [40, 0, 100, 60.0]])
        >>> boxes = np.array([[10, 0, 60, 9], [40, 0, 90, 9.0]])
        >>> join_pieces(boxes, np.zeros(2), tiles)
        array([0, 0])
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    boxes, tiles = np.asarray(boxes_xyxy, np.float64), np.asarray(tiles_xyxy, np.float64)
    first, second = _pairs(boxes, labels, 0.0)
    other = (tiles[first] != tiles[second]).any(axis=1)
    first, second = first[other], second[other]
    low = np.maximum(tiles[first, :2], tiles[second, :2])
    high = np.minimum(tiles[first, 2:], tiles[second, 2:])
    window_low, window_high = np.tile(low, 2), np.tile(high, 2)
    clipped = [np.clip(boxes[index], window_low, np.maximum(window_low, window_high)) for index in (first, second)]
    agree = (high > low).all(axis=1) & (box_iou(*clipped) > iou_threshold)
    first, second = first[agree], second[agree]
    links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(boxes), len(boxes)))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def suppress(
    boxes_xyxy: Array, scores: Array, labels: Array, sources: Array, iou_threshold: float = 0.5
) -> NDArray[np.int64]:
    """Non-maximum suppression by class between boxes of different sources.

    By falling score, a box drops those of other sources and its own class that overlap it by more than the threshold.

    Args:
        boxes_xyxy: (N, 4), pixels.
        scores: (N,).
        labels: (N,).
        sources: (N,) tile or view of each box.
        iou_threshold: IoU above which the lower score is dropped, 0..1.

    Returns:
        Kept indices, (K,) int64, by falling score.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10.0]])
        >>> suppress(boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3), np.array([0, 0, 1]))
        array([0, 1])
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    sources = np.asarray(sources)
    first, second = _pairs(boxes, labels, iou_threshold)
    other = sources[first] != sources[second]
    ends = np.concatenate([first[other], second[other]])
    partners = np.concatenate([second[other], first[other]])
    partners = partners[np.argsort(ends, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=len(boxes)))])
    dropped = np.zeros(len(boxes), np.bool_)
    kept = []
    for index in np.argsort(-np.asarray(scores), kind="stable").tolist():
        if not dropped[index]:
            kept.append(index)
            dropped[partners[starts[index] : starts[index + 1]]] = True
    return np.array(kept, np.int64)


def weighted_boxes(
    boxes_xyxy: Array,
    scores: Array,
    labels: Array,
    sources: Array,
    iou_threshold: float = 0.55,
    views: int = 1,
) -> FusedBoxes:
    """Weighted boxes fusion: overlapping boxes of a class averaged by their scores (Solovyev et al. 2021, section 3).

    By falling score, a box joins the cluster of its class whose fused box it overlaps most, and by more than the
    threshold, or begins a cluster. Coordinates of a cluster are the mean of its members', weighted by their scores
    (equations 2 and 3); its score is their mean (equation 1), times ``min(T, N) / N`` for T members of N views
    (equation 5), so that an object detected in few views scores lower.

    One rule is added to the paper's: a source puts at most one box into a cluster.

    The time grows with boxes times clusters; thousands of boxes take tenths of a second.

    Args:
        boxes_xyxy: (N, 4), pixels.
        scores: (N,), 0..1.
        labels: (N,).
        sources: (N,) tile or view of each box.
        iou_threshold: IoU with a fused box above which a box joins its cluster, 0..1.
        views: Number of views in which each object could be detected; 1 leaves the mean score as it is, which is right
            for tiles.

    Returns:
        The fused boxes, by falling score.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10.0]])
        >>> fused = weighted_boxes(boxes, np.array([0.9, 0.3]), np.zeros(2), np.arange(2), views=2)
        >>> fused.boxes.tolist(), fused.scores.round(3).tolist()
        ([[0.5, 0.0, 10.5, 10.0]], [0.6])
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    weights = np.asarray(scores, np.float64)
    members = np.zeros(len(boxes), np.int64)
    fused, totals, counts, best = [], [], [], []
    classes: list[int] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(np.asarray(labels) == label)
        rows = rows[np.argsort(-weights[rows], kind="stable")]
        cluster_of, boxes_of, scores_of = _cluster(boxes[rows], weights[rows], np.asarray(sources)[rows], iou_threshold)
        members[rows] = cluster_of + len(classes)
        number = len(boxes_of)
        fused.append(boxes_of)
        totals.append(scores_of)
        counts.append(np.bincount(cluster_of, minlength=number))
        best.append(rows[np.unique(cluster_of, return_index=True)[1]])
        classes += [int(label)] * number
    if not classes:
        empty = np.zeros(0, np.int64)
        return FusedBoxes(np.asarray(boxes_xyxy).reshape(-1, 4), np.asarray(scores), empty, members, empty)
    size = np.concatenate(counts)
    mean = np.concatenate(totals) / size * np.minimum(size, views) / views
    order = np.argsort(-mean, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return FusedBoxes(
        np.concatenate(fused)[order].astype(np.asarray(boxes_xyxy).dtype),
        mean[order].astype(np.asarray(scores).dtype),
        np.array(classes, np.int64)[order],
        rank[members],
        np.concatenate(best)[order],
    )


def boxes_of_points(points_xy: Array, smallest: float = 8.0) -> NDArray[np.float64]:
    """Tight boxes around the keypoints of each object.

    Args:
        points_xy: (N, K, 2), pixels.
        smallest: Least length of a side, pixels, so that a single point has an extent too.

    Returns:
        (N, 4) xyxy, pixels.

    Example:
        >>> boxes_of_points(np.array([[[0.0, 5.0], [20.0, 30.0]], [[9.0, 9.0], [9.0, 9.0]]])).tolist()
        [[0.0, 5.0, 20.0, 30.0], [5.0, 5.0, 13.0, 13.0]]
    """
    points = np.asarray(points_xy, np.float64)
    low, high = points.min(axis=1), points.max(axis=1)
    middle, half = (low + high) / 2, np.maximum(high - low, smallest) / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _cluster(boxes: Array, scores: Array, sources: Array, iou_threshold: float) -> tuple[Array, Array, Array]:
    """Cluster boxes of one class, sorted by falling score: cluster of each, fused boxes, summed scores."""
    fused = np.zeros((len(boxes), 4))
    sums, totals = np.zeros((len(boxes), 4)), np.zeros(len(boxes))
    sources_in: list[set[int]] = []
    cluster_of = np.zeros(len(boxes), np.int64)
    for index, (box, score, source) in enumerate(zip(boxes, scores.tolist(), sources.tolist(), strict=True)):
        overlaps = box_iou(box, fused[: len(sources_in)])
        near = np.flatnonzero(overlaps > iou_threshold)
        chosen = next(
            (one for one in near[np.argsort(-overlaps[near])].tolist() if source not in sources_in[one]),
            len(sources_in),
        )
        if chosen == len(sources_in):
            sources_in.append(set())
        sources_in[chosen].add(source)
        cluster_of[index] = chosen
        # Boxes of score zero need a weight too where a cluster has no others.
        weight = max(score, np.finfo(np.float64).tiny ** 0.5)
        weighted = totals[chosen] + weight
        sums[chosen] += weight * box
        totals[chosen] = weighted
        fused[chosen] = sums[chosen] / weighted
    number = len(sources_in)
    return cluster_of, fused[:number], np.bincount(cluster_of, weights=scores, minlength=number)


def _clearance(low: Array, high: Array, spans: Array) -> Array:
    """Room between an interval and the ends of each span, (N, S); negative outside."""
    return np.minimum(low[:, None] - spans[None, :, 0], spans[None, :, 1] - high[:, None])


def _pairs(boxes: Array, labels: Array, iou_threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of all pairs of a class that overlap by more than the threshold, each once.

    Boxes are sorted by their left edge, so that only those are compared that share a column of pixels.
    """
    found: list[tuple[Array, Array]] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(np.asarray(labels) == label)
        rows = rows[np.argsort(boxes[rows, 0], kind="stable")]
        left = boxes[rows, 0]
        counts = np.maximum(np.searchsorted(left, boxes[rows, 2]) - np.arange(len(rows)) - 1, 0)
        block = (np.cumsum(counts) - counts) // _PAIRS_AT_ONCE  # rows whose pairs are compared together
        for start, end in zip(*_runs(block), strict=True):
            many = counts[start:end]
            first = np.repeat(np.arange(start, end), many)
            within = np.arange(len(first)) - np.repeat(np.cumsum(many) - many, many)
            second = first + 1 + within
            first, second = rows[first], rows[second]
            overlapping = box_iou(boxes[first], boxes[second]) > iou_threshold
            found.append((first[overlapping], second[overlapping]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])


def _runs(values: Array) -> tuple[list[int], list[int]]:
    """First index and end of each run of equal values."""
    changes = (np.flatnonzero(np.diff(values)) + 1).tolist()
    return [0, *changes], [*changes, len(values)]
