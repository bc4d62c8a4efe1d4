"""Command line to dataclass by tyro; an unknown option is caught before it, and the message offers the nearest name."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from inspect import cleandoc
from typing import Any, TypeVar, get_type_hints

import tyro

from saccade.api.options import OPTIONS
from saccade.cli._early import refuse_unknown_names
from saccade.errors import ConfigError, did_you_mean
from saccade.structures.text import printable

__all__ = ["FLAGS", "option_names", "options_of", "parse", "refuse_unknown"]

T = TypeVar("T")

# A switch that is off by default has no --no- form.
FLAGS = (tyro.conf.FlagCreatePairsOff,)
# Marks in the annotations of ``api.options``.
_conf: Any = tyro.conf
(_POSITIONAL,) = _conf.Positional[Any].__metadata__
(_FIXED,) = _conf.Fixed[Any].__metadata__


def parse(kind: type[T], argv: Sequence[str], verb: str) -> T:
    """Arguments of a verb.

    Args:
        kind: The verb's options, or a subclass with more; their docstrings are the help.
        argv: Words after the verb. Positional arguments may be given by their names as well.
        verb: Its name, for usage lines.

    Raises:
        SaccadeError: If an option, the name of a network or a path is unknown; the message offers the nearest.
        SystemExit: After ``--help`` (0), or for a value of the wrong type (2).
    """
    refuse_unknown(argv, option_names(kind))
    words, about = _in_position(kind, argv), cleandoc(OPTIONS[verb].__doc__ or "")
    with _made_printable(words):
        arguments = tyro.cli(kind, args=words, prog=f"saccade {verb}", description=about, config=FLAGS)
    refuse_unknown_names(arguments)
    return arguments


@contextlib.contextmanager
def _made_printable(words: Sequence[str]) -> Iterator[None]:
    """The parser's own messages quote words; where one could move the cursor, the messages are made safe to show.

    The shell puts names of files into a command line by itself (``*``).
    """
    if all(printable(word) == word for word in words):
        yield
        return
    said, stderr = io.StringIO(), sys.stderr
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            yield
    finally:
        stderr.write(printable(said.getvalue(), lines=True))


def options_of(arguments: object, kind: type[Any]) -> dict[str, Any]:
    """What the function of a verb is called with, by name.

    Args:
        arguments: Parsed arguments of the shell.
        kind: Options of the verb, of which ``arguments`` is a subclass.
    """
    return {field.name: getattr(arguments, field.name) for field in fields(kind)}


def option_names(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields that the shell can set, nested dataclasses included: ``optimizer.lr``."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from option_names(hint, f"{prefix}{field.name}.")
        elif _FIXED not in getattr(hint, "__metadata__", ()):
            yield prefix + field.name


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


def _in_position(kind: type[Any], argv: Sequence[str]) -> list[str]:
    """The words, with positional arguments that were given by name (``--data DIR``) in their positions."""
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind) if _POSITIONAL in getattr(hints[field.name], "__metadata__", ())]
    given: dict[str, str] = {}
    words: list[str] = []
    remaining = iter(argv)
    for word in remaining:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in names:
            words.append(word)
            continue
        if name in given:
            raise ConfigError(f"option '--{name}' is given twice.")
        given[name] = value if equals else next(remaining, "")
        if not given[name] or given[name].startswith("--"):
            raise ConfigError(f"option '--{name}' needs a value.")
    first = names[: len(given)]
    if set(first) != set(given):
        every = " and ".join(f"--{name}" for name in names)
        raise ConfigError(f"give {every} by their names, or {' and '.join(map(str.upper, names))} in this order.")
    return [*(given[name] for name in first), *words]
