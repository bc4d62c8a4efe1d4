"""Cells that a segmentation did not keep apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.ops.border_weights import label_cells

__all__ = ["CellCounts", "count_cells"]


class CellCounts(NamedTuple):
    """Cells of an image, and how many predicted ones are several: result of :func:`count_cells`.

    Attributes:
        true: Cells of the ground truth.
        predicted: Cells of the prediction.
        merged: Predicted cells that cover more than one true cell.

    Example:
        >>> CellCounts(true=3, predicted=2, merged=1).merged
        1
    """

    true: int
    predicted: int
    merged: int


def count_cells(predicted: NDArray[Any], ground_truth: NDArray[Any], share: float = 0.5) -> CellCounts:
    """Count the cells of two label maps, and the predicted ones in which true ones are merged.

    Cells are the connected parts of every class but class 0 (:func:`saccade.ops.border_weights.label_cells`). A
    predicted cell covers a true one if it holds more than ``share`` of its pixels, so a cell that merely leaks into its
    neighbour is not merged with it.

    Args:
        predicted: (H, W) label map.
        ground_truth: (H, W) label map, 255 where nothing is known.
        share: Of a true cell, 0..1.

    Raises:
        ValueError: If the maps differ in size.

    Example:
        >>> truth = np.array([[1, 1, 0, 1, 1, 0, 1]])
        >>> count_cells(np.array([[1, 1, 1, 1, 1, 0, 1]]), truth)
        CellCounts(true=3, predicted=2, merged=1)
    """
    if predicted.shape != ground_truth.shape:
        raise ValueError(f"the maps have the sizes {predicted.shape} and {ground_truth.shape}; they must be equal.")
    found, true = label_cells(predicted), label_cells(ground_truth)
    count, size = int(found.max(initial=0)), int(true.max(initial=0))
    joint = np.zeros((count + 1, size + 1), np.int64)
    np.add.at(joint, (found.ravel(), true.ravel()), 1)
    pixels = np.bincount(true.ravel(), minlength=size + 1)
    covered = joint[1:, 1:] > share * pixels[1:]
    return CellCounts(size, count, int((covered.sum(axis=1) > 1).sum()))
