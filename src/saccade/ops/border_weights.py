"""U-Net's weight of each pixel in the loss: gaps between touching cells count more, and rare classes.

Ronneberger et al., MICCAI 2015, arXiv 1505.04597, equation 2.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.structures.kinds import IGNORE_LABEL

__all__ = ["border_weights", "class_balance", "label_cells"]

_LEAST = 1e-7  # weights below are 0: beside those of the classes float32 would not hold them
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def label_cells(label_map: NDArray[Any]) -> NDArray[np.int32]:
    """Number the cells of a label map: the connected parts of every class but class 0, which lies between them.

    Parts that touch at a corner only are two cells, so that a line of single pixels separates them in any direction.

    Args:
        label_map: (H, W), 0 between the cells, 255 where nothing is known.

    Returns:
        (H, W), 1, 2, ... in the cells and 0 elsewhere.

    Example:
        >>> label_cells(np.array([[1, 1, 0, 1], [0, 0, 1, 0]]))
        array([[1, 1, 0, 2],
               [0, 0, 3, 0]], dtype=int32)
    """
    label_map = np.asarray(label_map)
    cells = np.zeros(label_map.shape, np.int32)
    count = 0
    for label in np.unique(label_map):
        if label in (0, IGNORE_LABEL):
            continue
        found, parts = cv2.connectedComponents((label_map == label).astype(np.uint8), connectivity=4)
        np.add(parts, count, out=cells, where=parts > 0, casting="unsafe")
        count += found - 1
    return cells


def border_weights(cells: NDArray[Any], weight: float = 10.0, sigma: float = 5.0) -> NDArray[np.float32]:
    """Weights of the gaps between cells: ``weight * exp(-(d1 + d2)^2 / (2 sigma^2))``.

    d1 is the distance from the pixel to the border of the nearest cell, d2 to that of the second nearest (equation 2,
    without its weights of classes). The border of a cell are its pixels beside one that is not of it; the edge of the
    image is none. Both distances come from one distance transform a cell, within the window where its weight is above
    1e-7; below it is 0.

    Args:
        cells: (H, W) number of the cell of each pixel, 0 outside (:func:`label_cells`).
        weight: w0.
        sigma: Pixels.

    Returns:
        (H, W).

    Example:
        >>> cells = np.array([[1, 1, 0, 2, 2, 2]])
        >>> border_weights(cells).round(2)  # in the gap d1 + d2 = 1 + 1: 10 exp(-4 / 50)
        array([[7.26, 9.23, 9.23, 9.23, 7.26, 4.87]], dtype=float32)
    """
    from scipy.ndimage import find_objects

    cells = np.asarray(cells).astype(np.int32, copy=False)
    nearest, second = np.full((2, *cells.shape), np.inf)
    reach = math.ceil(sigma * math.sqrt(2 * math.log(weight / _LEAST))) + 1 if weight > _LEAST else 0
    for number, box in enumerate(find_objects(cells), start=1):
        if box is None:
            continue
        window = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in box)
        inside = (cells[window] == number).astype(np.uint8)
        border = inside - cv2.erode(inside, _CROSS)  # beyond the window's edge erosion sees what is inside
        if not border.any():
            continue
        # OpenCV's last bit depends on where an array lies in memory; squares of distances are whole numbers.
        distance = cv2.distanceTransform(1 - border, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
        distance = np.sqrt(np.rint(distance**2))
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    weights = weight * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return np.where(weights < _LEAST, 0, weights).astype(np.float32)


def class_balance(counts: NDArray[Any]) -> NDArray[np.float32]:
    """Weight of each class that makes all of them count alike: the mean over all pixels is 1.

    Args:
        counts: (C,) pixels of each class in the training images; a class without any gets 0.

    Returns:
        (C,).

    Example:
        >>> class_balance(np.array([100, 300]))
        array([2.       , 0.6666667], dtype=float32)
    """
    counts = np.asarray(counts, np.float64)
    present = counts > 0
    total = counts.sum() / max(present.sum(), 1)
    return np.divide(total, counts, out=np.zeros_like(counts), where=present).astype(np.float32)
