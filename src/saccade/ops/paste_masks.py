"""Masks that a network predicts on a grid over each box, as pixels of the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.ops.packed_masks import PackedMasks

__all__ = ["paste_masks", "paste_packed"]


def paste_masks(
    grids: NDArray[Any], boxes_xyxy: NDArray[Any], size: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    """Interpolate masks over their boxes bilinearly and threshold them (He et al. 2017, section 3.1, "Inference").

    The grid's cells divide the box evenly. Beyond the centres of the outer cells a mask falls towards 0, which it would
    reach half a cell outside of the box; there it is 0.

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
    masks = np.zeros((len(grids), *size), np.bool_)
    for mask, ((x1, y1, x2, y2), crop) in zip(masks, _crops(grids, boxes_xyxy, size, threshold), strict=True):
        mask[y1:y2, x1:x2] = crop
    return masks


def paste_packed(
    grids: NDArray[Any], boxes_xyxy: NDArray[Any], size: tuple[int, int], threshold: float = 0.5
) -> PackedMasks:
    """The masks of :func:`paste_masks` for large images: a bit for each pixel of the box, in place of whole images.

    Args:
        grids: (N, m, m) probabilities.
        boxes_xyxy: (N, 4), pixels.
        size: (height, width) of the image.
        threshold: Probability from which on a pixel belongs to the object.

    Example:
        >>> masks = paste_packed(np.ones((1, 2, 2)), np.array([[1.0, 0, 3, 2]]), (30_000, 40_000))
        >>> masks.shape, masks.bits.nbytes
        ((1, 30000, 40000), 1)
    """
    windows, lengths, bits = np.zeros((len(grids), 4), np.int64), [0], [np.zeros(0, np.uint8)]
    for number, (window, crop) in enumerate(_crops(grids, boxes_xyxy, size, threshold)):
        windows[number] = window
        bits.append(np.packbits(crop))
        lengths.append(len(bits[-1]))
    return PackedMasks(size, windows, np.cumsum(lengths, dtype=np.int64), np.concatenate(bits))


def _crops(
    grids: NDArray[Any], boxes_xyxy: NDArray[Any], size: tuple[int, int], threshold: float
) -> Iterator[tuple[tuple[int, int, int, int], NDArray[np.bool_]]]:
    """Window x1, y1, x2, y2 of the pixels that each box touches, and its mask there."""
    height, width = size
    for grid, (x1, y1, x2, y2) in zip(grids, np.asarray(boxes_xyxy, np.float64), strict=True):
        left, right = max(int(np.floor(x1)), 0), min(int(np.ceil(x2)), width)
        top, bottom = max(int(np.floor(y1)), 0), min(int(np.ceil(y2)), height)
        if left >= right or top >= bottom:
            yield (0, 0, 0, 0), np.zeros((0, 0), np.bool_)
            continue
        rows = _weights(top, bottom, y1, y2, grid.shape[0])
        columns = _weights(left, right, x1, x2, grid.shape[1])
        yield (left, top, right, bottom), rows @ np.asarray(grid, np.float32) @ columns.T >= threshold


def _weights(start: int, end: int, low: float, high: float, cells: int) -> NDArray[np.float32]:
    """Bilinear weights (pixels, cells) of the pixels from ``start`` to ``end``; those outside the box have none."""
    centres = np.arange(start, end) + 0.5
    places = (centres - low) / max(high - low, 1e-9) * cells - 0.5
    weights = np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0)
    return (weights * ((centres >= low) & (centres <= high))[:, None]).astype(np.float32)
