"""Box coding: what the regression branch of a detector predicts, and the boxes that it stands for.

- *points*: offset and log size relative to an anchor point, in strides (YOLOX);
- *anchors*: offset and log size relative to an anchor box (R-CNN and its line, SSD, RetinaNet);
- *distances*: from a point to the four sides (FCOS);
- *cells*: centre within a grid cell and size relative to an anchor (YOLOv2 to v5).

Anchors and anchor points come from :mod:`saccade.ops.anchors`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.ops.boxes import xyxy_to_cxcywh

__all__ = [
    "MAX_LOG_SIZE",
    "SizeCoding",
    "cell_offsets",
    "decode_anchors",
    "decode_cells",
    "decode_distances",
    "decode_points",
    "encode_anchors",
    "encode_cells",
    "encode_distances",
    "encode_points",
]

# Largest log size that is decoded: e^10 = 22,026 strides. Beyond 88 float32 overflows, and far below that a single
# wild box takes the precision of all others with which it is compared.
MAX_LOG_SIZE = 10.0

# The same relative to an anchor box, as Detectron chose it: 62.5 times its side.
_MAX_LOG_RATIO = math.log(1000 / 16)
_SMALLEST_SIDE = 1e-8  # of a box or an anchor, in units of the anchor: the logarithm stays finite

# How YOLO's networks predict a side relative to their anchor's: e^t (v2 to v4), or (2 sigmoid(t))^2 (v5).
SizeCoding = Literal["exp", "square"]
_SIGMOID_MARGIN = 1e-4  # a sigmoid that is to be inverted keeps this distance from 0 and 1


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


def decode_cells(
    raw: Tensor,
    points: Tensor,
    strides: Tensor,
    anchors: Tensor,
    xy_scale: Tensor | float = 1.0,
    size: SizeCoding = "exp",
) -> Tensor:
    """Boxes from codes relative to grid cells and anchors (Redmon and Farhadi 2017, YOLOv2, section 2, figure 3).

    The centre is ``cell + s sigmoid(t) - (s - 1) / 2`` cells, with ``s`` the ``scale_x_y`` of YOLOv4 (section 3.3,
    "eliminate grid sensitivity"), and a side is ``e^t`` times the anchor's, or ``(2 sigmoid(t))^2`` times in YOLOv5.

    Args:
        raw: (..., N, 4), predicted codes.
        points: (N, 2) or (..., N, 2), column and row of the grid cell in its own level.
        strides: (N,) or (..., N), side of the cells of that level, pixels.
        anchors: (N, 2) or (..., N, 2), width and height, pixels.
        xy_scale: Factor s, one or (N,) or (..., N); 1 cannot reach the border of a cell, 2 reaches half a cell beyond.
        size: Coding of the sides.

    Returns:
        Boxes xyxy, (..., N, 4), pixels; a side is at most e^10 times the anchor's.

    Example:
        >>> point, stride, anchor = torch.tensor([[2.0, 3.0]]), torch.tensor([8.0]), torch.tensor([[16.0, 4.0]])
        >>> decode_cells(torch.zeros(1, 4), point, stride, anchor).tolist()
        [[12.0, 26.0, 28.0, 30.0]]
    """
    offsets = _cell_position(raw[..., :2], xy_scale)
    if size == "exp":
        sides = anchors * raw[..., 2:].clamp(max=MAX_LOG_SIZE).exp()
    else:
        sides = anchors * (2 * raw[..., 2:].sigmoid()) ** 2
    centres = (points + offsets) * strides[..., None]
    return torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)


def cell_offsets(raw: Tensor, xy_scale: Tensor | float = 1.0, size: SizeCoding = "exp") -> Tensor:
    """Where in its cell a predicted centre lies, and the logarithm of its sides over the anchor's.

    The squared error losses of YOLOv2 and v3 compare these with those of the object.

    Args:
        raw: (..., N, 4), predicted codes.
        xy_scale: As in :func:`decode_cells`.
        size: Coding of the sides.

    Returns:
        (..., N, 4): x and y in cells from the cell's corner, logarithms of width and height.

    Example:
        >>> cell_offsets(torch.tensor([[0.0, 0.0, 0.5, 0.0]])).tolist()
        [[0.5, 0.5, 0.5, 0.0]]
    """
    sides = raw[..., 2:] if size == "exp" else 2 * (math.log(2) + F.logsigmoid(raw[..., 2:]))
    return torch.cat((_cell_position(raw[..., :2], xy_scale), sides), dim=-1)


def encode_cells(
    boxes_xyxy: Tensor,
    points: Tensor,
    strides: Tensor,
    anchors: Tensor,
    xy_scale: Tensor | float = 1.0,
    size: SizeCoding = "exp",
) -> Tensor:
    """Codes of boxes relative to grid cells and anchors: inverse of :func:`decode_cells` as far as there is one.

    A centre out of the cell's reach, or a side out of the anchor's, gets the nearest code that can be decoded again.

    Args:
        boxes_xyxy: (..., N, 4), pixels.
        points: (N, 2) or (..., N, 2), column and row of the grid cell.
        strides: (N,) or (..., N), pixels.
        anchors: (N, 2) or (..., N, 2), width and height, pixels.
        xy_scale: As in :func:`decode_cells`.
        size: Coding of the sides.

    Returns:
        Codes, (..., N, 4).

    Example:
        >>> point, stride, anchor = torch.tensor([[2.0, 3.0]]), torch.tensor([8.0]), torch.tensor([[16.0, 4.0]])
        >>> encode_cells(torch.tensor([[12.0, 26.0, 28.0, 30.0]]), point, stride, anchor).tolist()
        [[0.0, 0.0, 0.0, 0.0]]
    """
    cxcywh = xyxy_to_cxcywh(boxes_xyxy)
    scale = xy_scale[..., None] if isinstance(xy_scale, Tensor) else xy_scale
    position = cxcywh[..., :2] / strides[..., None] - points
    centres = ((position + (scale - 1) / 2) / scale).clamp(_SIGMOID_MARGIN, 1 - _SIGMOID_MARGIN).logit()
    ratio = (cxcywh[..., 2:] / anchors).clamp(min=_SMALLEST_SIDE)
    root = (ratio.sqrt() / 2).clamp(_SIGMOID_MARGIN, 1 - _SIGMOID_MARGIN)
    sides = ratio.log() if size == "exp" else root.logit()
    return torch.cat((centres, sides), dim=-1)


def _cell_position(raw_xy: Tensor, xy_scale: Tensor | float) -> Tensor:
    scale = xy_scale[..., None] if isinstance(xy_scale, Tensor) else xy_scale
    return raw_xy.sigmoid() * scale - (scale - 1) / 2
