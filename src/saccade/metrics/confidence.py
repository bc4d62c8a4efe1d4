"""F1 of a detector as a function of the score below which detections are left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.coco_core import match_detections
from saccade.metrics.records import RecordTable

__all__ = ["ConfidenceCurves", "class_thresholds", "confidence_curves"]


class ConfidenceCurves(NamedTuple):
    """F1 by confidence threshold, and the best threshold: result of :func:`confidence_curves`.

    Attributes:
        confidence: Thresholds, (S,), 0 to 1.
        f1: (C, S); NaN for classes without objects.
        best_f1: Greatest mean over the classes; NaN without objects.
        best_confidence: Threshold at which it is reached; the middle, if over a range.

    Example:
        >>> curves = ConfidenceCurves(np.array([0, 0.5, 1]), np.array([[0.5, 0.8, 0]]), 0.8, 0.5)
        >>> curves.f1[0, curves.confidence == curves.best_confidence]
        array([0.8])
    """

    confidence: NDArray[np.float64]
    f1: NDArray[np.float64]
    best_f1: float
    best_confidence: float


def confidence_curves(
    table: RecordTable, iou: float = 0.5, most: int = 100, thresholds: int = 1000
) -> ConfidenceCurves:
    """Compute F1 over the confidence threshold: 2 true positives / (detections + objects).

    A class without detections above a threshold has F1 0 there. Detections matched to ignored objects do not count.

    Args:
        table: Detections, objects and overlaps.
        iou: Overlap that makes a match.
        most: Detections in an image and class that count.
        thresholds: Number of thresholds, besides 0.

    Example:
        >>> from saccade.metrics.records import DetectedObjects, make_record
        >>> detected = DetectedObjects(np.array([0.9, 0.4]), np.array([0, 0]), np.array([400, 400]))
        >>> overlap = np.array([[0.8], [0.0]])
        >>> record = make_record("1.jpg", 1, detected, {"labels": np.array([0])}, np.array([400]), overlap)
        >>> curves = confidence_curves(RecordTable.of({1: record}, num_classes=1), thresholds=4)
        >>> curves.f1.round(2), curves.best_confidence
        (array([[0.67, 0.67, 1.  , 1.  , 0.  ]]), 0.625)
    """
    confidence = np.linspace(0.0, 1.0, thresholds + 1)
    taken = match_detections(table, [iou], table.ignore, most)[0]
    hits = taken >= 0
    hits[hits] = ~table.ignore[taken[hits]]
    rows, bounds = table.by_score((table.rank < most) & (hits | (taken < 0)))
    f1 = np.full((table.num_classes, len(confidence)), np.nan)
    for label, objects in enumerate(table.objects(table.ignore).tolist()):
        if objects:
            mine = rows[bounds[label] : bounds[label + 1]]
            count = np.searchsorted(-table.score[mine], -confidence, side="right")
            true_positives = np.concatenate([[0], np.cumsum(hits[mine])])[count]
            f1[label] = 2 * true_positives / (count + objects)
    defined = f1[~np.isnan(f1[:, 0])]
    if not len(defined):
        return ConfidenceCurves(confidence, f1, float("nan"), float("nan"))
    mean = defined.mean(axis=0)
    return ConfidenceCurves(confidence, f1, float(mean.max()), _best(mean, confidence))


def class_thresholds(curves: ConfidenceCurves) -> NDArray[np.float64]:
    """Confidence of each class at which its F1 is greatest; the middle, if over a range.

    A class without objects, or of which none is found, has that of all classes together.

    Args:
        curves: F1 over the confidence, on data that the model has not learnt.

    Returns:
        (C,); NaN if there are no objects at all.

    Example:
        >>> f1 = np.array([[0.5, 0.9, 0.9, 0.2], [0.1, 0.2, 0.3, 0.8], [np.nan] * 4])
        >>> class_thresholds(ConfidenceCurves(np.array([0, 0.2, 0.4, 0.6]), f1, 0.6, best_confidence=0.4))
        array([0.3, 0.6, 0.4])
    """
    useful = np.nan_to_num(curves.f1).max(axis=1) > 0
    own = [
        _best(row, curves.confidence) if use else curves.best_confidence
        for row, use in zip(curves.f1, useful, strict=True)
    ]
    return np.array(own)


def _best(f1: NDArray[np.float64], confidence: NDArray[np.float64]) -> float:
    """The middle of the first range of confidences at which F1 is greatest."""
    first = int(np.argmax(f1))
    end = first + int(np.argmin(np.append(f1[first:] == f1[first], False)))
    return float(confidence[first:end].mean())
