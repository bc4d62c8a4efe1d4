"""Accuracy, calibration and confusion of classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.data.sample import Target
from saccade.errors import DataError
from saccade.metrics.base import MetricReport
from saccade.results.base import Result
from saccade.results.classification import Classification

__all__ = ["ClassificationEvaluator", "Verdict", "calibration_error"]

_SMALLEST = 1e-12  # a probability of zero for the truth costs 27.6 instead of infinity


class Verdict(NamedTuple):
    """What is kept of one picture.

    Attributes:
        truth: True class.
        predicted: Most probable class.
        rank: How many classes were more probable than the true one.
        loss: Negative log-probability of the true class.
        confidence: Probability of the predicted class.
    """

    truth: int
    predicted: int
    rank: int
    loss: float
    confidence: float


class ClassificationEvaluator:
    """Top-1 and, from five classes on, top-5 accuracy; negative log-likelihood; calibration; each class.

    Args:
        class_names: Names of labels 0..C-1.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._images: dict[int, Verdict] = {}

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take predictions beside their truth (``labels``: the class, or weights of which the largest counts)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Classification):
                raise TypeError(f"classification metrics need Classification, got {type(result).__name__}.")
            label = np.asarray(target["labels"])
            truth = int(np.argmax(label)) if label.ndim else int(label)
            if not 0 <= truth < len(result.probabilities):
                raise DataError(
                    f"{result.path}: truth is label {truth}, but the model has {len(result.probabilities)} classes. "
                    "Check that model and data set have the same classes."
                )
            self._images[int(result.image_id)] = _judge(result.probabilities, truth)

    def state(self) -> dict[int, Verdict]:
        """One verdict an image id."""
        return self._images

    def merge(self, states: Sequence[Any]) -> None:
        """Take the union; an image that several processes saw counts once."""
        self._images = {image_id: verdict for state in states for image_id, verdict in state.items()}

    def compute(self) -> MetricReport:
        """All figures; ``ece`` is the expected calibration error over 15 bins (Guo et al. 2017)."""
        verdicts = [self._images[image_id] for image_id in sorted(self._images)]
        truth = np.array([verdict.truth for verdict in verdicts], np.int64)
        predicted = np.array([verdict.predicted for verdict in verdicts], np.int64)
        rank = np.array([verdict.rank for verdict in verdicts], np.int64)
        count = max([len(self.class_names), *(truth + 1).tolist(), *(predicted + 1).tolist()])
        names = [*self.class_names, *(f"class {label}" for label in range(len(self.class_names), count))]

        matrix = np.zeros((count, count), np.int64)
        np.add.at(matrix, (truth, predicted), 1)
        per_class = _per_class(matrix, names)
        recalls = [row["recall"] for row in per_class if row["images"]]
        values = {"top1": _mean(rank < 1)}
        if count >= 5:
            values["top5"] = _mean(rank < 5)
        values["mean_class_accuracy"] = _mean(np.array(recalls))
        values["nll"] = _mean(np.array([verdict.loss for verdict in verdicts]))
        confidence = np.array([verdict.confidence for verdict in verdicts])
        values["ece"], curve = calibration_error(confidence, predicted == truth)
        return MetricReport(
            values=values,
            primary="top1",
            per_class=per_class,
            curves={"calibration": curve},
            confusion={"labels": names, "matrix": matrix.tolist()},
        )


def calibration_error(confidence: NDArray[Any], right: NDArray[Any], bins: int = 15) -> tuple[float, dict[str, Any]]:
    """How far confidence is from the share that is right, over bins of equal width (Guo et al. 2017, equation 3).

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,) whether it was the true one.
        bins: How many, over 0..1.

    Returns:
        The error, 0..1 (NaN for nothing), and the curve of accuracy over confidence.
    """
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, bins - 1)
    number = np.bincount(places, minlength=bins)
    filled = number > 0
    sure = np.bincount(places, weights=confidence, minlength=bins)[filled] / number[filled]
    accuracy = np.bincount(places, weights=right.astype(np.float64), minlength=bins)[filled] / number[filled]
    error = (
        float(np.sum(number[filled] / len(confidence) * np.abs(sure - accuracy))) if len(confidence) else float("nan")
    )
    curve = {
        "x": sure.tolist(),
        "y": {"model": accuracy.tolist(), "perfect": sure.tolist()},
        "xlabel": "confidence",
        "ylabel": "accuracy",
    }
    return error, curve


def _judge(probabilities: NDArray[Any], truth: int) -> Verdict:
    values = np.asarray(probabilities, np.float64)
    if not np.isfinite(values).all():  # a comparison with NaN is never true: without this, NaN would rank first
        return Verdict(truth, int(np.argmax(np.nan_to_num(values, nan=-1.0))), len(values), float("nan"), 0.0)
    # Equal probabilities rank by index, as argmax does.
    rank = int(np.sum(values > values[truth]) + np.sum(values[:truth] == values[truth]))
    predicted = int(np.argmax(values))
    return Verdict(truth, predicted, rank, float(-np.log(max(values[truth], _SMALLEST))), float(values[predicted]))


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


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
