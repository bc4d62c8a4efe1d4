"""Box coding of anchor-free detectors: boxes as offsets and log sizes relative to anchor points.

Coded boxes (what the regression branch predicts) are (dx, dy, log w, log h) in strides of the anchor point's level;
anchor points come from :func:`saccade.ops.anchors.grid_points`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.ops.boxes import xyxy_to_cxcywh

__all__ = ["MAX_LOG_SIZE", "decode_points", "encode_points"]

# Largest log size that is decoded: e^10 = 22,026 strides. Beyond 88 float32 overflows, and far below that a single
# wild box takes the precision of all others with which it is compared.
MAX_LOG_SIZE = 10.0


def decode_points(raw: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes from codes relative to anchor points (Ge et al. 2021, YOLOX, section 2.3 "Anchor-free").

    ``centre = (raw_xy + point) * stride`` and ``size = exp(raw_wh) * stride``, with ``raw_wh`` at most
    :data:`MAX_LOG_SIZE`.

    Args:
        raw: (..., A, 4), predicted codes.
        points: (A, 2) or (..., A, 2), anchor points: column and row of the grid cell in its own level.
        strides: (A,) or (..., A), side of the grid cells of that level, pixels.

    Returns:
        Boxes xyxy, (..., A, 4), pixels.

    Example:
        >>> decode_points(torch.zeros(1, 4), torch.tensor([[2.0, 3.0]]), torch.tensor([8.0])).tolist()
        [[12.0, 20.0, 20.0, 28.0]]
    """
    centre = raw[..., :2] + points
    half = raw[..., 2:].clamp(max=MAX_LOG_SIZE).exp() / 2
    return torch.cat((centre - half, centre + half), dim=-1) * strides[..., None]


def encode_points(boxes_xyxy: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Codes of boxes relative to anchor points, the regression targets: inverse of :func:`decode_points`.

    Args:
        boxes_xyxy: (..., A, 4), pixels; an empty side counts as 1e-8 strides, so that its logarithm is finite.
        points: (A, 2), anchor points: column and row of the grid cell in its own level.
        strides: (A,), side of the grid cells of that level, pixels.

    Returns:
        Codes, (..., A, 4).

    Example:
        >>> boxes = torch.tensor([[12.0, 20.0, 20.0, 28.0]])
        >>> encode_points(boxes, torch.tensor([[2.0, 3.0]]), torch.tensor([8.0])).tolist()
        [[0.0, 0.0, 0.0, 0.0]]
    """
    cxcywh = xyxy_to_cxcywh(boxes_xyxy) / strides[:, None]
    return torch.cat((cxcywh[..., :2] - points, cxcywh[..., 2:].clamp(min=1e-8).log()), dim=-1)
