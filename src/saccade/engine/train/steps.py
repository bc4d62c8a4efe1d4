"""Steps of a run: what each changes in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_from_dict
from saccade.errors import ConfigError, did_you_mean

__all__ = ["RunStep", "resolve_steps"]

# What belongs to the run as a whole.
_FIXED = (
    "name",
    "model",
    "model_args",
    "weights",
    "partial_weights",
    "steps",
    "out",
    "seed",
    "compile",
    "precision",
    "channels_last",
    "plugins",
)


@dataclass(frozen=True)
class RunStep:
    """Step of a run with the whole configuration that holds in it.

    Args:
        name: Its name; empty for a run without steps.
        config: Configuration that holds in it.
        solver: ``gradient``, or ``model`` for :meth:`saccade.models.base.Model.solve`.
    """

    name: str
    config: TrainConfig
    solver: Literal["gradient", "model"] = "gradient"


def resolve_steps(config: TrainConfig) -> list[RunStep]:
    """Resolve the steps of a run, each with its whole configuration; a run without steps is one step without a name.

    Raises:
        ConfigError: If two steps have one name, or a change names an unknown field, one of the run, or a wrong value.

    Example:
        >>> from saccade.engine.train.config import Step
        >>> config = TrainConfig(epochs=9, steps=(Step("head", {"freeze.trainable": "head", "epochs": 2}), Step("all")))
        >>> [(step.name, step.config.epochs, step.config.freeze.trainable) for step in resolve_steps(config)]
        [('head', 2, 'head'), ('all', 9, 'all')]
    """
    base = replace(config, steps=())
    if not config.steps:
        return [RunStep("", base)]
    names = [step.name for step in config.steps]
    if len(set(names)) < len(names) or not all(names):
        raise ConfigError(f"steps: every step needs a name of its own; got {names}.")
    steps = []
    for index, step in enumerate(config.steps):
        where = f"steps[{index}] ({step.name})"
        values = asdict(base)
        for key, value in step.changes.items():
            _change(values, base, key, value, where)
        steps.append(RunStep(step.name, config_from_dict(TrainConfig, values, where), step.solver))
    return steps


def _change(values: dict[str, Any], config: TrainConfig, key: str, value: Any, where: str) -> None:
    """Set one dotted field of plain values."""
    *path, last = key.split(".")
    if (path or [last])[0] in _FIXED:
        raise ConfigError(f"{where}: '{key}' belongs to the whole run and cannot change in a step.")
    record: Any = config
    for name in path:
        _check_field(record, name, key, where)
        record, values = getattr(record, name), values[name]
    if not is_dataclass(record) and not isinstance(record, Mapping):
        raise ConfigError(f"{where}: '{key}' names no field.")
    if is_dataclass(record):
        _check_field(record, last, key, where)
    values[last] = value


def _check_field(record: Any, name: str, key: str, where: str) -> None:
    known = [field.name for field in fields(record)] if is_dataclass(record) else list(record)
    if name not in known:
        raise ConfigError(f"{where}: unknown field '{key}'.{did_you_mean(name, known)}")
