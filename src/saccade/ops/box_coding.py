"""Box coding: what the regression branch of a detector predicts, and the boxes that it stands for.

- *points*: offset and log size relative to an anchor point, in strides (YOLOX);
- *anchors*: offset and log size relative to an anchor box (R-CNN and its line, SSD, RetinaNet);
- *distances*: from a point to the four sides (FCOS).

Anchors and anchor points come from :mod:`saccade.ops.anchors`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from saccade.ops.boxes import xyxy_to_cxcywh

__all__ = [
    "MAX_LOG_SIZE",
    "decode_anchors",
    "decode_distances",
    "decode_points",
    "encode_anchors",
    "encode_distances",
    "encode_points",
]

# Largest log size that is decoded: e^10 = 22,026 strides. Beyond 88 float32 overflows, and far below that a single
# wild box takes the precision of all others with which it is compared.
MAX_LOG_SIZE = 10.0

# The same relative to an anchor box, as Detectron chose it: 62.5 times its side.
_MAX_LOG_RATIO = math.log(1000 / 16)
_SMALLEST_SIDE = 1e-8  # of a box or an anchor, in units of the anchor: the logarithm stays finite


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


def encode_anchors(
    boxes_xyxy: Tensor, anchors_xyxy: Tensor, weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Codes of boxes relative to anchors, the regression targets (Girshick et al. 2014, R-CNN, appendix C).

    ``(dx, dy)`` is the distance of the centres over the anchor's side and ``(dw, dh)`` the logarithm of the ratio of
    sides, each times its weight (equations 6 to 9).

    Args:
        boxes_xyxy: (..., A, 4), pixels; an empty side counts as 1e-8 of the anchor's.
        anchors_xyxy: (A, 4) or (..., A, 4), pixels, with sides above 0.
        weights: Of dx, dy, dw and dh; SSD and Fast R-CNN multiply by (10, 10, 5, 5), the inverse of the codes' spread.

    Returns:
        Codes, (..., A, 4).

    Example:
        >>> encode_anchors(torch.tensor([[8.0, 0.0, 16.0, 8.0]]), torch.tensor([[0.0, 0.0, 8.0, 8.0]])).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
    """
    anchors, boxes = xyxy_to_cxcywh(anchors_xyxy), xyxy_to_cxcywh(boxes_xyxy)
    offsets = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    sizes = (boxes[..., 2:] / anchors[..., 2:]).clamp(min=_SMALLEST_SIDE).log()
    return torch.cat((offsets, sizes), dim=-1) * boxes.new_tensor(weights)


def decode_anchors(
    codes: Tensor, anchors_xyxy: Tensor, weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Boxes from codes relative to anchors: inverse of :func:`encode_anchors`.

    Args:
        codes: (..., A, 4), predicted.
        anchors_xyxy: (A, 4) or (..., A, 4), pixels.
        weights: Of dx, dy, dw and dh, as in encoding. A size is at most 62.5 times the anchor's.

    Returns:
        Boxes xyxy, (..., A, 4), pixels.

    Example:
        >>> decode_anchors(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 8.0, 8.0]])).tolist()
        [[8.0, 0.0, 16.0, 8.0]]
    """
    anchors = xyxy_to_cxcywh(anchors_xyxy)
    dx, dy, dw, dh = weights
    centres = codes[..., :2] / codes.new_tensor([dx, dy]) * anchors[..., 2:] + anchors[..., :2]
    sizes = (codes[..., 2:] / codes.new_tensor([dw, dh])).clamp(max=_MAX_LOG_RATIO).exp() * anchors[..., 2:]
    return torch.cat((centres - sizes / 2, centres + sizes / 2), dim=-1)


def encode_distances(boxes_xyxy: Tensor, points: Tensor) -> Tensor:
    """Distances from points to the left, upper, right and lower side of boxes (Tian et al. 2019, FCOS, equation 1).

    Args:
        boxes_xyxy: (..., 4), pixels.
        points: (..., 2), x and y, pixels; leading dimensions broadcast.

    Returns:
        (..., 4), pixels; negative where a point lies outside of its box.

    Example:
        >>> encode_distances(torch.tensor([2.0, 3.0, 8.0, 5.0]), torch.tensor([4.0, 4.0])).tolist()
        [2.0, 1.0, 4.0, 1.0]
    """
    return torch.cat((points - boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - points), dim=-1)


def decode_distances(distances: Tensor, points: Tensor) -> Tensor:
    """Boxes from the distances of their sides to points: inverse of :func:`encode_distances`.

    Args:
        distances: (..., 4): left, upper, right, lower, pixels.
        points: (..., 2), x and y, pixels.

    Returns:
        Boxes xyxy, (..., 4), pixels.

    Example:
        >>> decode_distances(torch.tensor([2.0, 1.0, 4.0, 1.0]), torch.tensor([4.0, 4.0])).tolist()
        [2.0, 3.0, 8.0, 5.0]
    """
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), dim=-1)
