"""How much two boxes agree: IoU and its descendants GIoU, DIoU and CIoU.

Sources: Rezatofighi et al. 2019 (GIoU, arXiv 1902.09630); Zheng et al. 2020 (DIoU and CIoU, arXiv 1911.08287).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["IouKind", "aligned_iou", "pairwise_giou", "pairwise_iou"]

IouKind = Literal["iou", "giou", "diou", "ciou"]

_EPS = 1e-7


def _planes(boxes_xyxy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # Four contiguous planes: the pairwise loops then run over memory in order, several times faster on a CPU than over
    # (..., 2) slices.
    x1, y1, x2, y2 = boxes_xyxy.movedim(-1, 0).contiguous()
    return x1, y1, x2, y2


def _pairwise(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor, generalized: bool) -> Tensor:
    ax1, ay1, ax2, ay2 = (plane[..., :, None] for plane in _planes(boxes1_xyxy))
    bx1, by1, bx2, by2 = (plane[..., None, :] for plane in _planes(boxes2_xyxy))
    intersection = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    intersection = intersection * (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
    iou = intersection / union.clamp(min=_EPS)
    if not generalized:
        return iou
    hull = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (torch.maximum(ay2, by2) - torch.minimum(ay1, by1))
    return iou - (hull - union) / hull.clamp(min=_EPS)


def pairwise_iou(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor) -> Tensor:
    """Intersection over union of every box with every other.

    Args:
        boxes1_xyxy: (..., N, 4), float, x1 <= x2; leading dimensions are batches.
        boxes2_xyxy: (..., M, 4).

    Returns:
        (..., N, M) in 0..1; 0 for two empty boxes.

    Example:
        >>> pairwise_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])).shape
        torch.Size([1, 1])
    """
    return _pairwise(boxes1_xyxy, boxes2_xyxy, generalized=False)


def pairwise_giou(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor) -> Tensor:
    """Generalized IoU of every box with every other (Rezatofighi et al. 2019, algorithm 1).

    Args:
        boxes1_xyxy: (..., N, 4), float, x1 <= x2.
        boxes2_xyxy: (..., M, 4).

    Returns:
        (..., N, M) in -1..1.
    """
    return _pairwise(boxes1_xyxy, boxes2_xyxy, generalized=True)


def aligned_iou(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor, kind: IouKind = "iou") -> Tensor:
    """Agreement of each box with its partner; differentiable.

    Args:
        boxes1_xyxy: Predictions, (..., 4), float, x1 <= x2.
        boxes2_xyxy: Ground truths, (..., 4).
        kind: ``iou``; ``giou`` subtracts the empty share of the hull; ``diou`` subtracts the squared distance of the
            centres over the squared diagonal of the hull; ``ciou`` also subtracts the disagreement of the aspect
            ratios.

    Returns:
        (...): 0..1 for ``iou``, -1..1 for ``giou``, down to -1.5 or less for the others.
    """
    ax1, ay1, ax2, ay2 = boxes1_xyxy.unbind(-1)
    bx1, by1, bx2, by2 = boxes2_xyxy.unbind(-1)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    intersection = width * height
    union = aw * ah + bw * bh - intersection
    iou = intersection / (union + _EPS)
    if kind == "iou":
        return iou
    hull_width = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_height = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    if kind == "giou":
        hull = hull_width * hull_height
        return iou - (hull - union) / (hull + _EPS)
    distance = ((ax1 + ax2 - bx1 - bx2) ** 2 + (ay1 + ay2 - by1 - by2) ** 2) / 4
    diou = iou - distance / (hull_width**2 + hull_height**2 + _EPS)
    if kind == "diou":
        return diou
    # Equations 8 and 11 of the DIoU paper: alpha is a weight, gradients do not pass through it.
    aspect = (torch.atan(bw / (bh + _EPS)) - torch.atan(aw / (ah + _EPS))) ** 2 * (4 / math.pi**2)
    with torch.no_grad():
        alpha = aspect / (1 - iou + aspect + _EPS)
    return diou - alpha * aspect
