"""Relaxed precision, recall and F-measure of boundaries, of one mask or of every class of a label map.

Ehrig and Euzenat, "Relaxed Precision and Recall for Ontology Matching", 2005, as BASNet (Qin et al. 2019)
and U2-Net (Qin et al. 2020) apply it to salient objects: a pixel of one boundary counts as correct if the
other boundary passes within ``slack`` pixels of it.

The boundary of a mask is what an erosion by 3x3 pixels removes. Along the edge of the image there is none, because the
outline of an object that continues outside the image is unknown.

Label maps are scored class by class, with a slack of 0.75 % of the image's diagonal and precision and recall weighed
alike: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BoundaryScores",
    "class_boundary_f",
    "diagonal_slack",
    "label_boundaries",
    "mask_boundary",
    "relaxed_boundary_scores",
]

_DIAGONAL_SHARE = 0.0075


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


def diagonal_slack(size: tuple[int, int]) -> float:
    """Distance up to which boundaries of label maps agree: 0.75 % of the diagonal (Csurka et al. 2013), at least 1.

    Args:
        size: (height, width) of the image in pixels.

    Example:
        >>> diagonal_slack((360, 480)), diagonal_slack((32, 32))
        (4.5, 1.0)
    """
    return max(1.0, _DIAGONAL_SHARE * math.hypot(*size))


def label_boundaries(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the boundaries of all classes of a label map: pixels with a neighbour, of eight, of another class.

    Args:
        labels: (H, W) uint8 or int16.

    Returns:
        (H, W); for each class the boundary that :func:`mask_boundary` finds of its mask.

    Example:
        >>> label_boundaries(np.repeat([[0, 0, 0, 2, 2, 2]], 2, axis=0).astype(np.uint8)).astype(int)
        array([[0, 0, 1, 1, 0, 0],
               [0, 0, 1, 1, 0, 0]])
    """
    import cv2

    window = np.ones((3, 3), np.uint8)
    boundary: NDArray[np.bool_] = (cv2.dilate(labels, window) != labels) | (cv2.erode(labels, window) != labels)
    return boundary


def class_boundary_f(
    predicted: NDArray[Any], ground_truth: NDArray[Any], slack: float | None = None, ignore: int = 255
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """F-measure of the boundary of every class of a label map, precision and recall weighed alike.

    Ignored pixels are ignored in both maps, so that what they cut off has the same outline in both (as in Takikawa et
    al., "Gated-SCNN", ICCV 2019). The cost grows with the slack and with the bounding boxes of the boundaries, not with
    how many pixels they have.

    Args:
        predicted: (H, W) class of each pixel, uint8 or int16.
        ground_truth: (H, W) class of each pixel, or ``ignore``.
        slack: Distance between pixel centres up to which a boundary pixel counts as correct; :func:`diagonal_slack` of
            the image if not given.
        ignore: Label of pixels that are not scored.

    Returns:
        Classes that have a boundary in either map, ascending, and the F-measure of each; 0 where only one has it.

    Example:
        >>> ground_truth = np.zeros((40, 40), np.uint8)
        >>> ground_truth[10:30, 10:30] = 3
        >>> class_boundary_f(np.roll(ground_truth, 2, axis=1), ground_truth, slack=2)
        (array([0, 3]), array([1., 1.]))
        >>> class_boundary_f(np.zeros((40, 40), np.uint8), ground_truth)
        (array([0, 3]), array([0., 0.]))
    """
    slack = diagonal_slack(ground_truth.shape) if slack is None else slack
    dtype = np.uint8 if predicted.dtype == ground_truth.dtype == np.uint8 else np.int16
    there = np.ascontiguousarray(ground_truth, dtype)
    found = np.where(there == ignore, there, np.asarray(predicted, dtype))
    sets = [_pixels_by_class(labels, ignore) for labels in (found, there)]
    classes = sorted(sets[0].keys() | sets[1].keys())
    scores = np.zeros(len(classes))
    for position, label in enumerate(classes):
        if label in sets[0] and label in sets[1]:
            mine, theirs = sets[0][label], sets[1][label]
            precision, recall = _near(mine, theirs, slack), _near(theirs, mine, slack)
            scores[position] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return np.array(classes, np.int64), scores


def _pixels_by_class(labels: NDArray[Any], ignore: int) -> dict[int, NDArray[np.int64]]:
    """Boundary pixels (2, N) of each class: rows, ascending, and columns."""
    rows, columns = np.nonzero(label_boundaries(labels))
    of_class = labels[rows, columns]
    order = np.argsort(of_class, kind="stable")
    names, starts = np.unique(of_class[order], return_index=True)
    groups = np.split(np.stack([rows, columns])[:, order], starts, axis=1)[1:]
    return {int(name): group for name, group in zip(names, groups, strict=True) if name != ignore}


def _near(pixels: NDArray[np.int64], others: NDArray[np.int64], slack: float) -> float:
    """Share of ``pixels`` (2, N) that have one of ``others`` (2, M) within ``slack``.

    The others are drawn as bits, eight pixels a byte, and dilated by the disc: at whole bytes a shift is a slice, so
    the disc takes four passes over the bits for each pixel of its radius.
    """
    reach = int(slack)
    rows, columns = others
    top, left = int(rows[0]) - reach, int(columns.min()) - reach
    height, width = int(rows[-1]) + reach + 1 - top, int(columns.max()) + reach + 1 - left
    stride = -(-(width + reach) // 8) + 1  # bytes; what is shifted over a row's end falls into its margin
    drawn = np.zeros((height, 8 * stride), np.bool_)
    drawn[rows - top, columns - left] = True
    bits = np.packbits(drawn, bitorder="little")
    dilated = _dilate_bits(bits, stride, slack)
    y, x = pixels[0] - top, pixels[1] - left
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y, x = y[inside], x[inside]
    hit = dilated[y * stride + (x >> 3)] >> (x & 7).astype(np.uint8) & 1
    return float(np.count_nonzero(hit) / pixels.shape[1])


def _dilate_bits(bits: NDArray[np.uint8], stride: int, slack: float) -> NDArray[np.uint8]:
    """Union of the rows of bits, ``stride`` bytes each, shifted by all steps up to ``slack`` long."""
    shifted = [bits]
    for count in range(1, 8):
        moved = bits << np.uint8(count)
        moved[1:] |= bits[:-1] >> np.uint8(8 - count)
        shifted.append(moved)
    row, out, half = bits.copy(), np.zeros_like(bits), 0
    for step in range(int(slack), -1, -1):  # rows that far above and below have bits this far to the sides
        while half < int(math.sqrt(slack * slack - step * step)):
            half += 1
            right, left = divmod(half, 8), divmod(-half, 8)
            row[right[0] :] |= shifted[right[1]][: len(bits) - right[0]]
            row[: len(bits) + left[0]] |= shifted[left[1]][-left[0] :]
        out[step * stride :] |= row[: len(bits) - step * stride]
        if step:
            out[: -step * stride] |= row[step * stride :]
    return out
