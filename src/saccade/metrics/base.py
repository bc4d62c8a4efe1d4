"""What every evaluator does: take results beside the ground truth, merge across processes, give named figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from saccade.results.base import Result
from saccade.structures.sample import Target

__all__ = ["Evaluator", "MetricReport"]


@dataclass
class MetricReport:
    """Figures of one evaluation.

    Args:
        values: Figure by name, in 0..1 unless the name says otherwise; NaN where it is undefined.
        primary: Name of the figure by which the best checkpoint is chosen.
        higher_is_better: Direction of ``primary``.
        per_class: One row a class, ``{"class": name, "AP": 0.5, ...}``.
        curves: Plot name to matplotlib-ready series: ``{"x": [...], "y": {label: [...]}, "xlabel": ..., "ylabel":
            ...}``; ``mark`` may name the place on the x axis to be chosen.
        confusion: Square table with its labels: ``{"labels": [...], "matrix": [[...]]}``; empty if the task has none.
        breakdown: One row a kind of error, ``{"error": name, "count": 7, "AP50_gained": 0.1}``: what it costs.
    """

    values: dict[str, float]
    primary: str
    higher_is_better: bool = True
    per_class: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)
    confusion: dict[str, Any] = field(default_factory=dict)
    breakdown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def score(self) -> float:
        """``primary``, signed so that higher is better."""
        value = self.values[self.primary]
        return value if self.higher_is_better else -value


class Evaluator(Protocol):
    """Streaming; ``state`` is picklable and merges in any order to the same figures."""

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take a batch: predictions and ground truths, both in original pixels."""
        ...

    def state(self) -> Any:
        """What other processes need to merge."""
        ...

    def merge(self, states: Sequence[Any]) -> None:
        """Replace own state by the union of ``states`` (one a process; images seen twice by padding count once)."""
        ...

    def compute(self) -> MetricReport:
        """All figures of what was seen."""
        ...
