"""Callbacks of a training run: what it tells while it runs, as typed events, and how it is stopped from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from saccade.engine.train.config import TrainConfig
from saccade.metrics.base import MetricReport
from saccade.models.base import Model

__all__ = ["Callback", "EndEvent", "EpochEvent", "OnEpoch", "StartEvent", "StepEvent"]


@dataclass(frozen=True)
class StartEvent:
    """The run begins, or goes on.

    Args:
        config: The whole run.
        folder: The run folder.
        model: The network, on its device.
        step: Batches that are done; above 0 for a run that goes on.
        steps: Batches of the whole run, as far as it is known.

    Example:
        >>> StartEvent(TrainConfig(), Path("runs/run"), saccade.create_model("lenet5"), step=0, steps=400).steps
        400
    """

    config: TrainConfig
    folder: Path
    model: Model
    step: int
    steps: int


@dataclass(frozen=True)
class StepEvent:
    """Figures of one batch, every ``log_every`` batches and at least every 30 seconds.

    Args:
        epoch: Of the run, counted from 1.
        epochs: Of the run.
        step: Batches of the run that are done.
        steps: Batches of the whole run, as far as it is known.
        losses: Terms of the loss of this batch, on the main process.
        lr: Learning rate.
        images_per_second: Of all processes together, over the last batches; 0 if it is not known yet.
        seconds_left: Of the run; None if it is not known yet.

    Example:
        >>> StepEvent(1, 4, 50, 400, {"box": 1.5, "class": 0.5}, 0.01, 80.0, 70.0).loss
        2.0
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    losses: Mapping[str, float]
    lr: float
    images_per_second: float
    seconds_left: float | None

    @property
    def loss(self) -> float:
        """Sum of the terms."""
        return sum(self.losses.values())


@dataclass(frozen=True)
class EpochEvent:
    """An epoch is over, scored and saved.

    Args:
        epoch: Of the run, counted from 1.
        epochs: Of the run.
        step: Batches of the run that are done.
        figures: The row of ``metrics.csv``.
        report: Scores on the validation split with all their tables; None if the epoch was not scored.
        is_best: Its weights are the best so far, and kept.
        seconds_left: Of the run; None if it is not known yet.

    Example:
        >>> EpochEvent(2, 4, 200, {"train/loss": 0.7}, None, is_best=False, seconds_left=70.0).figures["train/loss"]
        0.7
    """

    epoch: int
    epochs: int
    step: int
    figures: Mapping[str, float]
    report: MetricReport | None
    is_best: bool
    seconds_left: float | None


@dataclass(frozen=True)
class EndEvent:
    """The run is over, however it ended.

    Args:
        state: ``finished``; ``stopped`` by a callback; ``interrupted`` by Ctrl-C or SIGTERM; ``failed``.
        step: Batches of the run that are done.
        metrics: Figures of the kept weights; empty unless it finished or was stopped.
        error: What went wrong; empty if nothing did.

    Example:
        >>> EndEvent("failed", 120, {}, "the disk is full").state
        'failed'
    """

    state: Literal["finished", "stopped", "interrupted", "failed"]
    step: int
    metrics: Mapping[str, float]
    error: str = ""


class Callback:
    """Base of callbacks: each method is called on the main process and does nothing unless it is replaced.

    ``on_step`` and ``on_epoch`` stop the run, in good order, by returning a true value: the weights are scored and
    kept, and ``resume`` goes on from there. An error of a callback ends the run.

    Example:
        >>> class StopWhenLow(Callback):
        ...     def on_step(self, event):
        ...         return event.loss < 0.1
        >>> StopWhenLow().on_step(StepEvent(1, 4, 50, 400, {"cross_entropy": 0.05}, 0.01, 80.0, 70.0))
        True
    """

    def on_start(self, event: StartEvent) -> None:
        """The run begins, or goes on; not called if nothing is left to train."""

    def on_step(self, event: StepEvent) -> bool | None:
        """Some batches are done; a true value stops the run."""

    def on_epoch(self, event: EpochEvent) -> bool | None:
        """An epoch is over, scored and saved; a true value stops the run."""

    def on_end(self, event: EndEvent) -> None:
        """The run is over, however it ended; called if ``on_start`` was."""


class OnEpoch(Callback):
    """Callback from a function of the figures of an epoch, the row of ``metrics.csv``.

    Args:
        function: A true value stops the run.

    Example:
        >>> stop = OnEpoch(lambda figures: figures["val/top1"] > 0.99)
        >>> stop.on_epoch(EpochEvent(1, 4, 100, {"val/top1": 0.995}, None, True, None))
        True
    """

    def __init__(self, function: Callable[[Mapping[str, float]], bool | None]) -> None:
        self.function = function

    def on_epoch(self, event: EpochEvent) -> bool | None:
        """Call the function."""
        return self.function(event.figures)
