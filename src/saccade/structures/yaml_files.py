"""YAML of others read safely: plain values only, bounded in size and depth, never an object that holds itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saccade.errors import DataError
from saccade.structures.reading import read_text

__all__ = ["MAX_YAML_BYTES", "parse_yaml", "read_yaml"]

MAX_YAML_BYTES = 4 << 20  # names of 100,000 classes take 2 MB
_MAX_DEPTH = 50
_MAX_VALUES = 1_000_000  # with each alias counted as what it stands for
_MAX_NUMBER = 1 << 63


def read_yaml(path: str | Path, text_only: bool = False, limit: int = MAX_YAML_BYTES) -> Any:
    r"""Plain values of a YAML file; None of an empty one.

    Args:
        path: The file.
        text_only: Leave every value that is no list and no mapping the text that it is written as.
        limit: Largest size in bytes.

    Raises:
        DataError: If it is no regular file, too large, no UTF-8, or as in :func:`parse_yaml`.

    Example:
        >>> _ = Path("data.yaml").write_text("names: [cat, no]\nday: 2020-02-31\n")
        >>> read_yaml("data.yaml")
        {'names': ['cat', False], 'day': '2020-02-31'}
        >>> read_yaml("data.yaml", text_only=True)["names"]
        ['cat', 'no']
    """
    return parse_yaml(read_text(path, limit), str(path), text_only)


def parse_yaml(text: str, name: str, text_only: bool = False) -> Any:
    r"""Plain values of a text in YAML: mappings, lists, text, numbers, true and false; dates stay text.

    Args:
        text: The text.
        name: What messages call it.
        text_only: As in :func:`read_yaml`.

    Raises:
        DataError: If it is no YAML, asks for objects, is nested too deep or without end, repeats itself by aliases more
            than a million times, or holds a number that no setting takes.

    Example:
        >>> parse_yaml("a: &x [*x]", "loop.yaml")
        Traceback (most recent call last):
        saccade.errors.DataError: loop.yaml: a list or mapping is nested more than 50 deep, or holds itself. Write plain
        values.
    """
    import yaml

    try:
        values = yaml.load(text, _loader(text_only))  # noqa: S506 derived from safe ones
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        problem = " ".join(str(error).split())[:300]
        raise DataError(f"{name}: this is not valid YAML ({problem}). Correct it.") from error
    except RecursionError:
        raise _too_deep(name) from None
    _count(values, name, 0, {})
    return values


def _loader(text_only: bool) -> Any:
    """Class of loader: PyYAML's safe one without dates, which are no setting; or one of text alone."""
    import yaml

    if text_only:
        return yaml.BaseLoader

    class PlainLoader(yaml.SafeLoader):
        pass

    PlainLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return PlainLoader


def _count(value: Any, name: str, depth: int, known: dict[int, int]) -> int:
    """Number of values in a value, each alias counted as what it stands for."""
    if isinstance(value, int) and not -_MAX_NUMBER <= value < _MAX_NUMBER:
        raise DataError(f"{name}: a number has more digits than any setting takes. Correct it.")
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if depth > _MAX_DEPTH:
        raise _too_deep(name)
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else list(value)
        known[id(value)] = 1 + sum(_count(part, name, depth + 1, known) for part in parts)
        if known[id(value)] > _MAX_VALUES:
            raise DataError(f"{name}: aliases repeat its values more than {_MAX_VALUES:,} times. Write plain values.")
    return known[id(value)]


def _too_deep(name: str) -> DataError:
    return DataError(
        f"{name}: a list or mapping is nested more than {_MAX_DEPTH} deep, or holds itself. Write plain values."
    )
