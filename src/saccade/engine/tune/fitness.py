"""What a search maximises: one number of an epoch's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from saccade.errors import ConfigError, did_you_mean
from saccade.tasks.base import Task

__all__ = ["Fitness", "MetricError", "choose_fitness", "direction_of"]

_LOWER_IS_BETTER = (
    "loss", "nme", "mae", "mse", "rmse", "error", "fid", "kid", "l1", "nll", "brier", "ece", "failure",
)  # fmt: skip


class MetricError(ConfigError):
    """The figure that a search is to maximise is none of those that an epoch has."""


@dataclass(frozen=True)
class Fitness:
    """What is maximised: weighted sums of figures, of which the first that an epoch has counts.

    Args:
        options: Name, and weight by figure; a negative weight is of a figure where lower is better.

    Example:
        >>> from saccade.tasks import get_task
        >>> fitness = choose_fitness(get_task("detection"))
        >>> fitness.of({"epoch": 1.0, "val/AP50": 0.8, "val/AP": 0.5}), fitness.name_for({"val/AP50": 0, "val/AP": 0})
        (0.53, '0.1 AP50 + 0.9 AP')
    """

    options: tuple[tuple[str, Mapping[str, float]], ...]

    def of(self, row: Mapping[str, float]) -> float | None:
        """Fitness of a row of ``metrics.csv``, higher is better; None for an epoch that was not scored.

        Raises:
            MetricError: If the epoch was scored and has none of the figures.
        """
        chosen = self._choose(row)
        if chosen is None:
            return None
        value = sum(weight * row[f"val/{name}"] for name, weight in chosen[1].items())
        return round(value, 12) if math.isfinite(value) else value

    def name_for(self, row: Mapping[str, float]) -> str:
        """Name of what is maximised; "-" before it where lower is better."""
        chosen = self._choose(row)
        if chosen is None:
            return self.options[0][0]
        return f"-{chosen[0]}" if all(weight < 0 for weight in chosen[1].values()) else chosen[0]

    def _choose(self, row: Mapping[str, float]) -> tuple[str, Mapping[str, float]] | None:
        figures = [name.removeprefix("val/") for name in row if name.startswith("val/")]
        if not figures:
            return None
        for name, weights in self.options:
            if set(weights) <= set(figures):
                return name, weights
        wanted = self.options[0][0]
        raise MetricError(f"--metric '{wanted}' is no figure of these epochs.{did_you_mean(wanted, figures)}")


def choose_fitness(task: Task, metric: str | None = None) -> Fitness:
    """What a search of a task maximises.

    Args:
        task: Of the network.
        metric: A figure by its name; ``min:NAME`` and ``max:NAME`` state the direction where the name does not tell.
            None for the task's main figure.

    Example:
        >>> from saccade.tasks import get_task
        >>> keypoints = get_task("keypoints")
        >>> choose_fitness(keypoints).of({"val/NME": 0.25}), choose_fitness(keypoints, "PCK@0.1").options[0][0]
        (-0.25, 'PCK@0.1')
    """
    if metric is None:
        return Fitness(tuple(task.fitness))
    name, lower = direction_of(metric)
    return Fitness(((name, {name: -1.0 if lower else 1.0}),))


def direction_of(metric: str) -> tuple[str, bool]:
    """Name of a figure, and whether lower is better.

    Args:
        metric: Its name; ``min:NAME`` and ``max:NAME`` state the direction where the name does not tell.

    Example:
        >>> direction_of("nll"), direction_of("AP"), direction_of("min:seconds")
        (('nll', True), ('AP', False), ('seconds', True))
    """
    direction, colon, name = metric.partition(":")
    if colon and direction in ("min", "max"):
        return name, direction == "min"
    words = metric.lower().replace("-", "_").split("_")
    return metric, any(word in words for word in _LOWER_IS_BETTER)
