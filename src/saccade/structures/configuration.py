"""Configuration objects with known fields: an unknown one is an error that names the nearest, however it is set."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from saccade.errors import ConfigError, did_you_mean

__all__ = ["config_from_dict", "known_fields"]

T = TypeVar("T")

_TEXTS = tuple[str, ...]  # one text stands for a row of one


def known_fields(kind: type[T]) -> type[T]:
    """Decorator of configuration dataclasses: unknown fields are refused, and a mapping fills a nested record.

    A plain dataclass keeps ``config.epocs = 3`` as an attribute that nobody reads.

    Args:
        kind: A dataclass that is not frozen.

    Raises:
        ConfigError: Later, where a keyword or an attribute is set that is no field.

    Example:
        >>> from dataclasses import dataclass
        >>> @known_fields
        ... @dataclass
        ... class Schedule:
        ...     epochs: int = 10
        >>> schedule = Schedule()
        >>> schedule.epocs = 3
        Traceback (most recent call last):
        saccade.errors.ConfigError: Schedule has no field 'epocs'. Did you mean 'epochs'?
        >>> Schedule(epoch=3)
        Traceback (most recent call last):
        saccade.errors.ConfigError: Schedule has no field 'epoch'. Did you mean 'epochs'?
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    initialize, assign = kind.__init__, kind.__setattr__
    changed: Any = kind

    def check(name: str) -> None:
        if name not in known:
            raise ConfigError(f"{kind.__name__} has no field '{name}'.{did_you_mean(name, known)}")

    @functools.wraps(initialize)
    def init(self: Any, *values: Any, **named: Any) -> None:
        for name in named:
            check(name)
        initialize(self, *values, **named)

    def set_field(self: Any, name: str, value: Any) -> None:
        check(name)
        assign(self, name, _records(_hints(changed)[name], value, f"{kind.__name__}.{name}"))

    changed.__init__, changed.__setattr__ = init, set_field
    return kind


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _records(hint: Any, value: Any, where: str) -> Any:
    """A value of a field: records in the place of mappings that stand for some, a row for a text; else as it is."""
    kinds = (hint, *get_args(hint))
    record = next((kind for kind in kinds if is_dataclass(kind)), None)
    if hint == _TEXTS and isinstance(value, (str, list)):
        return (value,) if isinstance(value, str) else tuple(value)
    if record is not None and isinstance(value, Mapping):
        return config_from_dict(record, value, where)  # type: ignore[arg-type]
    if record is not None and isinstance(value, (list, tuple)):
        return tuple(_records(record, item, f"{where}[{number}]") for number, item in enumerate(value))
    return value


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
        >>> from saccade.engine.train.config import TrainConfig
        >>> config_from_dict(TrainConfig, {"optimizer": {"lr": 1, "betas": [0.9, 0.95]}}).optimizer.betas
        (0.9, 0.95)
        >>> config_from_dict(TrainConfig, {"epoch": 3})
        Traceback (most recent call last):
        saccade.errors.ConfigError: config: unknown option 'epoch'. Did you mean 'epochs'?
    """
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(f"{where}: unknown option '{key}'.{did_you_mean(str(key), known)}")
        arguments[key] = _coerce(hints[key], value, f"{where}: {key}")
    return kind(**arguments)


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
    if hint == _TEXTS and isinstance(value, str):
        return (value,)
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
