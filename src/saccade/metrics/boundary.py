"""Relaxed precision, recall and F-measure of mask boundaries.

Ehrig and Euzenat, "Relaxed Precision and Recall for Ontology Matching", 2005, as BASNet (Qin et al. 2019)
and U2-Net (Qin et al. 2020) apply it to salient objects: a pixel of one boundary counts as correct if the
other boundary passes within ``slack`` pixels of it.

The boundary of a mask is what an erosion by 3x3 pixels removes. Along the edge of the image there is none, because the
outline of an object that continues outside the image is unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoundaryScores", "mask_boundary", "relaxed_boundary_scores"]


class BoundaryScores(NamedTuple):
    """Relaxed precision, recall and F-measure of two boundaries, 0..1: result of :func:`relaxed_boundary_scores`.

    Attributes:
        precision: Share of predicted boundary pixels near the true boundary; NaN if none is predicted.
        recall: Share of true boundary pixels near the predicted boundary; NaN if there is none.
        f_measure: Their weighted harmonic mean; 0 if only one of the masks has a boundary, NaN if neither has.

    Example:
        >>> dot = np.zeros((5, 5), bool)
        >>> dot[2, 2] = True
        >>> relaxed_boundary_scores(np.zeros((5, 5), bool), dot)
        BoundaryScores(precision=nan, recall=0.0, f_measure=0.0)
    """

    precision: float
    recall: float
    f_measure: float


def mask_boundary(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the boundary of a mask: its pixels with a neighbour, of eight, outside it.

    Args:
        mask: (H, W), nonzero inside.

    Returns:
        (H, W).

    Example:
        >>> mask = np.zeros((5, 6), bool)
        >>> mask[1:4, 1:5] = True
        >>> mask_boundary(mask).astype(int)
        array([[0, 0, 0, 0, 0, 0],
               [0, 1, 1, 1, 1, 0],
               [0, 1, 0, 0, 1, 0],
               [0, 1, 1, 1, 1, 0],
               [0, 0, 0, 0, 0, 0]])
    """
    import cv2

    inside = np.ascontiguousarray(mask, np.uint8)
    # OpenCV's erosion treats everything outside the image as inside the mask.
    boundary: NDArray[np.bool_] = (inside > 0) & (cv2.erode(inside, np.ones((3, 3), np.uint8)) == 0)
    return boundary


def relaxed_boundary_scores(
    predicted: NDArray[Any], ground_truth: NDArray[Any], slack: float = 3.0, beta_squared: float = 0.3
) -> BoundaryScores:
    """Relaxed precision, recall and F-measure of the boundaries of two masks.

    Args:
        predicted: (H, W) mask.
        ground_truth: (H, W) mask.
        slack: Distance in pixels, between pixel centres, up to which a boundary pixel counts as correct.
        beta_squared: Weight of precision, beta^2.

    Example:
        >>> ground_truth = np.zeros((40, 40), bool)
        >>> ground_truth[10:30, 10:30] = True
        >>> predicted = np.roll(ground_truth, 4, axis=1)
        >>> round(relaxed_boundary_scores(predicted, ground_truth, slack=3).f_measure, 2)
        0.58
        >>> relaxed_boundary_scores(predicted, ground_truth, slack=4).f_measure
        1.0
    """
    found, there = mask_boundary(predicted), mask_boundary(ground_truth)
    precision, recall = _share_near(found, there, slack), _share_near(there, found, slack)
    if np.isnan(precision) and np.isnan(recall):
        return BoundaryScores(precision, recall, float("nan"))
    if np.isnan(precision) or np.isnan(recall) or precision + recall == 0:
        return BoundaryScores(precision, recall, 0.0)
    f_measure = (1 + beta_squared) * precision * recall / (beta_squared * precision + recall)
    return BoundaryScores(precision, recall, f_measure)


def _share_near(pixels: NDArray[np.bool_], others: NDArray[np.bool_], slack: float) -> float:
    """Share of ``pixels`` that have one of ``others`` within ``slack``."""
    import cv2

    number = np.count_nonzero(pixels)
    if not number:
        return float("nan")
    if not others.any():
        return 0.0
    distances = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squares of distances between pixels are whole numbers, which float32 roots are not.
    near = np.rint(distances[pixels].astype(np.float64) ** 2) <= slack**2
    return float(np.count_nonzero(near) / number)
