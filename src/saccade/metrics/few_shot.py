"""Accuracy over the episodes of few-shot learning, with its 95 % interval.

An episode is a small classification problem of its own (N classes, K examples of each, some queries); papers print the
mean accuracy of some hundred episodes, plus or minus 1.96 standard errors (Vinyals et al. 2016; Snell et al. 2017).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import MetricReport, RecordEvaluator

__all__ = ["FewShotEvaluator"]


class FewShotEvaluator(RecordEvaluator[tuple[int, int]]):
    """Few-shot accuracy: mean over episodes, with its 95 % interval.

    Records are correct predictions and queries, by number of the episode.

    Example:
        >>> evaluator = FewShotEvaluator()
        >>> evaluator.update(0, np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0]))
        >>> evaluator.update(1, np.array([0, 1, 2, 0]), np.array([0, 1, 2, 0]))
        >>> evaluator.compute().values["accuracy"]
        0.875
    """

    def update(self, episode: int, predicted: NDArray[Any], ground_truth: NDArray[Any]) -> None:
        """Take the predictions of one episode.

        Args:
            episode: Its number; one that comes again replaces itself.
            predicted: Class of each query, shape (Q,).
            ground_truth: True class of each query, shape (Q,).

        Raises:
            DataError: If there are no queries, or not as many predictions.
        """
        predicted, ground_truth = np.asarray(predicted), np.asarray(ground_truth)
        if predicted.shape != ground_truth.shape or not ground_truth.size:
            raise DataError(
                f"episode {episode}: there are {predicted.size} predictions for {ground_truth.size} queries. "
                "Give one prediction a query, and at least one query."
            )
        self._records[int(episode)] = int(np.count_nonzero(predicted == ground_truth)), int(ground_truth.size)

    def compute(self) -> MetricReport:
        """Report of ``accuracy``, the mean over episodes, and ``interval_95``, half the width of its 95 % interval.

        The interval is 1.96 * std / sqrt(episodes), with the standard deviation of the episodes themselves (divided by
        their number, not by one less); NaN for fewer than two episodes.
        """
        accuracies = np.array([correct / total for _, (correct, total) in sorted(self._records.items())])
        count = len(accuracies)
        return MetricReport(
            values={
                "accuracy": float(accuracies.mean()) if count else float("nan"),
                "interval_95": float(1.96 * accuracies.std() / np.sqrt(count)) if count > 1 else float("nan"),
                "episodes": float(count),
            },
            primary="accuracy",
        )
