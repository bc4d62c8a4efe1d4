"""Metrics of classifiers: accuracy, precision, recall, F1, calibration and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError, DataError
from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.metrics.calibration import adaptive_calibration_error, calibration_error
from saccade.metrics.resample import of_records, rows_mean
from saccade.results.base import Result
from saccade.results.classification import Classification
from saccade.structures.sample import Target

__all__ = ["ClassificationEvaluator", "Verdict"]

_SMALLEST = 1e-12  # a probability of zero for the ground truth costs 27.6 instead of infinity


class Verdict(NamedTuple):
    """Record of one image: its true and its predicted class, and how probable they were.

    Attributes:
        ground_truth: True class.
        predicted: Most probable class.
        rank: Number of classes more probable than the true one.
        loss: Negative log-probability of the true class.
        brier: Squared distance of the probabilities from the one-hot ground truth, 0..2.
        confidence: Probability of the predicted class.

    Example:
        >>> from saccade.results.classification import Classification
        >>> about = dict(path="a.jpg", image_id=7, image_size=(4, 4), class_names=("cat", "dog"))
        >>> evaluator = ClassificationEvaluator(("cat", "dog"))
        >>> evaluator.update([Classification(**about, probabilities=np.array([0.25, 0.75]))], [{"labels": np.array(0)}])
        >>> evaluator.state()[7]
        Verdict(ground_truth=0, predicted=1, rank=1, loss=1.386..., brier=1.125, confidence=0.75)
    """

    ground_truth: int
    predicted: int
    rank: int
    loss: float
    brier: float
    confidence: float


class ClassificationEvaluator(RecordEvaluator[Verdict]):
    """Metrics of a classifier: top-k accuracy, precision, recall, F1, log-likelihood, Brier score and calibration.

    Args:
        class_names: Names of labels 0..C-1.
        top_k: Values of k to report; each only where there are at least k classes.

    Raises:
        ConfigError: If a k is less than one, or 1, by which the best checkpoint is chosen, is not among them.

    Example:
        >>> from saccade.results.classification import Classification
        >>> names = ("cat", "dog")
        >>> evaluator = ClassificationEvaluator(names)
        >>> for image_id, (probabilities, label) in enumerate([([0.9, 0.1], 0), ([0.8, 0.2], 1), ([0.3, 0.7], 1)]):
        ...     about = dict(path=f"{image_id}.jpg", image_id=image_id, image_size=(4, 4), class_names=names)
        ...     result = Classification(**about, probabilities=np.array(probabilities))
        ...     evaluator.update([result], [{"labels": np.array(label)}])
        >>> report = evaluator.compute()
        >>> round(report.values["top1"], 3), report.confusion["matrix"]
        (0.667, [[1, 0], [1, 1]])
    """

    def __init__(self, class_names: Sequence[str], top_k: Sequence[int] = (1, 5)) -> None:
        super().__init__()
        if 1 not in top_k or min(top_k) < 1:
            raise ConfigError(f"top_k is {list(top_k)}. Give whole numbers from 1 on, 1 among them.")
        self.class_names = tuple(class_names)
        self.top_k = tuple(sorted(set(top_k)))

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take predictions and ground truth (``labels``: the class, or weights of which the largest counts)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Classification):
                raise TypeError(f"classification metrics need Classification, got {type(result).__name__}.")
            label = np.asarray(target["labels"])
            ground_truth = int(np.argmax(label)) if label.ndim else int(label)
            if not 0 <= ground_truth < len(result.probabilities):
                raise DataError(
                    f"{result.path}: ground truth is label {ground_truth}, the model has "
                    f"{len(result.probabilities)} classes. Check that model and data set have the same classes."
                )
            self._records[int(result.image_id)] = _judge(result.probabilities, ground_truth)

    def resampled(self, images: Sequence[int], weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Accuracies, F1, likelihood and Brier score of each draw of images (:mod:`saccade.metrics.resample`)."""
        drawn = of_records(weights, images, self._records).astype(np.float64)
        verdicts = [self._records[image_id] for image_id in sorted(self._records)]
        truth = np.array([verdict.ground_truth for verdict in verdicts])
        predicted = np.array([verdict.predicted for verdict in verdicts])
        rank = np.array([verdict.rank for verdict in verdicts])
        total, count = drawn.sum(axis=1), max(len(self.class_names), int(truth.max()) + 1, int(predicted.max()) + 1)
        values = {f"top{k}": drawn @ (rank < k) / total for k in self.top_k if k == 1 or k <= count}
        classes = np.arange(count)
        of_class, guessed = truth[:, None] == classes, predicted[:, None] == classes  # (N, C)
        hits, there, guesses = (drawn @ one.astype(np.float64) for one in (of_class & guessed, of_class, guessed))
        with np.errstate(divide="ignore", invalid="ignore"):
            recall, f1 = hits / there, 2 * hits / (there + guesses)
        values["mean_class_accuracy"], values["macro_F1"] = (rows_mean(one) for one in (recall, f1))
        values["nll"] = drawn @ np.array([verdict.loss for verdict in verdicts]) / total
        values["brier"] = drawn @ np.array([verdict.brier for verdict in verdicts]) / total
        return values

    def compute(self) -> MetricReport:
        """Report of all metrics, with classes, calibration curve and confusion matrix.

        ``mean_class_accuracy`` is the mean of the classes' recalls; ``macro`` metrics are means over the classes for
        which the metric is defined, ``weighted`` ones are weighted by the images of the class. ``ece`` is the
        expected calibration error over 15 bins of equal width, ``adaptive_ece`` over 15 equally full ones.
        """
        verdicts = [self._records[image_id] for image_id in sorted(self._records)]
        ground_truth = np.array([verdict.ground_truth for verdict in verdicts], np.int64)
        predicted = np.array([verdict.predicted for verdict in verdicts], np.int64)
        rank = np.array([verdict.rank for verdict in verdicts], np.int64)
        count = max([len(self.class_names), *(ground_truth + 1).tolist(), *(predicted + 1).tolist()])
        names = [*self.class_names, *(f"class {label}" for label in range(len(self.class_names), count))]

        matrix = np.zeros((count, count), np.int64)
        np.add.at(matrix, (ground_truth, predicted), 1)
        per_class = _per_class(matrix, names)
        values = {f"top{k}": _mean(rank < k) for k in self.top_k if k == 1 or k <= count}
        values["mean_class_accuracy"] = _defined_mean(per_class, "recall")
        for kind, weighted in (("macro", False), ("weighted", True)):
            values[f"{kind}_precision"] = _defined_mean(per_class, "precision", weighted)
            values[f"{kind}_F1"] = _defined_mean(per_class, "F1", weighted)
        values["nll"] = _mean(np.array([verdict.loss for verdict in verdicts]))
        values["brier"] = _mean(np.array([verdict.brier for verdict in verdicts]))
        confidence = np.array([verdict.confidence for verdict in verdicts])
        values["ece"], curve = calibration_error(confidence, predicted == ground_truth)
        values["adaptive_ece"], _ = adaptive_calibration_error(confidence, predicted == ground_truth)
        return MetricReport(
            values=values,
            primary="top1",
            per_class=per_class,
            curves={"calibration": curve},
            confusion={"labels": names, "matrix": matrix.tolist()},
        )


def _judge(probabilities: NDArray[Any], ground_truth: int) -> Verdict:
    values = np.asarray(probabilities, np.float64)
    if not np.isfinite(values).all():  # a comparison with NaN is never true: without this, NaN would rank first
        guess = int(np.argmax(np.nan_to_num(values, nan=-1.0)))
        return Verdict(ground_truth, guess, len(values), float("nan"), float("nan"), 0.0)
    # Equal probabilities rank by index, as argmax does.
    rank = int(np.sum(values > values[ground_truth]) + np.sum(values[:ground_truth] == values[ground_truth]))
    predicted = int(np.argmax(values))
    loss = float(-np.log(max(values[ground_truth], _SMALLEST)))
    # Brier 1950, equation 2: sum over classes of (probability - ground truth)^2; the true class has ground truth 1.
    brier = float(np.sum(values**2) - values[ground_truth] ** 2 + (1 - values[ground_truth]) ** 2)
    return Verdict(ground_truth, predicted, rank, loss, brier, float(values[predicted]))


def _per_class(matrix: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    """Accuracy (the class's recall), precision and F1; NaN where nothing was predicted, or nothing is there."""
    rows = []
    for label, name in enumerate(names):
        hits, images, guesses = int(matrix[label, label]), int(matrix[label].sum()), int(matrix[:, label].sum())
        rows.append(
            {
                "class": name,
                "accuracy": _ratio(hits, images),
                "precision": _ratio(hits, guesses),
                "recall": _ratio(hits, images),
                "F1": _ratio(2 * hits, images + guesses),
                "images": images,
            }
        )
    return rows


def _defined_mean(rows: Sequence[dict[str, Any]], figure: str, weighted: bool = False) -> float:
    """Mean of a metric over the classes for which it is defined, weighted by their images if asked."""
    values = np.array([row[figure] for row in rows], np.float64)
    weights = np.array([row["images"] for row in rows], np.float64) if weighted else np.ones(len(rows))
    defined = ~np.isnan(values)
    return _ratio(float(values[defined] @ weights[defined]), float(weights[defined].sum()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
