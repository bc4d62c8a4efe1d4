"""Command line to dataclass by tyro; an unknown option is caught before it, and the message offers the nearest name."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from inspect import cleandoc
from typing import Annotated, Any, TypeVar, get_type_hints

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
    about = cleandoc(OPTIONS[verb].__doc__ or "")
    given = _as_given(kind, argv)
    with _made_printable(argv):
        arguments = tyro.cli(given, args=list(argv), prog=f"saccade {verb}", description=about, config=FLAGS)
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
    return {one.name: getattr(arguments, one.name) for one in fields(kind)}


def option_names(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields that the shell can set, nested dataclasses included: ``optimizer.lr``."""
    hints = get_type_hints(kind, include_extras=True)
    for one in fields(kind):
        hint = hints[one.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from option_names(hint, f"{prefix}{one.name}.")
        elif _FIXED not in getattr(hint, "__metadata__", ()):
            yield prefix + one.name


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


def _as_given(kind: type[T], argv: Sequence[str]) -> type[T]:
    """The kind of options in which positional arguments that are given by their names (``--data DIR``) are options.

    Raises:
        ConfigError: If one has no value, or is given twice.
    """
    hints = get_type_hints(kind, include_extras=True)
    own = {one.name: one for one in fields(kind) if _POSITIONAL in getattr(hints[one.name], "__metadata__", ())}  # type: ignore[arg-type]
    given: list[str] = []
    for number, word in enumerate(argv):
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in own:
            continue
        if name in given:
            raise ConfigError(f"option '--{name}' is given twice.")
        value = value if equals else "".join(argv[number + 1 : number + 2])
        if not value or value.startswith("--"):
            raise ConfigError(f"option '--{name}' needs a value.")
        given.append(name)
    types: dict[str, Any] = {name: hints[name].__origin__ for name in own}
    # Help names a positional argument by its field, not by its type.
    shown: dict[str, Any] = {
        name: Annotated[hint, _POSITIONAL, _conf.arg(metavar=_metavar(own[name]))] for name, hint in types.items()
    }
    named = [(name, types[name] if name in given else shown[name], _same_default(one)) for name, one in own.items()]
    variant: type[T] = make_dataclass(kind.__name__, named, bases=(kind,), kw_only=True)
    return variant


def _metavar(one: Field[Any]) -> str:
    required = one.default is MISSING and one.default_factory is MISSING
    return one.name.upper() if required else f"[{one.name.upper()}]"


def _same_default(one: Field[Any]) -> Any:
    """A new field with the default of another one."""
    return field(default=one.default, default_factory=one.default_factory)
