"""Command line to dataclass by tyro; an unknown option is caught before it, and answered by the nearest name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import tyro

from saccade.errors import ConfigError, did_you_mean

__all__ = ["FLAGS", "option_names", "parse", "refuse_unknown"]

T = TypeVar("T")

# A switch that is off by default has no --no- form.
FLAGS = (tyro.conf.FlagCreatePairsOff,)


def parse(kind: type[T], argv: Sequence[str], verb: str) -> T:
    """Arguments of a verb.

    Args:
        kind: Dataclass whose docstring and field docstrings are the help.
        argv: Words after the verb.
        verb: Its name, for usage lines.

    Raises:
        ConfigError: If an option is unknown; the message offers the nearest.
        SystemExit: After ``--help`` (0), or for a value of the wrong type (2).
    """
    refuse_unknown(argv, option_names(kind))
    return tyro.cli(kind, args=list(argv), prog=f"saccade {verb}", config=FLAGS)


def option_names(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields, nested dataclasses included: ``optimizer.lr``."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from option_names(hint, f"{prefix}{field.name}.")
            continue
        renamed = [getattr(extra, "name", None) for extra in getattr(hint, "__metadata__", ())]  # tyro.conf.arg(name=)
        yield prefix + next((name for name in renamed if name), field.name)


def refuse_unknown(argv: Sequence[str], names: Iterator[str] | Sequence[str]) -> None:
    """Raise for the first ``--option`` that is none of ``names``.

    Raises:
        ConfigError: With the nearest name.
    """
    known = {name.replace("_", "-") for name in names}
    for word in argv:
        if not word.startswith("--") or word in ("--", "--help"):
            continue
        name = word[2:].split("=")[0].replace("_", "-")
        parent, _, leaf = name.rpartition(".")
        positive = f"{parent}{'.' if parent else ''}{leaf.removeprefix('no-')}"
        if name not in known and positive not in known:
            raise ConfigError(f"unknown option '--{name}'.{did_you_mean(name, known)}")
