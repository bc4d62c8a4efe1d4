"""Measures of one saliency map against its mask, equal to ``py_sod_metrics``.

*The map.* Authors publish saliency maps as 8-bit images, and the tools stretch each from its smallest to its largest
value before they score it; :func:`normalize_map` does both. A map of one value everywhere is left as it is.

*Thresholds.* There are 256, k / 255: a pixel is foreground at the k-th if the whole part of 255 times its value is at
least k. All that depends on thresholds alone follows from two histograms (:func:`threshold_counts`), without 256 passes
over the pixels.

The small number that keeps denominators from zero is that of the published code (MATLAB's ``eps``); it is seen in the
E-measure of tiny objects.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ThresholdCounts",
    "adaptive_threshold",
    "e_measure",
    "f_measure",
    "normalize_map",
    "precision_recall",
    "s_measure",
    "threshold_counts",
    "weighted_f_measure",
]

_EPS = float(np.spacing(1.0))
_HALF_DISTANCE = 5.0  # pixels from the object within which a false alarm's cost rises by half (Margolin's delta)
_REACH = 3  # half of the 7x7 window over which errors inside an object are smoothed
_SIGMA = 5.0

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]


class ThresholdCounts(NamedTuple):
    """Pixels found, at one threshold or many.

    Attributes:
        hits: Foreground pixels that are found, any shape.
        false_alarms: Background pixels that are found, the same shape.
        foreground: Foreground pixels of the ground truth.
        background: Background pixels of the ground truth.
    """

    hits: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    foreground: int
    background: int


def normalize_map(prediction: NDArray[Any]) -> Map:
    """A saliency map as the tools score it: 8 bits, stretched to 0..1.

    Args:
        prediction: Any shape: uint8, or probabilities, which are rounded to multiples of 1/255.

    Returns:
        The same shape, float64; unchanged but for the rounding if all values are equal.
    """
    stored = np.asarray(prediction)
    if stored.dtype != np.uint8:
        stored = np.rint(np.clip(stored, 0.0, 1.0) * 255.0).astype(np.uint8)
    if not stored.size:
        return stored.astype(np.float64)
    levels = np.arange(256) / 255
    low, high = levels[stored.min()], levels[stored.max()]
    if high > low:
        levels = (levels - low) / (high - low)
    return levels[stored]


def threshold_counts(prediction: Map, ground_truth: Mask) -> ThresholdCounts:
    """Pixels found at all 256 thresholds, (256,) each, by rising threshold.

    Args:
        prediction: Normalised map, any shape.
        ground_truth: Mask of that shape.
    """
    steps = (prediction * 255).astype(np.uint8).astype(np.int64)
    pixels = np.bincount((steps + 256 * ground_truth).ravel(), minlength=512).reshape(2, 256)
    false_alarms, hits = np.cumsum(pixels[:, ::-1], axis=1)[:, ::-1]
    return ThresholdCounts(hits, false_alarms, int(pixels[1].sum()), int(pixels[0].sum()))


def adaptive_threshold(prediction: Map, ground_truth: Mask) -> ThresholdCounts:
    """Pixels found at twice the map's mean value, at most 1 (Achanta et al. 2009, section 5).

    Args:
        prediction: Normalised map, any shape.
        ground_truth: Mask of that shape.
    """
    found = prediction >= min(2 * float(prediction.mean()), 1.0)
    hits, foreground = np.count_nonzero(found & ground_truth), int(np.count_nonzero(ground_truth))
    false_alarms = np.count_nonzero(found) - hits
    return ThresholdCounts(np.array(hits), np.array(false_alarms), foreground, ground_truth.size - foreground)


def precision_recall(counts: ThresholdCounts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of the counts; 0 where nothing is found, or nothing is there."""
    found = counts.hits + counts.false_alarms
    return counts.hits / np.maximum(found, 1), counts.hits / max(counts.foreground, 1)


def f_measure(counts: ThresholdCounts, beta_squared: float = 0.3) -> NDArray[np.float64]:
    """F-measure of the counts (Achanta et al. 2009, equation 6); 0 where nothing is hit.

    Args:
        counts: Of one image.
        beta_squared: Weight of precision, beta^2.
    """
    precision, recall = precision_recall(counts)
    hit = counts.hits > 0
    return (1 + beta_squared) * precision * recall / np.where(hit, beta_squared * precision + recall, 1.0)


def e_measure(counts: ThresholdCounts) -> NDArray[np.float64]:
    """E-measure of the counts (Fan et al., "Enhanced-alignment Measure for Binary Foreground Map Evaluation", 2018).

    The alignment of a pixel depends only on whether it is found and whether it is foreground, so four counts stand for
    all pixels. As published, the sum is divided by the number of pixels less one: a perfect map scores a trace above 1.

    Args:
        counts: Of one image.
    """
    size = counts.foreground + counts.background
    found = counts.hits + counts.false_alarms
    if counts.foreground == 0:
        total = (size - found).astype(np.float64)
    elif counts.background == 0:
        total = found.astype(np.float64)
    else:
        found_mean, true_mean = found / size, counts.foreground / size
        total = np.zeros(found.shape)
        for is_found, is_true, number in (
            (1, 1, counts.hits),
            (1, 0, counts.false_alarms),
            (0, 1, counts.foreground - counts.hits),
            (0, 0, counts.background - counts.false_alarms),
        ):
            a, b = is_found - found_mean, is_true - true_mean
            alignment = 2 * a * b / (a**2 + b**2 + _EPS)
            total = total + (alignment + 1) ** 2 / 4 * number
    return total / max(size - 1, 1)


def s_measure(prediction: Map, ground_truth: Mask, alpha: float = 0.5) -> float:
    """S-measure: likeness of structure (Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps", 2017).

    Args:
        prediction: Normalised map, (H, W).
        ground_truth: Mask, (H, W).
        alpha: Weight of the object's part; the rest is the regions'.

    Returns:
        0..1. Where the published code divides zero by zero (the object lies in the last row or column only, so that
        two of its four regions are empty), empty regions count nothing.
    """
    share = float(np.mean(ground_truth))
    if share == 0:
        return 1 - float(np.mean(prediction))
    if share == 1:
        return float(np.mean(prediction))
    # Equations 4 to 6: foreground and background, each the more alike the higher and evener its values are.
    objects = share * _evenness(prediction[ground_truth]) + (1 - share) * _evenness((1 - prediction)[~ground_truth])
    return max(0.0, alpha * objects + (1 - alpha) * _region_similarity(prediction, ground_truth))


def _evenness(values: Map) -> float:
    mean = float(np.mean(values))
    deviation = float(np.std(values, ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation + _EPS)


def _region_similarity(prediction: Map, ground_truth: Mask) -> float:
    """Structural similarity of the four regions around the centroid of the foreground, weighted by their areas."""
    height, width = ground_truth.shape
    rows, columns = np.count_nonzero(ground_truth, axis=1), np.count_nonzero(ground_truth, axis=0)
    number = rows.sum()
    # The row and the column of the centroid belong to the upper left regions.
    row = round(float(rows @ np.arange(height) / number)) + 1
    column = round(float(columns @ np.arange(width) / number)) + 1
    total = 0.0
    for region in (np.s_[:row, :column], np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:]):
        if ground_truth[region].size:
            total += (
                ground_truth[region].size / ground_truth.size * _similarity(prediction[region], ground_truth[region])
            )
    return total


def _similarity(prediction: Map, ground_truth: Mask) -> float:
    """Structural similarity of two regions (equation 1, its three factors in one)."""
    x, y = float(np.mean(prediction)), float(np.mean(ground_truth))
    away_x, away_y = prediction - x, ground_truth - y
    degrees = ground_truth.size - 1 + _EPS
    variances = float(np.sum(away_x**2)) / degrees + float(np.sum(away_y**2)) / degrees
    covariance = float(np.sum(away_x * away_y)) / degrees
    numerator, denominator = 4 * x * y * covariance, (x**2 + y**2) * variances
    if numerator != 0:
        return numerator / (denominator + _EPS)
    return 1.0 if denominator == 0 else 0.0


def weighted_f_measure(prediction: Map, ground_truth: Mask, beta_squared: float = 1.0) -> float:
    """Weighted F-measure (Margolin, Zelnik-Manor and Tal, "How to Evaluate Foreground Maps?", 2014).

    Errors inside an object that their neighbourhood makes up for count less; false alarms count more the farther they
    are from the object.

    Args:
        prediction: Normalised map, (H, W).
        ground_truth: Mask, (H, W).
        beta_squared: Weight of precision, beta^2.

    Returns:
        0..1; 0 if the mask is empty.
    """
    import cv2

    if not ground_truth.any():
        return 0.0
    error = np.abs(prediction - ground_truth)
    offsets = np.arange(-_REACH, _REACH + 1)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * _SIGMA**2))
    extended = _extend(error, ground_truth)
    smoothed = cv2.filter2D(extended, -1, window / window.sum(), borderType=cv2.BORDER_CONSTANT)
    inside = np.minimum(error[ground_truth], smoothed[ground_truth])
    distances = cv2.distanceTransform((~ground_truth).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[
        ~ground_truth
    ]
    # Squares of distances between pixels are whole numbers, which float32 roots are not.
    exact = np.sqrt(np.rint(distances.astype(np.float64) ** 2))
    outside = error[~ground_truth] * (2 - np.exp(np.log(0.5) / _HALF_DISTANCE * exact))

    hits = inside.size - float(inside.sum())
    precision, recall = hits / (hits + float(outside.sum()) + _EPS), 1 - float(inside.mean())
    return (1 + beta_squared) * recall * precision / (recall + beta_squared * precision + _EPS)


def _extend(error: Map, ground_truth: Mask) -> Map:
    """Errors in which pixels just outside the object have that of its nearest pixel, so that the rim smooths itself.

    Of several nearest pixels it is the leftmost, then the topmost, which is what the tool's distance transform finds.
    Only pixels that the smoothing reaches are filled.
    """
    import cv2

    side = 2 * _REACH + 1
    rim = (cv2.dilate(ground_truth.astype(np.uint8), np.ones((side, side), np.uint8)) > 0) & ~ground_truth
    margin = _REACH + 1  # two reaches along the diagonal are less than five pixels
    known = np.pad(ground_truth, margin)
    width = known.shape[1]
    extended = np.pad(error, margin)
    flat, known = extended.reshape(-1), known.reshape(-1)
    rows, columns = np.nonzero(rim)
    places = (rows + margin) * width + columns + margin
    steps = range(-margin, margin + 1)
    for _, dx, dy in sorted((x * x + y * y, x, y) for x in steps for y in steps):
        there = known[places + dy * width + dx]
        flat[places[there]] = flat[places[there] + dy * width + dx]
        places = places[~there]
        if not len(places):
            break
    return np.ascontiguousarray(extended[margin:-margin, margin:-margin])
