"""Learning rate as a pure function of the position in the run, so that nothing has to be saved for it."""

from __future__ import annotations

import math

from saccade.engine.train.config import ScheduleConfig

__all__ = ["lr_factor", "warmup_share"]


def lr_factor(config: ScheduleConfig, epoch: float, total_epochs: float) -> float:
    """Factor of a schedule on the optimiser's learning rate.

    Args:
        config: Shape of the schedule.
        epoch: Position in epochs, fractional, counted from 0; the value holds for the step that starts there.
        total_epochs: Length of the run.

    Returns:
        Factor, 0..1 for all schedules.

    Example:
        >>> lr_factor(ScheduleConfig(name="linear"), 5, 10)
        0.5
    """
    if epoch < config.warmup_epochs:
        return float(warmup_share(config, epoch) ** config.warmup_power)
    if config.name == "constant":
        return 1.0
    if config.name == "step":
        return float(config.gamma ** sum(epoch >= milestone for milestone in config.milestones))
    if config.name == "exponential":
        return float(config.gamma ** math.floor(epoch / config.gamma_epochs + 1e-9))
    start = config.warmup_epochs + config.constant_epochs
    span = max(total_epochs - start - config.flat_epochs, 1e-9)
    progress = min(max((epoch - start) / span, 0.0), 1.0)
    if config.name == "cosine":
        shape = 0.5 * (1.0 + math.cos(math.pi * progress))  # Loshchilov and Hutter 2017, eq. 5
    elif config.name == "poly":
        shape = (1.0 - progress) ** config.power  # Liu et al. 2015 (ParseNet), DeepLabV2 section 4.1
    else:
        shape = 1.0 - progress
    return float(config.final_factor + (1.0 - config.final_factor) * shape)


def warmup_share(config: ScheduleConfig, epoch: float) -> float:
    """Share of the warm-up that is over, 0..1; 1 without one.

    Example:
        >>> warmup_share(ScheduleConfig(warmup_epochs=3), 1.5), warmup_share(ScheduleConfig(), 0)
        (0.5, 1.0)
    """
    return min(epoch / config.warmup_epochs, 1.0) if config.warmup_epochs > 0 else 1.0
