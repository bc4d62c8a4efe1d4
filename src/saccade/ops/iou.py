"""Overlap of two boxes: IoU and its descendants GIoU, DIoU and CIoU.

Sources: Rezatofighi et al. 2019 (GIoU, arXiv 1902.09630); Zheng et al. 2020 (DIoU and CIoU, arXiv 1911.08287).

None of them depends on the unit of the coordinates: boxes in pixels and the same boxes divided by the image's size give
the same values. Therefore no constant is added to a denominator; a denominator of zero is replaced instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = ["IouKind", "aligned_iou", "pairwise_iou"]

IouKind = Literal["iou", "giou", "diou", "ciou"]

# An area, or a squared length, far below that of any box in any unit: what is not above it counts as zero.
_EMPTY = 1e-24


def _nonzero(denominator: Tensor) -> Tensor:
    # The numerator is zero wherever the denominator is, so any replacement gives 0. It is one and not a small number,
    # because the gradient of the numerator is divided by it.
    return torch.where(denominator > _EMPTY, denominator, 1.0)


def _planes(boxes_xyxy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # Four contiguous planes: the pairwise loops then run over memory in order, several times faster on a CPU than over
    # (..., 2) slices.
    x1, y1, x2, y2 = boxes_xyxy.movedim(-1, 0).contiguous()
    return x1, y1, x2, y2


def pairwise_iou(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor, kind: IouKind = "iou") -> Tensor:
    """IoU, GIoU, DIoU or CIoU of every box with every other; differentiable.

    Args:
        boxes1_xyxy: (..., N, 4), float, x1 <= x2; leading dimensions are batches.
        boxes2_xyxy: (..., M, 4).
        kind: Which overlap, see :func:`aligned_iou`.

    Returns:
        (..., N, M); IoU is in 0..1, and 0 for two empty boxes.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 4.0, 4.0]])
        >>> pairwise_iou(boxes[:2], boxes)
        tensor([[1.0000, 0.3333, 0.0000],
                [0.3333, 1.0000, 0.0000]])
        >>> pairwise_iou(boxes[:1], boxes, "giou")
        tensor([[ 1.0000,  0.3333, -0.5000]])
    """
    first = tuple(plane[..., :, None] for plane in _planes(boxes1_xyxy))
    second = tuple(plane[..., None, :] for plane in _planes(boxes2_xyxy))
    return _measure(first, second, kind)


def aligned_iou(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor, kind: IouKind = "iou") -> Tensor:
    """IoU, GIoU, DIoU or CIoU of each box with its partner; differentiable.

    The same numbers as those of :func:`pairwise_iou`. Gradients are finite for empty boxes too.

    Args:
        boxes1_xyxy: Predictions, (..., 4), float, x1 <= x2.
        boxes2_xyxy: Targets, (..., 4).
        kind: ``iou``; ``giou`` subtracts the empty share of the hull; ``diou`` subtracts the squared distance of the
            centres over the squared diagonal of the hull; ``ciou`` also subtracts the disagreement of the aspect
            ratios.

    Returns:
        (...): 0..1 for ``iou``, -1..1 for ``giou``, down to -1.5 or less for the others.

    Example:
        >>> predictions = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
        >>> targets = torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 4.0, 4.0]])
        >>> aligned_iou(predictions, targets), aligned_iou(predictions, targets, "giou")
        (tensor([0.3333, 0.0000]), tensor([ 0.3333, -0.5000]))
    """
    return _measure(boxes1_xyxy.unbind(-1), boxes2_xyxy.unbind(-1), kind)


def _measure(first: Sequence[Tensor], second: Sequence[Tensor], kind: IouKind) -> Tensor:
    """Overlap of boxes whose four coordinates broadcast."""
    ax1, ay1, ax2, ay2 = first
    bx1, by1, bx2, by2 = second
    intersection = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    intersection = intersection * (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
    iou = intersection / _nonzero(union)
    if kind == "iou":
        return iou
    hull_width = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_height = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    if kind == "giou":  # Rezatofighi et al. 2019, algorithm 1
        hull = hull_width * hull_height
        return iou - (hull - union) / _nonzero(hull)
    # Differences first: sums of far-off coordinates would round away the distance of small boxes.
    distance = (((ax1 - bx1) + (ax2 - bx2)) ** 2 + ((ay1 - by1) + (ay2 - by2)) ** 2) / 4
    diou = iou - distance / _nonzero(hull_width**2 + hull_height**2)
    if kind == "diou":
        return diou
    # Equations 8 and 11 of the DIoU paper: alpha is a weight, gradients do not pass through it.
    angle = _diagonal_angle(bx2 - bx1, by2 - by1) - _diagonal_angle(ax2 - ax1, ay2 - ay1)
    aspect = angle**2 * (4 / math.pi**2)
    with torch.no_grad():
        alpha = aspect / _nonzero(1 - iou + aspect)
    return diou - alpha * aspect


def _diagonal_angle(width: Tensor, height: Tensor) -> Tensor:
    """Arc tangent of width / height; a point counts as one high, because its gradient would be 0 / 0."""
    return torch.atan2(width, torch.where(width**2 + height**2 > _EMPTY, height, 1.0))
