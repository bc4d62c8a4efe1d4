"""Whether a classifier is as often right as it says: calibration errors, and the curve behind a reliability plot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["adaptive_calibration_error", "calibration_error"]


def calibration_error(confidence: NDArray[Any], right: NDArray[Any], bins: int = 15) -> tuple[float, dict[str, Any]]:
    """How far confidence is from the share that is right, over bins of equal width (Guo et al. 2017, equation 3).

    A bin holds its upper edge and not its lower one, as in the paper; 0 belongs to the first.

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,) whether it was the true one.
        bins: How many, over 0..1.

    Returns:
        The error, 0..1 (NaN for nothing), and the curve of accuracy over confidence.
    """
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, bins - 1)
    return _error_of_bins(np.asarray(confidence, np.float64), np.asarray(right, np.float64), places, bins)


def adaptive_calibration_error(
    confidence: NDArray[Any], right: NDArray[Any], bins: int = 15
) -> tuple[float, dict[str, Any]]:
    """The same over bins that hold equally many images (Nguyen and O'Connor 2015; Nixon et al. 2019).

    Networks are sure of most images, which leaves most bins of equal width nearly empty. Equal confidences share a
    bin, so that the error does not depend on the order of the images.

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,) whether it was the true one.
        bins: How many.

    Returns:
        The error, 0..1 (NaN for nothing), and the curve of accuracy over confidence.
    """
    confidence = np.asarray(confidence, np.float64)
    if not len(confidence):
        return _error_of_bins(confidence, confidence, np.zeros(0, np.int64), bins)
    firsts = np.arange(1, bins) * len(confidence) // bins
    places = np.searchsorted(np.sort(confidence)[firsts], confidence, side="right")
    return _error_of_bins(confidence, np.asarray(right, np.float64), places, bins)


def _error_of_bins(
    confidence: NDArray[np.float64], right: NDArray[np.float64], places: NDArray[np.int64], bins: int
) -> tuple[float, dict[str, Any]]:
    number = np.bincount(places, minlength=bins)
    filled = number > 0
    sure = np.bincount(places, weights=confidence, minlength=bins)[filled] / number[filled]
    accuracy = np.bincount(places, weights=right, minlength=bins)[filled] / number[filled]
    error = (
        float(np.sum(number[filled] / len(confidence) * np.abs(sure - accuracy))) if len(confidence) else float("nan")
    )
    curve = {
        "x": sure.tolist(),
        "y": {"model": accuracy.tolist(), "perfect": sure.tolist()},
        "xlabel": "confidence",
        "ylabel": "accuracy",
    }
    return error, curve
