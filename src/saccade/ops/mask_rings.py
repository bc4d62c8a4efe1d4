"""Outlines of masks, along the edges of pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["rings_of"]


def rings_of(mask: NDArray[Any]) -> tuple[list[NDArray[np.float64]], list[bool]]:
    """Trace the outline of a mask along the edges of its pixels; filled, the rings give the mask again.

    Args:
        mask: (H, W), non-zero inside.

    Returns:
        Rings (P, 2) of corners xy, and for each whether it is a hole.

    Example:
        >>> rings, holes = rings_of(np.pad(np.ones((2, 3)), 1))
        >>> rings[0].tolist(), holes
        ([[1.0, 1.0], [1.0, 3.0], [4.0, 3.0], [4.0, 1.0]], [False])
    """
    inside = (np.asarray(mask) != 0).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(inside)
    if not width:
        return [], []
    # OpenCV follows the centres of the outermost pixels. Where each pixel is three by three, those centres lie in the
    # first or the last third of a pixel, which identifies the edge.
    large = np.kron(inside[top : top + height, left : left + width], np.ones((3, 3), np.uint8))
    found, tree = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = []
    for contour in found:
        corners = (contour.reshape(-1, 2) + 1) // 3 + (left, top)
        moved = (corners != np.roll(corners, 1, axis=0)).any(axis=1)
        rings.append(corners[moved].astype(np.float64))
    return rings, [bool(parent >= 0) for _, _, _, parent in tree[0]]
