"""Assignment of YOLOv2 to v4: the cell of an object's centre, and there the anchors whose shape is most like its own.

The overlap that counts is that of shapes: of box and anchor with the same centre. YOLOv2 and v3 take the best anchor of
all levels only (Redmon and Farhadi 2018, YOLOv3, section 2.1); YOLOv4 takes every anchor above an IoU threshold as
well (Bochkovskiy et al. 2020, section 3.4, "using multiple anchors for a single ground truth").
"""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.models.detection.yolo_cells import CellGrid, CellMatches
from saccade.ops.shapes import shape_iou

__all__ = ["claim_best", "claim_overlapping"]


def claim_best(grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, Tensor]:
    """Each object claims the anchor most like it, of all levels, in the cell in which its centre lies.

    Of equal anchors the first counts; a centre outside of the canvas counts to the nearest cell.

    Args:
        grid: Cells and anchors.
        boxes_xyxy: (B, M, 4), pixels.
        labels: (B, M) int64; rows with a negative label claim nothing.

    Returns:
        Claims, of which several may be for one row, and their rank (P,): 1.

    Example:
        >>> grid = CellGrid.of([torch.zeros(1, 1, 2, 2)], (32,), [torch.tensor([[8.0, 8.0], [32.0, 32.0]])])
        >>> claims, _ = claim_best(grid, torch.tensor([[[32.0, 0.0, 60.0, 30.0]]]), torch.tensor([[0]]))
        >>> claims.row.tolist()  # second anchor of the second cell
        [3]
    """
    return _claim(grid, boxes_xyxy, labels, threshold=None)


def claim_overlapping(
    grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor, threshold: float = 0.213
) -> tuple[CellMatches, Tensor]:
    """Each object claims the anchor most like it, and all others whose shape overlaps it more than a threshold.

    Where objects claim the same row, one whose best anchor it is goes before others, so that none loses its only row
    to another's further one.

    Args:
        grid: Cells and anchors.
        boxes_xyxy: (B, M, 4), pixels.
        labels: (B, M) int64; rows with a negative label claim nothing.
        threshold: Shape IoU above which an anchor is claimed; 0.213 in the authors' configuration.

    Returns:
        Claims and their rank (P,): 1 for the best anchor of an object, 0 for others.

    Example:
        >>> grid = CellGrid.of([torch.zeros(1, 1, 2, 2)], (32,), [torch.tensor([[16.0, 16.0], [32.0, 32.0]])])
        >>> claims, rank = claim_overlapping(grid, torch.tensor([[[32.0, 0.0, 60.0, 30.0]]]), torch.tensor([[0]]))
        >>> claims.row.tolist(), rank.tolist()
        ([2, 3], [0, 1])
    """
    return _claim(grid, boxes_xyxy, labels, threshold)


def _claim(grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor, threshold: float | None) -> tuple[CellMatches, Tensor]:
    anchors, levels, numbers = grid.shapes()
    overlaps = shape_iou(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], anchors)  # (B, M, K)
    best = torch.zeros_like(overlaps, dtype=torch.bool)
    if overlaps.shape[1]:
        best.scatter_(2, overlaps.argmax(dim=2, keepdim=True), True)
    taken = best if threshold is None else best | (overlaps > threshold)
    image, target, anchor = (taken & (labels >= 0)[..., None]).nonzero(as_tuple=True)
    centres = (boxes_xyxy[image, target, :2] + boxes_xyxy[image, target, 2:]) / 2
    level = levels[anchor]
    strides = torch.tensor(grid.strides, dtype=torch.float32, device=centres.device)[level]
    cell = (centres / strides[:, None]).floor()
    cell = torch.minimum(cell.clamp(min=0), grid.sides()[level] - 1)
    row = grid.row(level, cell, numbers[anchor])
    return CellMatches(image, row, target), best[image, target, anchor].long()
