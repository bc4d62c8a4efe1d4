"""Intersection and IoU of boxes in NumPy, for code that works on arrays: evaluation, merging, crops, drawing.

Tensors have :mod:`saccade.ops.iou`. Leading dimensions broadcast: (N, 4) and (N, 4) compare each box with its partner,
(N, 1, 4) and (M, 4) every box with every other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_intersection", "box_iou"]

Array = NDArray[Any]


def box_intersection(boxes1_xyxy: Array, boxes2_xyxy: Array) -> Array:
    """Area that two boxes share.

    Args:
        boxes1_xyxy: (..., 4), x1 <= x2, any unit.
        boxes2_xyxy: (..., 4), in the same unit; leading dimensions broadcast.

    Returns:
        (...), of the boxes' type; 0 where they do not overlap or a coordinate is NaN.

    Example:
        >>> box_intersection(np.array([0, 0, 2, 2]), np.array([[1, 0, 3, 2], [5, 5, 6, 6]]))
        array([2, 0])
    """
    sides = np.minimum(boxes1_xyxy[..., 2:], boxes2_xyxy[..., 2:])
    sides = sides - np.maximum(boxes1_xyxy[..., :2], boxes2_xyxy[..., :2])
    shared: Array = np.where((sides > 0).all(axis=-1), sides[..., 0] * sides[..., 1], 0)
    return shared


def box_iou(boxes1_xyxy: Array, boxes2_xyxy: Array) -> NDArray[np.float64]:
    """Intersection over union of two boxes.

    Args:
        boxes1_xyxy: (..., 4), x1 <= x2, any unit.
        boxes2_xyxy: (..., 4), in the same unit; leading dimensions broadcast.

    Returns:
        (...) in 0..1; 0 for two empty boxes.

    Example:
        >>> boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
        >>> box_iou(boxes[:2, None], boxes).round(2)
        array([[1.  , 0.33, 0.  ],
               [0.33, 1.  , 0.  ]])
    """
    shared = box_intersection(boxes1_xyxy, boxes2_xyxy)
    union = _area(boxes1_xyxy) + _area(boxes2_xyxy) - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(shared.shape), where=shared > 0)
    return iou


def _area(boxes_xyxy: Array) -> Array:
    area: Array = (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])
    return area
