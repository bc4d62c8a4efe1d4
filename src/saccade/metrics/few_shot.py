"""Accuracy over the episodes of few-shot learning, with its 95 % interval.

An episode is a small classification problem of its own (N classes, K examples of each, some queries); papers print the
mean accuracy of some hundred episodes, plus or minus 1.96 standard errors (Vinyals et al. 2016; Snell et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import MetricReport

__all__ = ["FewShotEvaluator"]


class FewShotEvaluator:
    """Streaming like the evaluators of images; what it takes are episodes.

    Example:
        >>> evaluator = FewShotEvaluator()
        >>> evaluator.update(0, np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0]))
        >>> evaluator.update(1, np.array([0, 1, 2, 0]), np.array([0, 1, 2, 0]))
        >>> evaluator.compute().values["accuracy"]
        0.875
    """

    def __init__(self) -> None:
        self._episodes: dict[int, tuple[int, int]] = {}

    def update(self, episode: int, predicted: NDArray[Any], ground_truth: NDArray[Any]) -> None:
        """Take the answers of one episode.

        Args:
            episode: Its number; one that comes again replaces itself.
            predicted: Class of each query, shape (Q,).
            ground_truth: True class of each query, shape (Q,).

        Raises:
            DataError: If there are no queries, or not as many answers.
        """
        predicted, ground_truth = np.asarray(predicted), np.asarray(ground_truth)
        if predicted.shape != ground_truth.shape or not ground_truth.size:
            raise DataError(
                f"episode {episode}: there are {predicted.size} answers to {ground_truth.size} queries. "
                "Give one answer a query, and at least one query."
            )
        self._episodes[int(episode)] = int(np.count_nonzero(predicted == ground_truth)), int(ground_truth.size)

    def state(self) -> dict[int, tuple[int, int]]:
        """Right answers and queries by episode."""
        return self._episodes

    def merge(self, states: Sequence[Any]) -> None:
        """Take the union; an episode that several processes saw counts once."""
        self._episodes = {episode: counts for state in states for episode, counts in state.items()}

    def compute(self) -> MetricReport:
        """``accuracy``, the mean over episodes, and ``interval_95``, half the width of its 95 % interval.

        The interval is 1.96 * std / sqrt(episodes), with the standard deviation of the episodes themselves (divided by
        their number, not by one less); NaN for fewer than two episodes.
        """
        accuracies = np.array([right / total for _, (right, total) in sorted(self._episodes.items())])
        count = len(accuracies)
        return MetricReport(
            values={
                "accuracy": float(accuracies.mean()) if count else float("nan"),
                "interval_95": float(1.96 * accuracies.std() / np.sqrt(count)) if count > 1 else float("nan"),
                "episodes": float(count),
            },
            primary="accuracy",
        )
