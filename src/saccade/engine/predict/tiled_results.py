"""Results of the tiles of an image, put together to one of the image.

- *Boxes and objects of points.* An answer that ends at a border between tiles is dropped where another tile shows all
  of it with room around: that tile has seen more (``ops.merge.cut_off``). What remains cut belongs to objects that no
  tile shows whole; the pieces of a box are joined where neighbours agree about the area both see. Then the same object,
  seen whole by several tiles, is made one by suppression or weighted boxes between tiles.
- *Classes.* The mean of the tiles' probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.tiles import TileGrid, check_tiles
from saccade.errors import ConfigError
from saccade.ops.merge import boxes_of_points, cut_off, join_pieces, suppress, weighted_boxes
from saccade.ops.packed_masks import PackedMasks
from saccade.results.base import Result
from saccade.results.classification import Classification
from saccade.results.detections import Detections
from saccade.results.keypoints import Keypoints

__all__ = ["Tiling", "join_results"]

# A box that ends this close to a border of its tile, in shares of the tile's longer side, may be cut off there.
_MARGIN = 0.005


@dataclass(frozen=True)
class Tiling:
    """How an image is cut, and how the answers are put together.

    Args:
        tile: (height, width) in pixels of the image; the model's resize rule makes it its canvas.
        overlap: Share of a tile that its neighbour shows too. An object is seen whole by some tile if it is no larger
            than what they share.
        merge: ``nms`` keeps the best of several boxes of one object, ``wbf`` takes their weighted mean.
        iou_threshold: Overlap above which boxes of different tiles are one object.
        blend: Of class maps: ``tent`` blends in the overlap, ``core`` takes each pixel from one tile.
        mirror: Of class maps: let tiles begin half an overlap outside of the image, where it is continued by its
            mirror image, so that no pixel is judged at the edge of a tile (Ronneberger et al. 2015, figure 2).

    Raises:
        ConfigError: If a value is out of range.
    """

    tile: tuple[int, int]
    overlap: float = 0.2
    merge: Literal["nms", "wbf"] = "nms"
    iou_threshold: float = 0.5
    blend: Literal["tent", "core"] = "tent"
    mirror: bool = False

    def __post_init__(self) -> None:
        check_tiles(self.tile, self.overlap)
        for name, value, known in (("merge", self.merge, ("nms", "wbf")), ("blend", self.blend, ("tent", "core"))):
            if value not in known:
                raise ConfigError(f"tile: {name} is '{value}'. Choose from: {', '.join(known)}.")
        if not 0 < self.iou_threshold <= 1:
            raise ConfigError(f"tile: iou_threshold is a share, above 0 to 1; got {self.iou_threshold}.")


def join_results(results: Iterable[Result], grid: TileGrid, tiling: Tiling) -> Result:
    """One result in pixels of the image; the caller fills in which image it is.

    Args:
        results: One a tile, in pixels of the tile, in the order of the grid; read one by one.
        grid: Where the tiles lie.
        tiling: How they are put together.

    Raises:
        ConfigError: If there is no rule for results of this kind.
    """
    remaining = iter(results)
    first = next(remaining)
    every: Any = chain([first], remaining)
    if isinstance(first, Detections):
        return _join_boxes(every, grid, tiling)
    if isinstance(first, Keypoints):
        return _join_points(every, grid, tiling)
    if isinstance(first, Classification):
        # A mean of halves would lose digits; it goes back to the type of the answers at the end.
        mean = np.mean([one.probabilities for one in every], axis=0, dtype=np.float64)
        return replace(first, probabilities=mean.astype(first.probabilities.dtype))
    raise ConfigError(
        f"there is no rule to put the {type(first).__name__} of several tiles together. Predict without tiles."
    )


def _join_boxes(results: Iterable[Detections], grid: TileGrid, tiling: Tiling) -> Detections:
    height, width = grid.size
    parts, sources = [], []
    for index, result in enumerate(results):
        top, left = grid.origin(index)
        boxes = result.boxes_xyxy + np.array([left, top, left, top], result.boxes_xyxy.dtype)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))
        masks: Any = None if result.masks is None else PackedMasks.pack(result.masks, grid.size, top, left)
        part = replace(result, boxes_xyxy=boxes, masks=masks)[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
        parts.append(part)
        sources.append(np.full(len(part), index, np.int64))
    whole, tiles = _concatenate(parts), np.concatenate(sources)
    cut, seen_better = _cut(whole.boxes_xyxy, tiles, grid)
    whole, tiles, cut = whole[~seen_better], tiles[~seen_better], cut[~seen_better]
    if cut.any():
        whole, tiles = _join_cut(whole, tiles, cut, grid, tiling.iou_threshold)
    if tiling.merge == "nms":
        return whole[suppress(whole.boxes_xyxy, whole.scores, whole.labels, tiles, tiling.iou_threshold)]
    fused = weighted_boxes(whole.boxes_xyxy, whole.scores, whole.labels, tiles, tiling.iou_threshold)
    # A mask cannot be averaged; that of the best box stands for all.
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
    return _concatenate([whole[~cut], joined]), np.concatenate([tiles[~cut], sources])


def _join_points(results: Iterable[Keypoints], grid: TileGrid, tiling: Tiling) -> Keypoints:
    """Two objects are the same if the boxes around their points overlap; the one with the surer points stays."""
    parts, sources = [], []
    for index, result in enumerate(results):
        points = result.keypoints + np.array(grid.origin(index)[::-1], result.keypoints.dtype)
        parts.append(replace(result, keypoints=points))
        sources.append(np.full(len(result), index, np.int64))
    whole, tiles = (
        replace(
            parts[0],
            keypoints=np.concatenate([part.keypoints for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
        ),
        np.concatenate(sources),
    )
    boxes = boxes_of_points(whole.keypoints)
    _, seen_better = _cut(boxes, tiles, grid)
    whole, boxes, tiles = whole[~seen_better], boxes[~seen_better], tiles[~seen_better]
    sure, labels = whole.scores.mean(axis=1), np.zeros(len(whole), np.int64)
    return whole[suppress(boxes, sure, labels, tiles, tiling.iou_threshold)]


def _cut(boxes: NDArray[Any], tiles: NDArray[np.int64], grid: TileGrid) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rows, columns = np.divmod(tiles, len(grid.columns))
    margin = max(1.0, _MARGIN * max(grid.tile))
    return cut_off(boxes, rows, columns, grid.spans(0), grid.spans(1), margin)


def _windows(tiles: NDArray[np.int64], grid: TileGrid) -> NDArray[np.float64]:
    """The tile of each answer as a box, (N, 4) xyxy."""
    rows, columns = np.divmod(tiles, len(grid.columns))
    top, left = np.array(grid.rows)[rows], np.array(grid.columns)[columns]
    return np.stack([left, top, left + grid.tile[1], top + grid.tile[0]], axis=1).astype(np.float64)


def _concatenate(parts: Sequence[Detections]) -> Detections:
    packed: list[Any] = [part.masks for part in parts if part.masks is not None]
    masks: Any = PackedMasks.concatenate(packed) if len(packed) == len(parts) else None
    return replace(
        parts[0],
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        masks=masks,
    )
