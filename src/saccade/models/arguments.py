"""Arguments of builders: checked for type and size before memory is asked for."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from saccade.errors import ConfigError
from saccade.structures.text import printable
from saccade.weights.metadata import MAX_CLASSES

__all__ = ["check_arguments"]

# Largest value of an argument: more than any network is made for, less than would exhaust a machine.
_LARGEST_WHOLE = {"num_classes": MAX_CLASSES, "image_size": 4_096, "in_channels": 1_024, "output_stride": 64}
_LARGEST_REAL = {"width": 16.0, "alpha": 16.0, "rho": 16.0}  # multipliers of channels and of the canvas
_WHOLE = 65_536
_REAL = 1_000.0
_MAX_LENGTH = 100


def check_arguments(name: str, build: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a builder that have another type than it declares, or a size that no network has.

    Args:
        name: Builder, for the message.
        build: Its function; arguments of other types than numbers, switches, texts and lists of numbers pass.
        arguments: By name.

    Raises:
        ConfigError: With the name of the first, its value and what it must be.

    Example:
        >>> def tiny(num_classes: int = 10, dropout: float = 0.5): ...
        >>> check_arguments("tiny", tiny, {"num_classes": 1_000_000})
        Traceback (most recent call last):
        saccade.errors.ConfigError: model 'tiny': num_classes is 1000000; it must be a whole number from 1 to 100,000.
    """
    hints = _hints(inspect.unwrap(build))
    for key, value in arguments.items():
        expected = _expected(key, hints.get(key), value)
        if expected:
            raise ConfigError(f"model '{printable(name, limit=100)}': {key} is {_shown(value)}; it must be {expected}.")


@functools.cache
def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(build)
    except NameError:  # annotations that are for type checkers alone
        return {}


def _expected(key: str, hint: Any, value: Any) -> str:
    """What a value must be that is not; empty where it is, or where the type is none that is checked."""
    origin = get_origin(hint)
    if origin in (types.UnionType, Union):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if len(kinds) != 1 or value is None:
            return ""
        return _expected(key, kinds[0], value)
    if hint is bool:
        return "" if isinstance(value, bool) else "true or false"
    if hint is int:
        most = _LARGEST_WHOLE.get(key, _WHOLE)
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return "" if whole and 1 <= value <= most else f"a whole number from 1 to {most:,}"
    if hint is float:
        return _expected_real(key, value)
    if hint is str or origin is Literal:
        return "" if isinstance(value, str) else "a text"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence) and int in get_args(hint):
        sound = isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= _MAX_LENGTH
        return "" if sound and not any(_expected(key, int, one) for one in value) else "a list of whole numbers above 0"
    return ""


def _expected_real(key: str, value: Any) -> str:
    real = not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)
    if key in _LARGEST_REAL:
        most = _LARGEST_REAL[key]
        return "" if real and 0 < value <= most else f"a number above 0, up to {most:g}"
    return "" if real and 0 <= value <= _REAL else f"a number from 0 to {_REAL:,.0f}"


def _shown(value: Any) -> str:
    try:
        return printable(repr(value), limit=60)
    except ValueError:  # a number of thousands of digits is not written out
        return "a number of many digits"
