"""Boxes as networks give them: relative to anchor points."""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.ops.boxes import xyxy_to_cxcywh

__all__ = ["decode_points", "encode_points"]


def decode_points(raw: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes that a network says relative to grid points (Ge et al. 2021, YOLOX, section 2.3 "Anchor-free").

    ``centre = (raw_xy + point) * stride`` and ``size = exp(raw_wh) * stride``.

    Args:
        raw: (..., A, 4), what the network gives.
        points: (A, 2) or (..., A, 2), column and row of each point in its own level.
        strides: (A,) or (..., A), pixels per step of that level.

    Returns:
        Boxes xyxy, (..., A, 4), pixels.

    Example:
        >>> decode_points(torch.zeros(1, 4), torch.tensor([[2.0, 3.0]]), torch.tensor([8.0])).tolist()
        [[12.0, 20.0, 20.0, 28.0]]
    """
    centre = raw[..., :2] + points
    half = raw[..., 2:].exp() / 2
    return torch.cat((centre - half, centre + half), dim=-1) * strides[..., None]


def encode_points(boxes_xyxy: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Inverse of :func:`decode_points`: what the network should have said.

    Args:
        boxes_xyxy: (..., A, 4), pixels; an empty side counts as 1e-8 strides, so that its logarithm is finite.
        points: (A, 2) column and row of each point in its own level.
        strides: (A,) pixels per step of that level.

    Returns:
        (..., A, 4).
    """
    cxcywh = xyxy_to_cxcywh(boxes_xyxy) / strides[:, None]
    return torch.cat((cxcywh[..., :2] - points, cxcywh[..., 2:].clamp(min=1e-8).log()), dim=-1)
