"""Settings in force in each epoch: the configuration's phases, resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from saccade.data.loading.canvases import scaled_canvases
from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import FreezeConfig, Phase, TrainConfig
from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model
from saccade.structures.input_spec import InputSpec

__all__ = ["EpochSettings", "resolve_phases", "settings_at"]


@dataclass(frozen=True)
class EpochSettings:
    """Settings of the epochs from one phase to the next.

    Args:
        index: Number of the phase; 0 is the configuration itself.
        augment: Augmentation in force.
        size: Canvas (height, width), or None for the model's own.
        freeze: What is frozen.
        model: Attributes set on the model.
    """

    index: int
    augment: AugmentConfig
    size: tuple[int, int] | None
    freeze: FreezeConfig
    model: dict[str, Any]

    def multiscale(self, spec: InputSpec) -> tuple[Sequence[int | tuple[int, int]], int]:
        """Canvases to draw from, none for training at one, and the steps between two draws."""
        augment = self.augment
        if augment.multiscale_range is None:
            return augment.multiscale, augment.multiscale_every
        return scaled_canvases(spec, self.size, augment.multiscale_range), augment.multiscale_every


def resolve_phases(config: TrainConfig, model: Model) -> list[EpochSettings]:
    """Resolve the settings of every phase; each builds on the one before.

    Raises:
        ConfigError: If a phase names an attribute that the model does not have, an unknown field of the augmentation,
            or a size that the network does not take.

    Example:
        >>> config = TrainConfig(phases=(Phase(from_epoch=5, freeze=FreezeConfig("head")),))
        >>> [(one.index, one.freeze.trainable) for one in resolve_phases(config, saccade.create_model("lenet5"))]
        [(0, 'all'), (1, 'head')]
    """
    base_attributes = {
        name: getattr(model, name) for phase in config.phases for name in phase.model if hasattr(model, name)
    }
    resolved = [EpochSettings(0, config.augment, None, config.freeze, base_attributes)]
    for index, phase in enumerate(config.phases, start=1):
        _check(phase, model, index)
        last = resolved[-1]
        augment = replace(last.augment, **phase.augment)
        resolved.append(
            EpochSettings(
                index, augment, phase.size or last.size, phase.freeze or last.freeze, {**last.model, **phase.model}
            )
        )
    for settings in resolved:
        sizes = [(side, side) for side in settings.augment.multiscale] + ([settings.size] if settings.size else [])
        if settings.augment.multiscale_range is not None:
            scaled_canvases(model.input_spec, settings.size, settings.augment.multiscale_range)
        for size in sizes:
            model.input_spec.with_size(size)  # a network of one size refuses others here, not in the middle of a run
    return resolved


def settings_at(config: TrainConfig, phases: list[EpochSettings], epoch: int, total_epochs: int) -> EpochSettings:
    """Settings in force in ``epoch``, counted from 0.

    Example:
        >>> config = TrainConfig(epochs=10, phases=(Phase(from_epoch=-2, augment={"mosaic": 0.0}, size=(64, 64)),))
        >>> phases = resolve_phases(config, saccade.create_model("yolox_nano"))
        >>> [settings_at(config, phases, epoch, total_epochs=10).size for epoch in (7, 8)]
        [None, (64, 64)]
    """
    starts = [0] + [
        phase.from_epoch if phase.from_epoch >= 0 else max(total_epochs + phase.from_epoch, 0)
        for phase in config.phases
    ]
    return [settings for settings, start in zip(phases, starts, strict=True) if epoch >= start][-1]


def _check(phase: Phase, model: Model, index: int) -> None:
    for name in phase.model:
        if not hasattr(model, name):
            public = [key for key in vars(model) if not key.startswith("_")]
            where = f"phases[{index - 1}].model: {model.builder_name}"
            raise ConfigError(f"{where} has no attribute '{name}'.{did_you_mean(name, public)}")
    known = [field.name for field in fields(AugmentConfig)]
    for name in phase.augment:
        if name not in known:
            raise ConfigError(f"phases[{index - 1}].augment: unknown option '{name}'.{did_you_mean(name, known)}")
