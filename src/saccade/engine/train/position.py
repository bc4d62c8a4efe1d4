"""Position of a run: how far it is and what it has found, saved with the tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Position"]


@dataclass
class Position:
    """Position of a run, from which a resumed run goes on at the exact batch.

    Args:
        run_step: Steps of the run that are done.
        first_epoch: Epochs of the steps before this one; no two steps see the same augmentation.
        epoch: Epochs of this step that are done.
        batch: Batches of this epoch that are done.
        step: Batches of the run that are done.
        total_epochs: Epochs of this step.
        best_score: Score of the weights that are kept.
        kept_epoch: Epoch of the run whose weights are kept, counted from 1; 0 if none are.
        stale: Evaluations since then.
        seconds: Time of training.
        images: Training images of the epoch under way.
        batches: Batches of the epoch under way.
        sums: Sums of the loss terms over the batches of this epoch.
        history: Rows of ``metrics.csv``.
        fresh_norms: BatchNorm layers whose statistics the run itself began
            (:mod:`saccade.engine.train.statistics`); None before the first batch.

    Example:
        >>> Position(first_epoch=4, epoch=2).epochs_done
        6
    """

    run_step: int = 0
    first_epoch: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    total_epochs: int = 0
    best_score: float = -math.inf
    kept_epoch: int = 0
    stale: int = 0
    seconds: float = 0.0
    images: int = 0
    batches: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    fresh_norms: list[str] | None = None

    @property
    def epochs_done(self) -> int:
        """Epochs of the run that are done."""
        return self.first_epoch + self.epoch

    def keep(self, score: float, epoch: int) -> None:
        """Remember that the weights of an epoch are the ones that are kept."""
        self.best_score, self.kept_epoch, self.stale = score, epoch, 0

    def forget_kept(self) -> None:
        """Remember that no weights are kept; the best is chosen among the epochs that follow."""
        self.best_score, self.kept_epoch, self.stale = -math.inf, 0, 0
