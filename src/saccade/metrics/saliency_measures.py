"""Measures of one saliency map against its mask, equal to ``py_sod_metrics``.

*The map.* Saliency maps are published as 8-bit images, and the tools stretch each from its smallest to its largest
value before they score it; :func:`normalize_map` does both. A constant map is left as it is.

*Thresholds.* There are 256, k / 255: a pixel is foreground at the k-th if the whole part of 255 times its value is at
least k. All that depends on thresholds alone follows from two histograms (:func:`threshold_counts`), without 256 passes
over the pixels.

The small number that keeps denominators from zero is that of the published code (MATLAB's ``eps``); it shows in the
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
    """True and false positive pixels, at one threshold or many.

    Attributes:
        hits: Foreground pixels that are found, any shape.
        false_alarms: Background pixels that are found, the same shape.
        foreground: Foreground pixels of the ground truth.
        background: Background pixels of the ground truth.

    Example:
        >>> counts = ThresholdCounts(np.array([4, 3]), np.array([12, 1]), foreground=4, background=12)
        >>> precision_recall(counts)
        (array([0.25, 0.75]), array([1.  , 0.75]))
    """

    hits: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    foreground: int
    background: int


def normalize_map(prediction: NDArray[Any]) -> Map:
    """Round a saliency map to 8 bits and stretch it to 0..1, as the tools do before they score it.

    Args:
        prediction: Any shape: uint8, or probabilities, which are rounded to multiples of 1/255.

    Returns:
        The same shape, float64; unchanged but for the rounding if all values are equal.

    Example:
        >>> normalize_map(np.array([0.2, 0.4, 0.6]))
        array([0. , 0.5, 1. ])
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
    """Count the pixels found at all 256 thresholds, (256,) each, by rising threshold.

    Args:
        prediction: Normalised map, any shape.
        ground_truth: Mask of that shape.

    Example:
        >>> counts = threshold_counts(np.array([0.0, 0.5, 1.0, 1.0]), np.array([False, False, True, True]))
        >>> counts.hits[[0, 100, 200]], counts.false_alarms[[0, 100, 200]]
        (array([2, 2, 2]), array([2, 1, 0]))
    """
    levels = (prediction * 255).astype(np.uint8).astype(np.int64)
    pixels = np.bincount((levels + 256 * ground_truth).ravel(), minlength=512).reshape(2, 256)
    false_alarms, hits = np.cumsum(pixels[:, ::-1], axis=1)[:, ::-1]
    return ThresholdCounts(hits, false_alarms, int(pixels[1].sum()), int(pixels[0].sum()))


def adaptive_threshold(prediction: Map, ground_truth: Mask) -> ThresholdCounts:
    """Count the pixels found at twice the map's mean value, at most 1 (Achanta et al. 2009, section 5).

    Args:
        prediction: Normalised map, any shape.
        ground_truth: Mask of that shape.

    Example:
        >>> adaptive_threshold(np.array([0.0, 0.2, 0.2, 1.0]), np.array([False, False, True, True]))
        ThresholdCounts(hits=array(1), false_alarms=array(0), foreground=2, background=2)
    """
    found = prediction >= min(2 * float(prediction.mean()), 1.0)
    hits, foreground = np.count_nonzero(found & ground_truth), int(np.count_nonzero(ground_truth))
    false_alarms = np.count_nonzero(found) - hits
    return ThresholdCounts(np.array(hits), np.array(false_alarms), foreground, ground_truth.size - foreground)


def precision_recall(counts: ThresholdCounts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute precision and recall of counts; 0 where nothing is found, or there is no foreground.

    Example:
        >>> precision_recall(ThresholdCounts(np.array([3]), np.array([1]), foreground=4, background=12))
        (array([0.75]), array([0.75]))
    """
    found = counts.hits + counts.false_alarms
    return counts.hits / np.maximum(found, 1), counts.hits / max(counts.foreground, 1)


def f_measure(counts: ThresholdCounts, beta_squared: float = 0.3) -> NDArray[np.float64]:
    """Compute the F-measure of counts (Achanta et al. 2009, equation 6); 0 where nothing is hit.

    Args:
        counts: Counts of one image.
        beta_squared: Weight of precision, beta^2.

    Example:
        >>> f_measure(ThresholdCounts(np.array([3, 0]), np.array([1, 0]), foreground=4, background=12))
        array([0.75, 0.  ])
    """
    precision, recall = precision_recall(counts)
    hit = counts.hits > 0
    return (1 + beta_squared) * precision * recall / np.where(hit, beta_squared * precision + recall, 1.0)


def e_measure(counts: ThresholdCounts) -> NDArray[np.float64]:
    """Compute the E-measure of counts: enhanced alignment of binary maps (Fan et al. 2018).

    Fan et al., "Enhanced-alignment Measure for Binary Foreground Map Evaluation". The alignment of a pixel depends only
    on whether it is found and whether it is foreground, so four counts stand for all pixels. As published, the sum is
    divided by the number of pixels less one: a perfect map scores slightly above 1.

    Args:
        counts: Counts of one image.

    Example:
        >>> e_measure(ThresholdCounts(np.array([40, 20]), np.array([0, 20]), foreground=40, background=60)).round(3)
        array([1.01 , 0.607])
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
    """Compute the S-measure: structural similarity of objects and of regions (Fan et al. 2017).

    Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps".

    Args:
        prediction: Normalised map, (H, W).
        ground_truth: Mask, (H, W).
        alpha: Weight of the object term; the rest is that of the region term.

    Returns:
        0..1. Where the published code divides zero by zero (the object lies in the last row or column only, so that
        two of its four regions are empty), empty regions do not count.

    Example:
        >>> ground_truth = np.zeros((8, 8), bool)
        >>> ground_truth[2:6, 2:6] = True
        >>> round(s_measure(ground_truth.astype(float), ground_truth), 3)
        1.0
        >>> round(s_measure(np.roll(ground_truth, 2, axis=1).astype(float), ground_truth), 3)
        0.507
    """
    share = float(np.mean(ground_truth))
    if share == 0:
        return 1 - float(np.mean(prediction))
    if share == 1:
        return float(np.mean(prediction))
    # Equations 4 to 6: foreground and background, each more similar the higher and the more uniform its values are.
    objects = share * _uniformity(prediction[ground_truth]) + (1 - share) * _uniformity((1 - prediction)[~ground_truth])
    return max(0.0, alpha * objects + (1 - alpha) * _region_similarity(prediction, ground_truth))


def _uniformity(values: Map) -> float:
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
    """Compute the weighted F-measure: errors weighted by their neighbourhood and distance (Margolin et al. 2014).

    Margolin, Zelnik-Manor and Tal, "How to Evaluate Foreground Maps?". Errors inside an object count less if their
    neighbours are correct; false alarms count more the farther they are from the object.

    Args:
        prediction: Normalised map, (H, W).
        ground_truth: Mask, (H, W).
        beta_squared: Weight of precision, beta^2.

    Returns:
        0..1; 0 if the mask is empty.

    Example:
        >>> ground_truth = np.zeros((16, 16), bool)
        >>> ground_truth[4:12, 4:12] = True
        >>> prediction = ground_truth.astype(float)
        >>> prediction[6, 6] = 0.0  # a hole
        >>> round(weighted_f_measure(prediction, ground_truth), 4)
        0.9998
        >>> prediction[0] = 1.0  # far from the object
        >>> round(weighted_f_measure(prediction, ground_truth), 4)
        0.8459
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
    """Give pixels just outside the object the error of its nearest pixel, so that smoothing at the rim uses the object.

    Of several nearest pixels it is the leftmost, then the topmost, as in the tool's distance transform. Only pixels
    within reach of the smoothing are filled.
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
    pixels = (rows + margin) * width + columns + margin
    offsets = range(-margin, margin + 1)
    for _, dx, dy in sorted((x * x + y * y, x, y) for x in offsets for y in offsets):
        there = known[pixels + dy * width + dx]
        flat[pixels[there]] = flat[pixels[there] + dy * width + dx]
        pixels = pixels[~there]
        if not len(pixels):
            break
    return np.ascontiguousarray(extended[margin:-margin, margin:-margin])
