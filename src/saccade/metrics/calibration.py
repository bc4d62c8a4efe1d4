"""Calibration errors of a classifier, and the curve of a reliability diagram."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["adaptive_calibration_error", "calibration_error"]


def calibration_error(confidence: NDArray[Any], correct: NDArray[Any], bins: int = 15) -> tuple[float, dict[str, Any]]:
    """Expected calibration error (ECE): gap between confidence and accuracy, over bins of equal width.

    Guo et al. 2017, equation 3. A bin holds its upper edge and not its lower one, as in the paper; 0 belongs to the
    first.

    Args:
        confidence: (N,) probability of the predicted class.
        correct: (N,) whether the predicted class is the true one.
        bins: Number of bins over 0..1.

    Returns:
        The error, 0..1 (NaN without images), and the curve of accuracy over confidence.

    Example:
        >>> error, curve = calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 1, 0]), bins=5)
        >>> round(error, 2), curve["y"]["model"]
        (0.1, [0.5, 1.0])
    """
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, bins - 1)
    return _error_of_bins(np.asarray(confidence, np.float64), np.asarray(correct, np.float64), bin_of, bins)


def adaptive_calibration_error(
    confidence: NDArray[Any], correct: NDArray[Any], bins: int = 15
) -> tuple[float, dict[str, Any]]:
    """Adaptive calibration error: gap between confidence and accuracy, over bins with equally many images.

    Nguyen and O'Connor 2015; Nixon et al. 2019. Most predictions have a confidence near 1, which leaves most bins of
    equal width nearly empty. Equal confidences share a bin, so that the error does not depend on the order of the
    images.

    Args:
        confidence: (N,) probability of the predicted class.
        correct: (N,) whether the predicted class is the true one.
        bins: Number of bins.

    Returns:
        The error, 0..1 (NaN without images), and the curve of accuracy over confidence.

    Example:
        >>> error, _ = adaptive_calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 1, 0]), bins=2)
        >>> round(error, 2)
        0.1
    """
    confidence = np.asarray(confidence, np.float64)
    if not len(confidence):
        return _error_of_bins(confidence, confidence, np.zeros(0, np.int64), bins)
    firsts = np.arange(1, bins) * len(confidence) // bins
    bin_of = np.searchsorted(np.sort(confidence)[firsts], confidence, side="right")
    return _error_of_bins(confidence, np.asarray(correct, np.float64), bin_of, bins)


def _error_of_bins(
    confidence: NDArray[np.float64], correct: NDArray[np.float64], bin_of: NDArray[np.int64], bins: int
) -> tuple[float, dict[str, Any]]:
    count = np.bincount(bin_of, minlength=bins)
    filled = count > 0
    mean = np.bincount(bin_of, weights=confidence, minlength=bins)[filled] / count[filled]
    accuracy = np.bincount(bin_of, weights=correct, minlength=bins)[filled] / count[filled]
    error = (
        float(np.sum(count[filled] / len(confidence) * np.abs(mean - accuracy))) if len(confidence) else float("nan")
    )
    curve = {
        "x": mean.tolist(),
        "y": {"model": accuracy.tolist(), "perfect": mean.tolist()},
        "xlabel": "confidence",
        "ylabel": "accuracy",
    }
    return error, curve
