"""Boxes: formats, area, clipping.

A box is four numbers in the last dimension; the format is in the name: ``xyxy`` (corners), ``xywh`` (top left corner
and size), ``cxcywh`` (centre and size). Coordinates are continuous pixels: the box of a single pixel at the origin is
(0, 0, 1, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "box_area",
    "clip_boxes",
    "cxcywh_to_xyxy",
    "xywh_to_xyxy",
    "xyxy_to_cxcywh",
    "xyxy_to_xywh",
]


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Centre and size to corners; (..., 4).

    Example:
        >>> cxcywh_to_xyxy(torch.tensor([5.0, 4.0, 6.0, 2.0])).tolist()
        [2.0, 3.0, 8.0, 5.0]
    """
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    half = size / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Corners to centre and size; (..., 4).

    Example:
        >>> xyxy_to_cxcywh(torch.tensor([2.0, 3.0, 8.0, 5.0])).tolist()
        [5.0, 4.0, 6.0, 2.0]
    """
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def xywh_to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """Top left corner and size (COCO's format) to corners; (..., 4).

    Example:
        >>> xywh_to_xyxy(torch.tensor([2.0, 3.0, 6.0, 2.0])).tolist()
        [2.0, 3.0, 8.0, 5.0]
    """
    corner, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return torch.cat((corner, corner + size), dim=-1)


def xyxy_to_xywh(boxes_xyxy: Tensor) -> Tensor:
    """Corners to top left corner and size (COCO's format); (..., 4).

    Example:
        >>> xyxy_to_xywh(torch.tensor([2.0, 3.0, 8.0, 5.0])).tolist()
        [2.0, 3.0, 6.0, 2.0]
    """
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat((low, high - low), dim=-1)


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """Area in square pixels; (..., 4) -> (...). Boxes with a negative side have area 0.

    Example:
        >>> box_area(torch.tensor([[2.0, 3.0, 8.0, 5.0], [5.0, 5.0, 3.0, 3.0]])).tolist()
        [12.0, 0.0]
    """
    size = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0)
    return size[..., 0] * size[..., 1]


def clip_boxes(boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip boxes to the image.

    Args:
        boxes_xyxy: (..., 4), pixels.
        size: (height, width) of the image.

    Returns:
        (..., 4), inside [0, width] x [0, height].

    Example:
        >>> clip_boxes(torch.tensor([-3.0, 2.0, 70.0, 40.0]), (32, 64)).tolist()
        [0.0, 2.0, 64.0, 32.0]
    """
    height, width = size
    x1, y1, x2, y2 = boxes_xyxy.unbind(-1)
    return torch.stack((x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)), dim=-1)
