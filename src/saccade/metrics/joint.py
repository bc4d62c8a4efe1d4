"""Several evaluators as one, with one report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import CompositeEvaluator, MetricReport
from saccade.metrics.resample import resampled_values
from saccade.results.base import Result
from saccade.structures.sample import Target

__all__ = ["JointEvaluator"]


class JointEvaluator(CompositeEvaluator):
    """Several evaluators as one: the first gives the primary metric, the others add metrics, classes and curves.

    An evaluator of which no metric is defined (keypoint similarity, on data without areas) adds nothing. Where two have
    a metric or a curve of the same name, that of the earlier stays.

    Args:
        evaluators: At least one; all take the same results.

    Example:
        >>> from saccade.metrics.saliency import SaliencyEvaluator
        >>> from saccade.metrics.segmentation import SegmentationEvaluator
        >>> from saccade.results.segmentation import SegmentationMap
        >>> names, label_map = ("background", "cell"), np.eye(4, dtype=np.uint8)
        >>> result = SegmentationMap(
        ...     path="a.png", image_id=0, image_size=(4, 4), class_names=names, label_map=label_map
        ... )
        >>> evaluator = JointEvaluator(SegmentationEvaluator(names), SaliencyEvaluator())
        >>> evaluator.update([result], [{"label_map": label_map}])
        >>> report = evaluator.compute()
        >>> report.primary, report.values["mIoU"], report.values["MAE"]
        ('mIoU', 1.0, 0.0)
    """

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Give a batch to each evaluator."""
        for evaluator in self._evaluators:
            evaluator.update(results, targets)

    def resampled(self, images: Sequence[int], weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Figures of each draw of images (:mod:`saccade.metrics.resample`), of all evaluators that have any."""
        values: dict[str, NDArray[np.float64]] = {}
        for evaluator in self._evaluators:
            if evaluator.state():
                values = resampled_values(evaluator, images, weights) | values
        return values

    def compute(self) -> MetricReport:
        """Report that joins those of all evaluators."""
        report, *others = (evaluator.compute() for evaluator in self._evaluators)
        for other in others:
            if all(math.isnan(value) for value in other.values.values()):
                continue
            for name, value in other.values.items():
                report.values.setdefault(name, value)
            for name, curve in other.curves.items():
                report.curves.setdefault(name, curve)
            report.per_class = report.per_class or other.per_class
            report.breakdown = report.breakdown or other.breakdown
            report.confusion = report.confusion or other.confusion
        return report
