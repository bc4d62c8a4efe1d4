"""Several evaluators as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from saccade.metrics.base import Evaluator, MetricReport
from saccade.results.base import Result
from saccade.structures.sample import Target

__all__ = ["JointEvaluator"]


class JointEvaluator:
    """The first evaluator decides; the others add their figures, classes and curves.

    An evaluator of which no figure is defined (keypoint similarity, on data without areas) adds nothing. Where two have
    a figure or a curve of the same name, that of the earlier stays.

    Args:
        evaluators: At least one; all take the same results.
    """

    def __init__(self, *evaluators: Evaluator) -> None:
        self._evaluators = evaluators

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Give a batch to each."""
        for evaluator in self._evaluators:
            evaluator.update(results, targets)

    def state(self) -> list[Any]:
        """The state of each."""
        return [evaluator.state() for evaluator in self._evaluators]

    def merge(self, states: Sequence[Any]) -> None:
        """Merge the states of each."""
        for number, evaluator in enumerate(self._evaluators):
            evaluator.merge([state[number] for state in states])

    def compute(self) -> MetricReport:
        """One report of all."""
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
