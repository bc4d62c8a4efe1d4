"""Metrics of salient object detection, equal to ``py_sod_metrics``: F-, weighted F-, S- and E-measure, MAE, boundary F.

Each metric is the mean over images, each curve the mean of the images' curves. ``max_F`` is the maximum of the mean
F-curve (one threshold for all images), as in the tool; papers that take F from the mean precision and the mean recall
report slightly different numbers.

Pixels to ignore (255 in the ground truth) are left out of F, E and MAE; in the measures of structure and boundaries,
which need whole images, they count as background without a detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.metrics.boundary import relaxed_boundary_scores
from saccade.metrics.saliency_measures import (
    ThresholdCounts,
    adaptive_threshold,
    e_measure,
    f_measure,
    normalize_map,
    precision_recall,
    s_measure,
    threshold_counts,
    weighted_f_measure,
)
from saccade.metrics.segmentation import check_pair, confusion_matrix
from saccade.results.base import Result
from saccade.structures.sample import IGNORE_LABEL, Target

__all__ = ["SaliencyEvaluator", "SaliencyRecord", "score_map"]

_BETA_SQUARED = 0.3


class SaliencyRecord(NamedTuple):
    """Record of one image, 2 KB: its counts at all thresholds, and its values of the other measures.

    Attributes:
        found: Pixels found at each of 256 thresholds, by rising threshold: foreground, then background, (2, 256)
            uint32.
        adaptive_f: F-measure at twice the mean value of the map.
        weighted_f: Weighted F-measure (Margolin et al. 2014).
        mae: Mean absolute error.
        s_measure: Structural similarity (Fan et al. 2017).
        adaptive_e: E-measure at twice the mean value.
        boundary_f: Relaxed F-measure of the boundaries at threshold 0.5; NaN if neither mask has one.

    Example:
        >>> ground_truth = np.arange(4) < np.array([[1], [2]])
        >>> record = score_map(ground_truth.astype(float), ground_truth, np.ones((2, 4), bool))
        >>> record.counts().hits[[0, 255]], record.counts().false_alarms[[0, 255]]
        (array([3, 3]), array([5, 0]))
    """

    found: NDArray[np.uint32]
    adaptive_f: float
    weighted_f: float
    mae: float
    s_measure: float
    adaptive_e: float
    boundary_f: float

    def counts(self) -> ThresholdCounts:
        """Counts at all thresholds; at the first every pixel is found."""
        hits, false_alarms = self.found.astype(np.int64)
        return ThresholdCounts(hits, false_alarms, int(hits[0]), int(false_alarms[0]))


def score_map(prediction: NDArray[Any], ground_truth: NDArray[np.bool_], scored: NDArray[np.bool_]) -> SaliencyRecord:
    """Score one saliency map by all measures.

    Args:
        prediction: (H, W), uint8 or probabilities; NaN counts as wrong.
        ground_truth: (H, W) mask of the foreground.
        scored: (H, W), pixels that count; at least one.

    Example:
        >>> ground_truth = np.zeros((8, 8), bool)
        >>> ground_truth[2:6, 2:6] = True
        >>> prediction = np.where(ground_truth, 1.0, 0.0)
        >>> prediction[0] = 1.0
        >>> record = score_map(prediction, ground_truth, np.ones((8, 8), bool))
        >>> record.mae, round(record.adaptive_f, 3)
        (0.125, 0.722)
    """
    if prediction.dtype != np.uint8:
        prediction = np.where(np.isnan(prediction), ~ground_truth, prediction)
    pixels, mask = normalize_map(prediction[scored]), ground_truth[scored]
    whole_map, whole_mask = np.zeros(ground_truth.shape), np.zeros(ground_truth.shape, np.bool_)
    whole_map[scored], whole_mask[scored] = pixels, mask
    counts, adaptive = threshold_counts(pixels, mask), adaptive_threshold(pixels, mask)
    return SaliencyRecord(
        found=np.stack([counts.hits, counts.false_alarms]).astype(np.uint32),
        adaptive_f=float(f_measure(adaptive, _BETA_SQUARED)),
        weighted_f=weighted_f_measure(whole_map, whole_mask),
        mae=float(np.mean(np.abs(pixels - mask))),
        s_measure=s_measure(whole_map, whole_mask),
        adaptive_e=float(e_measure(adaptive)),
        boundary_f=relaxed_boundary_scores(whole_map >= 0.5, whole_mask, beta_squared=_BETA_SQUARED).f_measure,
    )


class SaliencyEvaluator(RecordEvaluator[SaliencyRecord]):
    """Metrics of salient object detection: F-measures, MAE, S-measure, E-measures, and the F-measure of boundaries.

    A map without probabilities is scored as black and white. Images without a pixel to score are left out.

    Example:
        >>> from saccade.results.segmentation import SegmentationMap
        >>> label_map = np.eye(16, dtype=np.uint8)
        >>> about = dict(path="1.png", image_id=1, image_size=(16, 16), class_names=("background", "hair"))
        >>> result = SegmentationMap(**about, label_map=label_map, probabilities=0.9 * label_map)
        >>> evaluator = SaliencyEvaluator()
        >>> evaluator.update([result], [{"label_map": label_map}])
        >>> values = evaluator.compute().values
        >>> values["max_F"], values["MAE"], round(values["S_measure"], 3)
        (1.0, 0.0, 1.0)
    """

    class_names = ("background", "foreground")

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take saliency maps and ground truth (``label_map``: 0, 1, and 255 = ignore), both of the original's size."""
        for result, target in zip(results, targets, strict=True):
            found, ground_truth = check_pair(result, target)
            confusion_matrix(ground_truth, found.label_map, self.class_names, result.path)  # refuses unknown labels
            scored = ground_truth != IGNORE_LABEL
            if scored.any():
                prediction = found.label_map == 1 if found.probabilities is None else found.probabilities
                self._records[int(result.image_id)] = score_map(np.asarray(prediction), ground_truth == 1, scored)

    def compute(self) -> MetricReport:
        """Report of all metrics, with curves of precision over recall and of F and E over the threshold."""
        records = [self._records[image_id] for image_id in sorted(self._records)]
        curves = np.zeros((4, 256)) if records else np.full((4, 256), np.nan)
        for record in records:
            counts = record.counts()
            curves += (*precision_recall(counts), f_measure(counts, _BETA_SQUARED), e_measure(counts))
        precision, recall, f_curve, e_curve = curves / max(len(records), 1)
        values = {
            "max_F": float(f_curve.max()),
            "mean_F": float(f_curve.mean()),
            "adaptive_F": _mean([record.adaptive_f for record in records]),
            "weighted_F": _mean([record.weighted_f for record in records]),
            "MAE": _mean([record.mae for record in records]),
            "S_measure": _mean([record.s_measure for record in records]),
            "max_E": float(e_curve.max()),
            "mean_E": float(e_curve.mean()),
            "adaptive_E": _mean([record.adaptive_e for record in records]),
            "boundary_F": _mean([record.boundary_f for record in records]),
        }
        thresholds = (np.arange(256) / 255).tolist()
        series = {
            "precision_recall": (recall.tolist(), "recall", "precision", precision, {}),
            "F_measure": (thresholds, "threshold", "F", f_curve, {"mark": thresholds[int(f_curve.argmax())]}),
            "E_measure": (thresholds, "threshold", "E", e_curve, {"mark": thresholds[int(e_curve.argmax())]}),
        }
        return MetricReport(
            values=values,
            primary="max_F",
            curves={
                name: {"x": x, "y": {"foreground": y.tolist()}, "xlabel": xlabel, "ylabel": ylabel, **mark}
                for name, (x, xlabel, ylabel, y, mark) in series.items()
                if records
            },
        )


def _mean(values: Sequence[float]) -> float:
    """Mean of the values that are numbers; NaN if there are none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
