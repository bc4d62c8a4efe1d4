"""How precision and recall move with the score below which detections are left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.coco_core import match_detections
from saccade.metrics.records import RecordTable

__all__ = ["ConfidenceCurves", "confidence_curves"]


class ConfidenceCurves(NamedTuple):
    """F1 by confidence; classes without objects are NaN.

    Attributes:
        confidence: (S,), 0 to 1.
        f1: (C, S).
        best_f1: Greatest mean of the classes; NaN without objects.
        best_confidence: Where it is reached; the middle, if over a range.
    """

    confidence: NDArray[np.float64]
    f1: NDArray[np.float64]
    best_f1: float
    best_confidence: float


def confidence_curves(table: RecordTable, iou: float = 0.5, most: int = 100, steps: int = 1000) -> ConfidenceCurves:
    """F1 = 2 right / (detections + objects) of the detections that score at least some confidence.

    A class without detections at a confidence has F1 0 there. Detections of ignored objects count neither way.

    Args:
        table: Detections, objects and overlaps.
        iou: Overlap that makes a match.
        most: Detections in an image and class that count.
        steps: Confidences, besides 0.
    """
    confidence = np.linspace(0.0, 1.0, steps + 1)
    taken = match_detections(table, [iou], table.ignore, most)[0]
    hits = taken >= 0
    hits[hits] = ~table.ignore[taken[hits]]
    rows, bounds = table.by_score((table.rank < most) & (hits | (taken < 0)))
    f1 = np.full((table.num_classes, len(confidence)), np.nan)
    for label, objects in enumerate(table.objects(table.ignore).tolist()):
        if objects:
            mine = rows[bounds[label] : bounds[label + 1]]
            count = np.searchsorted(-table.score[mine], -confidence, side="right")
            right = np.concatenate([[0], np.cumsum(hits[mine])])[count]
            f1[label] = 2 * right / (count + objects)
    defined = f1[~np.isnan(f1[:, 0])]
    if not len(defined):
        return ConfidenceCurves(confidence, f1, float("nan"), float("nan"))
    mean = defined.mean(axis=0)
    first = int(np.argmax(mean))
    end = first + int(np.argmin(np.append(mean[first:] == mean[first], False)))
    return ConfidenceCurves(confidence, f1, float(mean[first]), float(confidence[first:end].mean()))
