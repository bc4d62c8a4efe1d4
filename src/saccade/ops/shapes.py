"""How alike boxes and anchors are in width and height, wherever they lie."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RATIO_THRESHOLD", "shape_iou", "side_ratios"]

RATIO_THRESHOLD = 4.0
"""Ratio of sides below which an anchor fits an object (YOLOv5)."""

_EMPTY = 1e-24  # an area that counts as zero


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """IoU of every box with every anchor, both with one centre (Redmon and Farhadi 2017, YOLOv2, section 2).

    Args:
        sizes: Width and height of boxes, (..., N, 2).
        anchors: (K, 2).

    Returns:
        (..., N, K), 0..1; 0 for a box without area.

    Example:
        >>> shape_iou(torch.tensor([[2.0, 2.0]]), torch.tensor([[2.0, 2.0], [4.0, 2.0]]))
        tensor([[1.0000, 0.5000]])
    """
    common = torch.minimum(sizes[..., :, None, :], anchors).prod(dim=-1)
    union = sizes.prod(dim=-1)[..., None] + anchors.prod(dim=-1) - common
    return common / torch.where(union > _EMPTY, union, 1.0)


def side_ratios(sizes: Tensor, anchors: Tensor) -> Tensor:
    """Largest of width / width, height / height and their inverses, of every box with every anchor.

    Args:
        sizes: Width and height of boxes, (..., N, 2).
        anchors: (K, 2), above 0.

    Returns:
        (..., N, K), at least 1; infinite for a box without width or height.

    Example:
        >>> side_ratios(torch.tensor([[8.0, 2.0]]), torch.tensor([[4.0, 4.0], [8.0, 2.0]]))
        tensor([[2., 1.]])
    """
    ratio = sizes[..., :, None, :] / anchors
    return torch.maximum(ratio, 1 / ratio).amax(dim=-1)
