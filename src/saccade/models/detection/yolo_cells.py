"""Grid cells with anchors, as YOLOv2 to v5 have them: where each row of the outputs lies, and which are whose.

Rows are laid out level by level (fine to coarse), row by row, cell by cell, anchor by anchor. Letters: B images, M
objects an image (padded), N rows, K anchors of all levels together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saccade.ops.anchors import grid_points
from saccade.ops.iou import pairwise_iou
from saccade.ops.matching import NEGATIVE

__all__ = ["CellGrid", "CellMatches", "claimed_rows", "largest_overlap", "owners_of"]

_PAIRS = 2**24  # pairs of a prediction and an object whose overlaps are computed at a time


class CellMatches(NamedTuple):
    """P pairs of a row and an object that it is positive for."""

    image: Tensor  # (P,) int64
    row: Tensor  # (P,) int64, 0..N-1
    target: Tensor  # (P,) int64, 0..M-1


class CellGrid(NamedTuple):
    """Grid of every level, with its anchors.

    Example:
        >>> grid = CellGrid.of([torch.zeros(1, 1, 2, 3)], strides=(32,), anchors=[torch.tensor([[20.0, 30.0]] * 2)])
        >>> points, strides, anchors, levels = grid.rows()
        >>> points.shape, points[-1].tolist(), grid.row(torch.tensor(0), torch.tensor([2.0, 1.0]), torch.tensor(1))
        (torch.Size([12, 2]), [2.0, 1.0], tensor(11))
    """

    maps: tuple[Tensor, ...]  # feature maps, of which only shape and device matter
    strides: tuple[int, ...]  # pixels
    anchors: tuple[Tensor, ...]  # (A_l, 2) width and height of each level, pixels

    @classmethod
    def of(cls, maps: Sequence[Tensor], strides: Sequence[int], anchors: Sequence[Tensor]) -> CellGrid:
        """Grid of some feature maps (B, C, H, W), fine to coarse."""
        return cls(tuple(maps), tuple(strides), tuple(anchors))

    def rows(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Column and row (N, 2), stride (N,), anchor (N, 2) in pixels and level (N,) of every row."""
        points, strides, anchors, levels = [], [], [], []
        for number, (level, stride, own) in enumerate(zip(self.maps, self.strides, self.anchors, strict=True)):
            cells, sides = grid_points([level], (stride,))
            count = own.shape[0]
            points.append(cells[:, None].expand(-1, count, 2).reshape(-1, 2))
            strides.append(sides[:, None].expand(-1, count).reshape(-1))
            anchors.append(own[None].expand(cells.shape[0], count, 2).reshape(-1, 2))
            levels.append(torch.full((cells.shape[0] * count,), number, dtype=torch.int64, device=cells.device))
        return torch.cat(points), torch.cat(strides), torch.cat(anchors), torch.cat(levels)

    def shapes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the K anchors: sides (K, 2) in pixels, level (K,), and number within the level (K,)."""
        device = self.maps[0].device
        counts = torch.tensor([own.shape[0] for own in self.anchors], device=device)
        levels = torch.arange(len(self.anchors), device=device).repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        numbers = torch.arange(len(levels), device=device) - starts[levels]
        return torch.cat(self.anchors).to(device), levels, numbers

    def sides(self) -> Tensor:
        """Columns and rows of each level, (L, 2) float32."""
        device = self.maps[0].device
        return torch.tensor([(level.shape[3], level.shape[2]) for level in self.maps], device=device).float()

    def row(self, level: Tensor, cell: Tensor, number: Tensor) -> Tensor:
        """Rows of anchors: level (...), column and row of the cell (..., 2), number of the anchor (...)."""
        device = self.maps[0].device
        counts = torch.tensor([own.shape[0] for own in self.anchors], device=device)
        areas = torch.tensor([one.shape[2] * one.shape[3] for one in self.maps], device=device) * counts
        starts = areas.cumsum(0) - areas
        columns = torch.tensor([one.shape[3] for one in self.maps], device=device)
        place = cell[..., 1].long() * columns[level] + cell[..., 0].long()
        return starts[level] + place * counts[level] + number


def claimed_rows(claims: CellMatches, rank: Tensor, batch: int, rows: int, objects: int) -> CellMatches:
    """Claims of which each row keeps one: that of highest rank, and of equal ones that of the later object.

    Args:
        claims: Pairs in which a row may occur several times.
        rank: (P,) int64, from 0.
        batch: B.
        rows: N.
        objects: M.

    Example:
        >>> same = torch.zeros(2, dtype=torch.int64)
        >>> claimed_rows(CellMatches(same, same, torch.tensor([0, 1])), same, batch=1, rows=4, objects=2).target
        tensor([1])
    """
    place = claims.image * rows + claims.row
    key = rank * max(objects, 1) + claims.target
    best = key.new_full((batch * rows,), -1).scatter_reduce_(0, place, key, "amax")
    place = (best >= 0).nonzero()[:, 0]
    return CellMatches(place // max(rows, 1), place % max(rows, 1), best[place] % max(objects, 1))


def owners_of(matches: CellMatches, batch: int, rows: int) -> Tensor:
    """Object of each row, (B, N) int64; ``NEGATIVE`` for rows without. Of several objects, the last.

    Example:
        >>> owners_of(CellMatches(torch.tensor([0]), torch.tensor([2]), torch.tensor([5])), batch=1, rows=4)
        tensor([[-1, -1,  5, -1]])
    """
    owners = matches.target.new_full((batch * rows,), NEGATIVE)
    return owners.scatter_reduce_(0, matches.image * rows + matches.row, matches.target, "amax").view(batch, rows)


def largest_overlap(predicted_xyxy: Tensor, boxes_xyxy: Tensor, valid: Tensor) -> Tensor:
    """Largest IoU of each predicted box with any object of its image.

    Args:
        predicted_xyxy: (B, N, 4), pixels.
        boxes_xyxy: Objects, (B, M, 4), pixels.
        valid: (B, M) bool.

    Returns:
        (B, N), 0 where there is no object.

    Example:
        >>> box = torch.tensor([[[0.0, 0.0, 2.0, 2.0]]])
        >>> largest_overlap(box, box, torch.tensor([[True]])).tolist()
        [[1.0]]
    """
    B, N = predicted_xyxy.shape[:2]
    largest = predicted_xyxy.new_zeros(B, N)
    M = int(valid.sum(dim=1).max()) if valid.numel() else 0
    if not M or not N:
        return largest
    # Objects to the front: what padding and crowds there are need not be compared.
    order = valid.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :M]
    boxes = boxes_xyxy.gather(1, order[..., None].expand(-1, -1, 4))
    real = valid.gather(1, order)
    step = max(1, _PAIRS // (B * N))
    for first in range(0, M, step):  # in one go but for thousands of objects
        overlaps = pairwise_iou(boxes[:, first : first + step], predicted_xyxy)
        overlaps.masked_fill_(~real[:, first : first + step, None], 0.0)
        torch.maximum(largest, overlaps.amax(dim=1), out=largest)
    return largest
