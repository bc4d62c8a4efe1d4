"""What holds in which epoch: the configuration's stages, resolved."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import FreezeConfig, Stage, TrainConfig
from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model

__all__ = ["EpochSettings", "resolve_stages", "settings_at"]


@dataclass(frozen=True)
class EpochSettings:
    """Settings of the epochs from one stage to the next.

    Args:
        index: Number of the stage; 0 is the configuration itself.
        augment: Augmentation in force.
        size: Canvas (height, width), or None for the model's own.
        freeze: What stands still.
        model: Attributes set on the model.
    """

    index: int
    augment: AugmentConfig
    size: tuple[int, int] | None
    freeze: FreezeConfig
    model: dict[str, Any]


def resolve_stages(config: TrainConfig, model: Model) -> list[EpochSettings]:
    """Settings of every stage; each builds on the one before.

    Raises:
        ConfigError: If a stage names an attribute the model has not, or an unknown field of the augmentation.
    """
    base_attributes = {
        name: getattr(model, name) for stage in config.stages for name in stage.model if hasattr(model, name)
    }
    resolved = [EpochSettings(0, config.augment, None, config.freeze, base_attributes)]
    for index, stage in enumerate(config.stages, start=1):
        _check(stage, model, index)
        last = resolved[-1]
        augment = replace(last.augment, **stage.augment)
        resolved.append(
            EpochSettings(
                index, augment, stage.size or last.size, stage.freeze or last.freeze, {**last.model, **stage.model}
            )
        )
    return resolved


def settings_at(config: TrainConfig, stages: list[EpochSettings], epoch: int, total_epochs: int) -> EpochSettings:
    """The settings that hold in ``epoch``, counted from 0."""
    starts = [0] + [
        stage.from_epoch if stage.from_epoch >= 0 else max(total_epochs + stage.from_epoch, 0)
        for stage in config.stages
    ]
    return [settings for settings, start in zip(stages, starts, strict=True) if epoch >= start][-1]


def _check(stage: Stage, model: Model, index: int) -> None:
    for name in stage.model:
        if not hasattr(model, name):
            public = [key for key in vars(model) if not key.startswith("_")]
            where = f"stages[{index - 1}].model: {model.builder_name}"
            raise ConfigError(f"{where} has no attribute '{name}'.{did_you_mean(name, public)}")
    known = [field.name for field in fields(AugmentConfig)]
    for name in stage.augment:
        if name not in known:
            raise ConfigError(f"stages[{index - 1}].augment: unknown option '{name}'.{did_you_mean(name, known)}")
