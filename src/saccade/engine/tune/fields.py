"""Fields of a configuration by dotted name: their type, their value, and what their values may be."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_from_dict, config_to_yaml
from saccade.errors import ConfigError, did_you_mean
from saccade.models.registry import get_builder
from saccade.structures.yaml_files import parse_yaml

__all__ = ["LIMITS", "get_field", "limits_of", "plain", "type_of", "with_fields"]

# What belongs to the search itself.
_OF_THE_SEARCH = ("name", "out")

# Smallest and largest value of numeric fields, and whether the smallest or the largest is excluded. Fields of the
# augmentation that are probabilities and ranges are checked where they are used, on the network and the data.
LIMITS: dict[str, tuple[float, float, str]] = {
    "optimizer.lr": (0.0, float("inf"), "low"),
    "optimizer.momentum": (0.0, 1.0, "high"),
    "optimizer.betas": (0.0, 1.0, "high"),
    "optimizer.alpha": (0.0, 1.0, "high"),
    "optimizer.eps": (0.0, float("inf"), "low"),
    "optimizer.weight_decay": (0.0, float("inf"), ""),
    "optimizer.lr_scale": (0.0, float("inf"), ""),
    "optimizer.layer_decay": (0.0, 1.0, "low"),
    "optimizer.warmup_bias_lr": (0.0, float("inf"), ""),
    "optimizer.warmup_momentum": (0.0, 1.0, "high"),
    "schedule.warmup_epochs": (0.0, float("inf"), ""),
    "schedule.constant_epochs": (0.0, float("inf"), ""),
    "schedule.warmup_power": (0.0, float("inf"), "low"),
    "schedule.final_factor": (0.0, float("inf"), ""),
    "schedule.power": (0.0, float("inf"), "low"),
    "schedule.gamma": (0.0, float("inf"), "low"),
    "schedule.gamma_epochs": (0.0, float("inf"), "low"),
    "schedule.flat_epochs": (0.0, float("inf"), ""),
    "ema.decay": (0.0, 1.0, "high"),
    "ema.warmup_steps": (0.0, float("inf"), "low"),
    "data.size": (1, float("inf"), ""),
    "data.batch_size": (1, float("inf"), ""),
    "data.val_batch_size": (1, float("inf"), ""),
    "data.repeats": (1, float("inf"), ""),
    "data.workers": (0, float("inf"), ""),
    "data.folds": (0, float("inf"), ""),
    "data.fold": (0, float("inf"), ""),
    "data.tile.size": (1, float("inf"), ""),
    "data.tile.overlap": (0.0, 1.0, "high"),
    "data.tile.keep_empty": (0.0, 1.0, ""),
    "data.episode.ways": (1, float("inf"), ""),
    "data.episode.shots": (1, float("inf"), ""),
    "data.episode.queries": (1, float("inf"), ""),
    "data.episode.episodes": (1, float("inf"), ""),
    "data.pair.pairs": (1, float("inf"), ""),
    "data.pair.same": (0.0, 1.0, ""),
    "augment.degrees": (0.0, 360.0, ""),
    "augment.translate": (0.0, float("inf"), ""),
    "augment.shear": (0.0, 90.0, "high"),
    "augment.hsv": (0.0, float("inf"), ""),
    "augment.brightness": (0.0, float("inf"), ""),
    "augment.contrast": (0.0, float("inf"), ""),
    "augment.pca": (0.0, float("inf"), ""),
    "augment.elastic": (0.0, float("inf"), ""),
    "augment.policy_magnitude": (0, 30, ""),
    "augment.policy_operations": (1, float("inf"), ""),
    "augment.multiscale_every": (1, float("inf"), ""),
    "augment.fill": (0, 255, ""),
    "epochs": (1, float("inf"), ""),
    "max_minutes": (0.0, float("inf"), "low"),
    "accumulate": (1, float("inf"), ""),
    "nominal_batch": (1, float("inf"), ""),
    "clip_norm": (0.0, float("inf"), "low"),
    "evaluate_every": (1, float("inf"), ""),
    "patience": (1, float("inf"), ""),
    "checkpoint_every": (1, float("inf"), ""),
    "seed": (0, float("inf"), ""),
}


def plain(config: TrainConfig) -> dict[str, Any]:
    """Plain values of a configuration, as its YAML holds them."""
    values = parse_yaml(config_to_yaml(config), "config")
    assert isinstance(values, dict)
    return values


def with_fields(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration with some fields changed by dotted name.

    Args:
        config: It stays as it is.
        changes: Plain values by dotted name; a number stands for the part of a list: ``augment.hsv.0``.

    Raises:
        ConfigError: If a name is no field, or a value not of its type; the message offers the nearest field.

    Example:
        >>> changed = with_fields(TrainConfig(), {"optimizer.lr": 0.1, "augment.hsv.1": 0.7, "data.batch_size": 8})
        >>> changed.optimizer.lr, changed.augment.hsv, changed.data.batch_size
        (0.1, (0.0, 0.7, 0.0), 8)
    """
    values = plain(config)
    for name, value in changes.items():
        *path, last = _path(config, name)
        record: Any = values
        for key in path:
            record = record[key]
        record[last] = value
    return config_from_dict(TrainConfig, values, "tune")


def get_field(config: TrainConfig, name: str) -> Any:
    """Plain value of a field by dotted name; None for an option of the network that the configuration leaves alone.

    Example:
        >>> get_field(TrainConfig(), "augment.scale.1"), get_field(TrainConfig(), "optimizer.name")
        (1.0, 'sgd')
    """
    *path, last = _path(config, name)
    record: Any = plain(config)
    for key in path:
        record = record[key]
    return record.get(last) if isinstance(record, dict) else record[last]


def type_of(config: TrainConfig, name: str) -> Any:
    """Type of a field by dotted name, without its None; ``Any`` for free values.

    Raises:
        ConfigError: If it is no field, or one that a search cannot vary; the message offers the nearest.

    Example:
        >>> type_of(TrainConfig(), "optimizer.betas.0"), type_of(TrainConfig(), "clip_norm")
        (<class 'float'>, <class 'float'>)
        >>> type_of(TrainConfig(model="lenet5"), "optimiser.lr")
        Traceback (most recent call last):
        saccade.errors.ConfigError: tune: unknown field 'optimiser.lr'. Did you mean 'optimizer.lr'...
    """
    return _walk(config, name)[1]


def limits_of(name: str) -> tuple[float, float, str]:
    """Smallest and largest value of a numeric field, and which of the two is excluded: ``low``, ``high`` or neither."""
    for known in (name, name.rpartition(".")[0]):
        if known in LIMITS:
            return LIMITS[known]
    return float("-inf"), float("inf"), ""


def _path(config: TrainConfig, name: str) -> list[str | int]:
    return _walk(config, name)[0]


def _walk(config: TrainConfig, name: str) -> tuple[list[str | int], Any]:
    """Keys of the plain values on the way to a field, and its type."""
    if name in _OF_THE_SEARCH:
        raise ConfigError(f"tune: '{name}' belongs to the search itself and cannot vary.")
    hint: Any = TrainConfig
    value: Any = plain(config)
    path: list[str | int] = []
    rest = name.split(".")
    while rest:
        hint = _not_none(hint)
        if is_dataclass(hint):
            hints = get_type_hints(hint)
            if rest[0] not in hints:
                raise _unknown(config, name)
            key: str | int = rest.pop(0)
            hint = hints[str(key)]
        elif get_origin(hint) is tuple:
            key, hint = _part(hint, value, rest.pop(0), name)
        elif get_origin(hint) is dict:
            key = ".".join(rest)
            hint, rest = _of_mapping(config, path, key, hint, name), []
        else:
            raise _unknown(config, name)
        path.append(key)
        value = (value.get(key) if isinstance(value, dict) else value[key]) if value is not None else None
        if value is None and rest:
            raise ConfigError(f"tune: '{name}' is part of a field that is not set. Give whole values: [a, b],[c, d].")
    hint = _not_none(hint)
    if is_dataclass(hint):
        inside = [f"{name}.{field.name}" for field in fields(hint)]
        raise ConfigError(f"tune: '{name}' is a group of fields; name one of them, such as '{inside[0]}'.")
    return path, hint


def _not_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _part(hint: Any, value: Any, number: str, name: str) -> tuple[int, Any]:
    """Index and type of a part of a list."""
    kinds = get_args(hint)
    count = 0 if value is None else len(value)
    if value is None:
        raise ConfigError(f"tune: '{name}' is part of a field that is not set. Give whole values: [a, b],[c, d].")
    if not number.isdigit() or int(number) >= count:
        parts = f"has the parts 0 to {count - 1}" if count else "is empty"
        raise ConfigError(f"tune: '{name}': the list {parts}; '{number}' is none of them.")
    return int(number), kinds[0] if len(kinds) == 2 and kinds[1] is Ellipsis else kinds[int(number)]


def _of_mapping(config: TrainConfig, path: list[str | int], key: str, hint: Any, name: str) -> Any:
    """Type of a value of a mapping: an option of the network, a field of a phase or of a step, or a free value."""
    if path == ["model_args"]:
        return _model_option(config, key, name)
    if path[-1] == "augment":
        known = get_type_hints(AugmentConfig)
        if key not in known:
            raise ConfigError(f"tune: unknown field '{name}'.{did_you_mean(key, known)}")
        return known[key]
    if path[-1] == "changes":
        return type_of(config, key)
    return get_args(hint)[1]


def _model_option(config: TrainConfig, key: str, name: str) -> Any:
    builder = get_builder(config.model)
    options = [option for option in builder.parameters if option not in ("num_classes", "weights")]
    if key not in options:
        hint = did_you_mean(key, options) or f" {config.model} has no options."
        raise ConfigError(f"tune: unknown field '{name}': {config.model} has no option '{key}'.{hint}")
    try:
        return get_type_hints(builder.build).get(key, Any)
    except (NameError, TypeError):  # types that only a type checker imports
        return Any


def _unknown(config: TrainConfig, name: str) -> ConfigError:
    return ConfigError(f"tune: unknown field '{name}'.{did_you_mean(name, _names(TrainConfig, ''))}")


def _names(kind: Any, prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(kind).items():
        hint = _not_none(hint)
        if is_dataclass(hint):
            yield from _names(hint, f"{prefix}{name}.")
        elif prefix or name not in _OF_THE_SEARCH:
            yield prefix + name
