"""Protocol of evaluators, the report they return, and base classes that merge their states across processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from saccade.results.base import Result
from saccade.structures.sample import Target

__all__ = ["CompositeEvaluator", "Evaluator", "MetricReport", "RecordEvaluator"]

Record = TypeVar("Record")


@dataclass
class MetricReport:
    """Metrics of one evaluation, with the tables and curves behind them.

    Args:
        values: Metric by name, in 0..1 unless the name says otherwise; NaN where it is undefined.
        primary: Name of the metric by which the best checkpoint is chosen.
        higher_is_better: Direction of ``primary``.
        per_class: One row a class, ``{"class": name, "AP": 0.5, ...}``.
        curves: Plot name to matplotlib-ready series: ``{"x": [...], "y": {label: [...]}, "xlabel": ..., "ylabel":
            ...}``; ``mark`` may give the x to be chosen, and ``kind`` be ``histogram`` (shares of groups, not classes).
        confusion: Square table with its labels: ``{"labels": [...], "matrix": [[...]]}``; empty if the task has none.
            Of detectors ``unpaired`` is the number of the row and column of what found no partner.
        breakdown: One row a kind of error, ``{"error": name, "count": 7, "AP50_gained": 0.1}``: what it costs.
        notes: What a reader of the figures has to know, such as a limit that cut something off; sentences.

    Example:
        >>> MetricReport({"NME": 0.03, "PCK@0.1": 0.98}, primary="NME", higher_is_better=False).score
        -0.03
    """

    values: dict[str, float]
    primary: str
    higher_is_better: bool = True
    per_class: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)
    confusion: dict[str, Any] = field(default_factory=dict)
    breakdown: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def score(self) -> float:
        """``primary``, signed so that higher is better."""
        value = self.values[self.primary]
        return value if self.higher_is_better else -value


class Evaluator(Protocol):
    """Streaming metrics: batches go in, a report comes out; states of several processes merge in any order.

    Example:
        >>> from saccade.metrics.classification import ClassificationEvaluator
        >>> from saccade.results.classification import Classification
        >>> about = dict(path="a.jpg", image_id=0, image_size=(4, 4), class_names=("cat", "dog"))
        >>> evaluator: Evaluator = ClassificationEvaluator(("cat", "dog"))
        >>> result = Classification(**about, probabilities=np.array([0.2, 0.8]))
        >>> evaluator.update([result], [{"labels": np.array(1)}])
        >>> evaluator.compute().values["top1"]
        1.0
    """

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take a batch: predictions and ground truths, both in original pixels."""
        ...

    def state(self) -> Any:
        """What other processes need to merge; picklable."""
        ...

    def merge(self, states: Sequence[Any]) -> None:
        """Replace own state by the union of ``states`` (one a process; images seen twice by padding count once)."""
        ...

    def compute(self) -> MetricReport:
        """Report of all images seen."""
        ...


class RecordEvaluator(Generic[Record]):
    """Base of evaluators that keep one record an image: a subclass adds ``update`` and ``compute``.

    Records lie in ``_records`` by image id, so that an image that several processes saw counts once.

    Example:
        >>> class ObjectCount(RecordEvaluator[int]):
        ...     def update(self, results, targets):
        ...         for result, target in zip(results, targets, strict=True):
        ...             self._records[result.image_id] = len(target["labels"])
        ...     def compute(self):
        ...         return MetricReport({"objects": sum(self._records.values())}, "objects")
        >>> evaluator = ObjectCount()
        >>> evaluator.merge([{0: 2, 1: 5}, {1: 5, 2: 1}])
        >>> evaluator.compute().values
        {'objects': 8}
    """

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}

    def state(self) -> dict[int, Record]:
        """Records by image id."""
        return self._records

    def merge(self, states: Sequence[dict[int, Record]]) -> None:
        """Replace own records by the union of ``states``; an image that several processes saw counts once."""
        self._records = {key: record for state in states for key, record in state.items()}


class CompositeEvaluator:
    """Base of evaluators made of others: a subclass adds ``update`` and ``compute``.

    Args:
        evaluators: At least one.

    Example:
        >>> both = CompositeEvaluator(RecordEvaluator(), RecordEvaluator())
        >>> both.merge([[{0: "cat"}, {}], [{1: "dog"}, {1: "mask"}]])
        >>> both.state()
        [{0: 'cat', 1: 'dog'}, {1: 'mask'}]
    """

    def __init__(self, *evaluators: Evaluator) -> None:
        self._evaluators = evaluators

    def state(self) -> list[Any]:
        """State of each evaluator."""
        return [evaluator.state() for evaluator in self._evaluators]

    def merge(self, states: Sequence[list[Any]]) -> None:
        """Merge the states of each evaluator."""
        for number, evaluator in enumerate(self._evaluators):
            evaluator.merge([state[number] for state in states])
