"""Metrics of embeddings of classes that training need not have seen: few-shot accuracy, retrieval, verification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.metrics.few_shot import FewShotEvaluator
from saccade.results.base import Result
from saccade.results.embedding import Embedding, distances
from saccade.structures.sample import Target

__all__ = ["EmbeddingEvaluator", "pair_distances", "verification"]

_SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots of the papers' tables
_QUERIES = 15
_SEED = 0
_MOST_PAIRS = 200_000
_MOST_ASKED = 1_000  # images whose nearest other image is looked for by an L1 distance, which takes long
_BLOCK = 1 << 22  # numbers that are compared in one go


class EmbeddingEvaluator(RecordEvaluator[tuple[NDArray[Any], int]]):
    """Metrics of embeddings: few-shot accuracy, recall of the nearest neighbour, and AUC of telling pairs apart.

    Few-shot accuracy is that of the nearest prototype, the mean of a class's support vectors (Snell et al. 2017,
    equation 1), over ``episodes`` episodes of up to 15 queries a class, always the same ones; with its 95 % interval.
    Settings for which there are too few classes or images are left out. ``accuracy`` is 5-way 1-shot where the data
    allow it.

    Args:
        episodes: Of each setting.

    Example:
        >>> evaluator = EmbeddingEvaluator(episodes=10)
        >>> about = dict(image_size=(4, 4), class_names=())
        >>> for number in range(12):
        ...     result = Embedding(path="a", image_id=number, **about, vector=np.eye(6)[number // 2])
        ...     evaluator.update([result], [{"labels": np.array(number // 2)}])
        >>> report = evaluator.compute()
        >>> report.values["accuracy"], report.values["recall@1"], report.values["AUC"]
        (1.0, 1.0, 1.0)
    """

    def __init__(self, episodes: int = 1000) -> None:
        super().__init__()
        self.episodes = episodes
        self._l1_weights: NDArray[Any] | None = None

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take vectors beside the class of their image (``labels``)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Embedding):
                raise TypeError(f"metrics of embeddings need Embedding, got {type(result).__name__}.")
            self._l1_weights = result.l1_weights
            self._records[int(result.image_id)] = np.asarray(result.vector), int(target["labels"])

    def compute(self) -> MetricReport:
        """Report of all metrics; NaN where the images do not define one."""
        rows = [self._records[key] for key in sorted(self._records)]
        vectors = np.stack([vector for vector, _ in rows]).astype(np.float64)
        labels = np.array([label for _, label in rows])
        values: dict[str, float] = {}
        for ways, shots in _SETTINGS:
            report = _few_shot(vectors, labels, ways, shots, self.episodes, self._l1_weights)
            if report is not None:
                values[f"accuracy_{ways}way_{shots}shot"] = report.values["accuracy"]
                values[f"interval_95_{ways}way_{shots}shot"] = report.values["interval_95"]
        first = next((value for name, value in values.items() if name.startswith("accuracy")), None)
        own = {} if first is None else {"accuracy": first}
        same, different = pair_distances(vectors, labels, self._l1_weights)
        check = verification(same, different)
        own |= {"AUC": check.auc, "equal_error_rate": check.equal_error_rate}
        asked = _to_ask(labels, self._l1_weights)
        own["recall@1"] = _recall_at_1(vectors, labels, asked, self._l1_weights)
        sampled = self._l1_weights is not None and len(asked) == _MOST_ASKED
        return MetricReport(
            values=own | values,
            primary="accuracy" if first is not None else "AUC",
            curves={"ROC of pairs": check.curve(), "distances of pairs": _histogram(same, different)},
            notes=[f"recall@1 is that of {_MOST_ASKED:,} of {len(labels):,} images."] if sampled else [],
        )


class Verification(NamedTuple):
    """How well one threshold on the distance tells pairs of one class from pairs of two.

    Attributes:
        auc: Area under the ROC curve: share of (same, different) pairs of pairs in the right order, ties half.
        equal_error_rate: Error where as many same pairs are refused as different ones are accepted, as shares.
        false_accepted: Share of different pairs below each threshold, rising.
        accepted: Share of same pairs below it.
    """

    auc: float
    equal_error_rate: float
    false_accepted: NDArray[np.float64]
    accepted: NDArray[np.float64]

    def curve(self) -> dict[str, Any]:
        """The ROC curve, for a report."""
        count = len(self.accepted)
        keep = np.unique(np.linspace(0, count - 1, min(200, count)).round().astype(np.int64))
        return {
            "x": self.false_accepted[keep].tolist(),
            "y": {"same pairs accepted": self.accepted[keep].tolist()},
            "xlabel": "different pairs accepted",
            "ylabel": "share",
        }


def verification(same: NDArray[Any], different: NDArray[Any]) -> Verification:
    """Verification by distance: ROC of pairs of one class against pairs of two.

    Args:
        same: Distances of pairs of one class.
        different: Distances of pairs of two classes.

    Example:
        >>> round(verification(np.array([0.1, 0.4]), np.array([0.3, 0.9, 1.0])).auc, 3)
        0.833
    """
    if not len(same) or not len(different):
        nothing = np.zeros(0)
        return Verification(float("nan"), float("nan"), nothing, nothing)
    thresholds = np.unique(np.concatenate([same, different]))
    accepted = np.searchsorted(np.sort(same), thresholds, side="right") / len(same)
    wrong = np.searchsorted(np.sort(different), thresholds, side="right") / len(different)
    accepted, wrong = np.concatenate([[0.0], accepted]), np.concatenate([[0.0], wrong])
    auc = float(np.trapezoid(accepted, wrong))
    gap = np.abs((1 - accepted) - wrong)
    nearest = int(np.argmin(gap))
    return Verification(auc, float(((1 - accepted) + wrong)[nearest] / 2), wrong, accepted)


def pair_distances(
    vectors: NDArray[Any], labels: NDArray[Any], l1_weights: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distances of the pairs of one class, and of two; 200,000 of each at most, drawn with a fixed seed.

    Args:
        vectors: (N, D).
        labels: (N,).
        l1_weights: (D,), see :func:`saccade.results.embedding.distances`.

    Example:
        >>> same, different = pair_distances(np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1]))
        >>> same.tolist(), sorted(different.tolist())
        ([1.0], [4.0, 9.0])
    """
    count, rng = len(labels), np.random.default_rng(_SEED)
    if count * (count - 1) // 2 <= 2 * _MOST_PAIRS:
        first, second = np.triu_indices(count, 1)
    else:
        # All pairs of one class, as they are few, and a sample of the others.
        order = np.argsort(labels, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        inside = [np.stack(np.triu_indices(len(group), 1)) for group in groups]
        pairs = np.concatenate([group[index] for group, index in zip(groups, inside, strict=True)], axis=1)
        others = rng.integers(count, size=(2, 2 * _MOST_PAIRS))
        first, second = np.concatenate([pairs, others[:, labels[others[0]] != labels[others[1]]]], axis=1)
    equal = labels[first] == labels[second]
    found = []
    for chosen in (np.flatnonzero(equal), np.flatnonzero(~equal)):
        if len(chosen) > _MOST_PAIRS:
            chosen = rng.choice(chosen, _MOST_PAIRS, replace=False)
        found.append(np.zeros(len(chosen)))
        rows = max(1, _BLOCK // vectors.shape[1])
        for start in range(0, len(chosen), rows):
            some = chosen[start : start + rows]
            gap = np.abs(vectors[first[some]] - vectors[second[some]])
            found[-1][start : start + rows] = gap @ l1_weights if l1_weights is not None else (gap**2).sum(axis=1)
    return found[0], found[1]


def _few_shot(
    vectors: NDArray[Any],
    labels: NDArray[Any],
    ways: int,
    shots: int,
    episodes: int,
    l1_weights: NDArray[Any] | None,
) -> MetricReport | None:
    """Accuracy of the nearest prototype over episodes; None where the data do not allow them."""
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    members = [images for images in members if len(images) > shots]
    if len(members) < ways:
        return None
    queries = min(_QUERIES, min(map(len, members)) - shots)
    evaluator = FewShotEvaluator()
    ground_truth = np.repeat(np.arange(ways), queries)
    for episode in range(episodes):
        rng = np.random.default_rng([_SEED, ways, shots, episode])
        drawn = np.stack(
            [
                rng.choice(members[row], shots + queries, replace=False)
                for row in rng.choice(len(members), ways, replace=False)
            ]
        )
        prototypes = vectors[drawn[:, :shots]].mean(axis=1)
        asked = vectors[drawn[:, shots:].ravel()]
        evaluator.update(episode, distances(asked, prototypes, l1_weights).argmin(axis=1), ground_truth)
    return evaluator.compute()


def _to_ask(labels: NDArray[Any], l1_weights: NDArray[Any] | None) -> NDArray[Any]:
    """Images, of classes with several, whose nearest other image is looked for: of an L1 distance 1,000 at most."""
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[index] > 1)
    if l1_weights is None or len(several) <= _MOST_ASKED:
        return several
    return np.sort(np.random.default_rng(_SEED).choice(several, _MOST_ASKED, replace=False))


def _recall_at_1(
    vectors: NDArray[Any], labels: NDArray[Any], asked: NDArray[Any], l1_weights: NDArray[Any] | None
) -> float:
    """Share of some images whose nearest other image is of their class."""
    if not len(asked):
        return float("nan")
    hits = 0
    for start in range(0, len(asked), 512):  # the whole table of distances could fill gigabytes
        rows = asked[start : start + 512]
        table = distances(vectors[rows], vectors, l1_weights)
        table[np.arange(len(rows)), rows] = np.inf
        hits += int((labels[table.argmin(axis=1)] == labels[rows]).sum())
    return hits / len(asked)


def _histogram(same: NDArray[Any], different: NDArray[Any]) -> dict[str, Any]:
    """Shares of the pairs by distance, for a report."""
    parts = {"same class": same, "different classes": different}
    values = np.concatenate([[0.0], same, different])
    edges = np.linspace(values.min(), max(values.max(), values.min() + 1e-9), 41)
    shares = {name: (np.histogram(part, edges)[0] / len(part)).tolist() for name, part in parts.items() if len(part)}
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    return {"x": middles, "y": shares, "xlabel": "distance", "ylabel": "share of pairs", "kind": "histogram"}
