"""YAML to typed configuration and back; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from saccade.engine.train.config import TrainConfig
from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.structures.yaml_files import read_yaml

__all__ = ["config_from_dict", "config_to_yaml", "load_config"]

T = TypeVar("T")


def load_config(path: str | Path) -> TrainConfig:
    """Read a run's ``config.yaml``, or one written by hand.

    Raises:
        ConfigError: If the file is missing or no YAML mapping, or a key or value is wrong.

    Example:
        >>> _ = Path("digits.yaml").write_text(config_to_yaml(TrainConfig(model="lenet5", epochs=3)))
        >>> load_config("digits.yaml").epochs
        3
    """
    try:
        values = read_yaml(path)
    except DataError as error:
        raise ConfigError(f"{error} Start from 'saccade train --recipe NAME --dry-run'.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no mapping of options. Start from 'saccade train --recipe NAME --dry-run'.")
    return config_from_dict(TrainConfig, values, str(path))


def config_to_yaml(config: Any) -> str:
    """Write a configuration as YAML, which :func:`load_config` reads back to an equal one.

    Example:
        >>> from saccade.engine.train.config import EmaConfig
        >>> print(config_to_yaml(EmaConfig(decay=0.9998)))
        decay: 0.9998
        warmup_steps: 2000.0
    """
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False, allow_unicode=True)


def config_from_dict(kind: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Build a typed configuration from plain values; missing keys keep their defaults.

    Args:
        kind: A configuration dataclass.
        values: Plain values, nested as the dataclass is.
        where: Name of the origin for messages.

    Raises:
        ConfigError: If a key is unknown or a value has the wrong type; the message names the key and the nearest valid
        one.

    Example:
        >>> config_from_dict(TrainConfig, {"optimizer": {"lr": 1, "betas": [0.9, 0.95]}}).optimizer.betas
        (0.9, 0.95)
        >>> config_from_dict(TrainConfig, {"epoch": 3})
        Traceback (most recent call last):
        saccade.errors.ConfigError: config: unknown option 'epoch'. Did you mean 'epochs'?
    """
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(f"{where}: unknown option '{key}'.{did_you_mean(str(key), known)}")
        arguments[key] = _coerce(hints[key], value, f"{where}: {key}")
    return kind(**arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _coerce(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _without_lists(value)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _coerce(next(part for part in arguments if part is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{where} is {value!r}.{did_you_mean(str(value), [str(option) for option in arguments])}")
        return value
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} needs options by name, got {value!r}.")
        return config_from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _coerce_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} needs a mapping, got {value!r}.")
        return {key: _coerce(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ConfigError(f"{where} needs a value of type {hint.__name__}, got {value!r}.")
    return value


def _without_lists(value: Any) -> Any:
    """Lists at any depth as tuples: YAML has no tuples, and configurations have no lists."""
    if isinstance(value, dict):
        return {key: _without_lists(item) for key, item in value.items()}
    return tuple(map(_without_lists, value)) if isinstance(value, list) else value


def _coerce_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} needs a list, got {value!r}.")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_coerce(arguments[0], item, where) for item in value)
    if len(value) != len(arguments):
        raise ConfigError(f"{where} needs {len(arguments)} values, got {value!r}.")
    return tuple(_coerce(part, item, where) for part, item in zip(arguments, value, strict=True))
