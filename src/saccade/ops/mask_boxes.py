"""Tight boxes around masks, in continuous pixel coordinates."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["box_of_mask", "boxes_of_masks"]


def box_of_mask(mask: NDArray[Any]) -> tuple[float, float, float, float]:
    """Tight box around the non-zero pixels of a mask.

    Pixel ``i`` covers ``[i, i + 1]``, so the box of a single pixel has an area of 1.

    Args:
        mask: (H, W), bool or whole numbers.

    Returns:
        x1, y1, x2, y2; four zeros for an empty mask.

    Example:
        >>> mask = np.zeros((4, 6), bool)
        >>> mask[1:3, 2:5] = True
        >>> box_of_mask(mask)
        (2.0, 1.0, 5.0, 3.0)
    """
    if not mask.size:
        return 0.0, 0.0, 0.0, 0.0
    pixels = mask if mask.dtype.itemsize == 1 else mask != 0
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(pixels).view(np.uint8))
    return float(x), float(y), float(x + width), float(y + height)


def boxes_of_masks(masks: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tight boxes around masks, and their areas.

    Args:
        masks: (N, H, W), bool or whole numbers.

    Returns:
        Boxes (N, 4) xyxy and counts of pixels (N,); zeros for an empty mask.

    Example:
        >>> boxes, areas = boxes_of_masks(np.eye(3, dtype=bool)[None])
        >>> boxes.tolist(), areas.tolist()
        ([[0.0, 0.0, 3.0, 3.0]], [3.0])
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    areas = np.zeros(len(masks), np.float32)
    for row, mask in enumerate(masks):
        boxes[row] = box_of_mask(mask)
        areas[row] = np.count_nonzero(mask)
    return boxes, areas
