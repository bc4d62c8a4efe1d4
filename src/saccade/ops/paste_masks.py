"""Masks that a network predicts on a grid over each box, as pixels of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["paste_masks"]


def paste_masks(
    grids: NDArray[Any], boxes_xyxy: NDArray[Any], size: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    """Interpolate masks over their boxes bilinearly and threshold them (He et al. 2017, section 3.1, "Inference").

    The grid's cells divide the box evenly; outside the box a mask is 0.

    Args:
        grids: (N, m, m) probabilities.
        boxes_xyxy: (N, 4), pixels.
        size: (height, width) of the image.
        threshold: Probability from which on a pixel belongs to the object.

    Returns:
        Masks, (N, height, width) bool.

    Example:
        >>> mask = paste_masks(np.ones((1, 2, 2)), np.array([[1.0, 0, 3, 2]]), (2, 4))[0]
        >>> mask.astype(int).tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    height, width = size
    masks = np.zeros((len(grids), height, width), np.bool_)
    for mask, grid, (x1, y1, x2, y2) in zip(masks, grids, np.asarray(boxes_xyxy, np.float64), strict=True):
        left, right = max(int(np.floor(x1)), 0), min(int(np.ceil(x2)), width)
        top, bottom = max(int(np.floor(y1)), 0), min(int(np.ceil(y2)), height)
        if left >= right or top >= bottom:
            continue
        rows = _weights(top, bottom, y1, y2, grid.shape[0])
        columns = _weights(left, right, x1, x2, grid.shape[1])
        mask[top:bottom, left:right] = rows @ np.asarray(grid, np.float64) @ columns.T >= threshold
    return masks


def _weights(start: int, end: int, low: float, high: float, cells: int) -> NDArray[np.float64]:
    """Bilinear weights (pixels, cells) of the pixels from ``start`` to ``end``; those outside the box have none."""
    centres = np.arange(start, end) + 0.5
    places = (centres - low) / max(high - low, 1e-9) * cells - 0.5
    weights = np.maximum(1 - np.abs(np.clip(places, 0, cells - 1)[:, None] - np.arange(cells)), 0)
    return weights * ((centres >= low) & (centres <= high))[:, None]
