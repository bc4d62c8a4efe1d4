"""Objects found in several tiles or parts of one image, made the objects of the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.tiles import TileGrid
from saccade.ops.merge import boxes_of_points, cut_off, join_pieces, suppress, weighted_boxes
from saccade.ops.packed_masks import PackedMasks
from saccade.results.detections import Detections
from saccade.results.keypoints import Keypoints
from saccade.tasks.base import MergeOptions

__all__ = ["concatenate_detections", "concatenate_keypoints", "join_detections", "join_keypoints"]

# A box that ends this close to a border of its tile, in shares of the tile's longer side, may be cut off there.
_MARGIN = 0.005


def join_detections(results: Iterable[Detections], grid: TileGrid, options: MergeOptions) -> Detections:
    """Join the detections of all tiles in pixels of the image; cut pieces are united, duplicates merged."""
    height, width = grid.size
    parts, sources = [], []
    for index, result in enumerate(results):
        top, left = grid.origin(index)
        boxes = result.boxes_xyxy + np.array([left, top, left, top], result.boxes_xyxy.dtype)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))
        masks: Any = None if result.masks is None else PackedMasks.pack(result.masks, grid.size, top, left)
        points = result.keypoints
        if points is not None:
            points = points + np.array([left, top], points.dtype)
        part = replace(result, boxes_xyxy=boxes, masks=masks, keypoints=points)[
            (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        ]
        parts.append(part)
        sources.append(np.full(len(part), index, np.int64))
    whole, tiles = concatenate_detections(parts), np.concatenate(sources)
    cut, seen_better = _cut(whole.boxes_xyxy, tiles, grid)
    whole, tiles, cut = whole[~seen_better], tiles[~seen_better], cut[~seen_better]
    if cut.any():
        whole, tiles = _join_cut(whole, tiles, cut, grid, options.iou_threshold)
    if options.boxes == "nms":
        return whole[suppress(whole.boxes_xyxy, whole.scores, whole.labels, tiles, options.iou_threshold)]
    fused = weighted_boxes(whole.boxes_xyxy, whole.scores, whole.labels, tiles, options.iou_threshold)
    # Masks and points cannot be averaged; those of the best box stand for all.
    return replace(whole[fused.best], boxes_xyxy=fused.boxes, scores=fused.scores, labels=fused.labels)


def _join_cut(
    whole: Detections, tiles: NDArray[np.int64], cut: NDArray[np.bool_], grid: TileGrid, iou_threshold: float
) -> tuple[Detections, NDArray[np.int64]]:
    """Put pieces together; each object made of several gets a source of its own."""
    rows = np.flatnonzero(cut)
    groups = join_pieces(whole.boxes_xyxy[rows], whole.labels[rows], _windows(tiles[rows], grid), iou_threshold)
    number = int(groups.max()) + 1
    low = np.full((number, 2), np.inf)
    high = np.full((number, 2), -np.inf)
    np.minimum.at(low, groups, whole.boxes_xyxy[rows, :2])
    np.maximum.at(high, groups, whole.boxes_xyxy[rows, 2:])
    by_score = np.lexsort((-whole.scores[rows], groups))
    best = rows[by_score[np.searchsorted(groups[by_score], np.arange(number))]]
    masks: Any = whole.masks
    joined = replace(
        whole[best],
        boxes_xyxy=np.concatenate([low, high], axis=1).astype(whole.boxes_xyxy.dtype),
        masks=None if masks is None else masks[rows].unite(groups),
    )
    sources = np.where(np.bincount(groups) == 1, tiles[best], -1 - np.arange(number))
    return concatenate_detections([whole[~cut], joined]), np.concatenate([tiles[~cut], sources])


def join_keypoints(results: Iterable[Keypoints], grid: TileGrid, options: MergeOptions) -> Keypoints:
    """Join the keypoints of all tiles in pixels of the image; of overlapping objects the best-scored one stays."""
    parts, sources = [], []
    for index, result in enumerate(results):
        points = result.keypoints + np.array(grid.origin(index)[::-1], result.keypoints.dtype)
        boxes = result.boxes_xyxy
        if boxes is not None:
            boxes = boxes + np.tile(np.array(grid.origin(index)[::-1], boxes.dtype), 2)
        parts.append(replace(result, keypoints=points, boxes_xyxy=boxes))
        sources.append(np.full(len(result), index, np.int64))
    whole, tiles = concatenate_keypoints(parts), np.concatenate(sources)
    boxes = boxes_of_points(whole.keypoints)
    _, seen_better = _cut(boxes, tiles, grid)
    whole, boxes, tiles = whole[~seen_better], boxes[~seen_better], tiles[~seen_better]
    labels = np.zeros(len(whole), np.int64)
    return whole[suppress(boxes, np.asarray(whole.scores), labels, tiles, options.iou_threshold)]


def _cut(boxes: NDArray[Any], tiles: NDArray[np.int64], grid: TileGrid) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rows, columns = np.divmod(tiles, len(grid.columns))
    margin = max(1.0, _MARGIN * max(grid.tile))
    return cut_off(boxes, rows, columns, grid.spans(0), grid.spans(1), margin)


def _windows(tiles: NDArray[np.int64], grid: TileGrid) -> NDArray[np.float64]:
    """The tile of each detection as a box, (N, 4) xyxy."""
    rows, columns = np.divmod(tiles, len(grid.columns))
    top, left = np.array(grid.rows)[rows], np.array(grid.columns)[columns]
    return np.stack([left, top, left + grid.tile[1], top + grid.tile[0]], axis=1).astype(np.float64)


def concatenate_detections(parts: Sequence[Detections]) -> Detections:
    """Concatenate the detections of several parts, which are in pixels of one image.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(60, 80), class_names=("cat",))
        >>> parts = [Detections(**about, boxes_xyxy=[[x, 0, x + 9, 9]], scores=[0.5], labels=[0]) for x in (0, 20)]
        >>> concatenate_detections(parts).boxes_xyxy[:, 0]
        array([ 0., 20.])
    """
    packed: list[Any] = [part.masks for part in parts if part.masks is not None]
    masks: Any = None
    if len(packed) == len(parts):
        every = all(isinstance(one, PackedMasks) for one in packed)
        masks = PackedMasks.concatenate(packed) if every else np.concatenate([np.asarray(one) for one in packed])
    rows = {name: _rows(parts, name) for name in Detections.row_fields if name != "masks"}
    return replace(parts[0], masks=masks, **rows)


def concatenate_keypoints(parts: Sequence[Keypoints]) -> Keypoints:
    """Concatenate the keypoints of several parts, which are in pixels of one image."""
    return replace(parts[0], **{name: _rows(parts, name) for name in Keypoints.row_fields})


def _rows(parts: Sequence[Any], name: str) -> Any:
    values = [getattr(part, name) for part in parts]
    return None if any(value is None for value in values) else np.concatenate(values)
