"""The time that a run may take: ``max_minutes``, counted in seconds of training without the scoring between epochs."""

from __future__ import annotations

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.position import Position

__all__ = ["affordable_epochs", "out_of_time"]

_SLACK = 1.1  # an epoch that was chosen because it fits is finished, unless it takes much longer than those before


def affordable_epochs(config: TrainConfig, done: int, seconds: float) -> int:
    """How many epochs fit into ``max_minutes`` at the speed of those that are done; at least those.

    Example:
        >>> affordable_epochs(TrainConfig(epochs=100, max_minutes=10), done=2, seconds=80)
        15
    """
    assert config.max_minutes is not None
    return min(config.epochs, max(done, int(config.max_minutes * 60 / (seconds / done))))


def out_of_time(config: TrainConfig, at: Position) -> bool:
    """Whether training stops within the epoch under way, as ``max_minutes`` are over.

    Example:
        >>> config = TrainConfig(max_minutes=1)
        >>> [out_of_time(config, Position(epoch=epoch, batch=9, seconds=61)) for epoch in (0, 4)]
        [True, False]
    """
    if config.max_minutes is None or at.batch == 0:
        return False
    return at.seconds >= 60 * config.max_minutes * (1.0 if at.epoch == 0 else _SLACK)
