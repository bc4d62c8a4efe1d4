"""Darknet's ``.cfg`` files: sections of ``key=value`` lines, one section a layer, read with the line of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from saccade.errors import ConfigError, did_you_mean
from saccade.structures.reading import read_text
from saccade.structures.text import printable

__all__ = ["SECTIONS", "Section", "parse_cfg", "read_cfg"]

_MAX_BYTES = 1 << 20
_MAX_SECTIONS = 4_096
_MAX_VALUES = 1_024  # numbers in a list
_LARGEST = 65_536
_NETWORK = ("net", "network")
_SHORT = {"conv": "convolutional", "conn": "connected", "max": "maxpool", "avg": "avgpool", "soft": "softmax"}

SECTIONS = (
    "convolutional", "maxpool", "route", "shortcut", "reorg", "reorg3d", "upsample", "avgpool", "connected", "local",
    "dropout", "scale_channels", "sam", "region", "yolo", "detection", "softmax", "cost", "crop",
)  # fmt: skip
"""Kinds of layers, by the names of their sections."""


@dataclass(frozen=True)
class Section:
    r"""Section of a ``.cfg`` file; its methods read a value and refuse one that is none, with its line.

    Args:
        kind: Name in the brackets.
        line: Line of the name, from 1.
        values: Text and line of every key.

    Example:
        >>> section = parse_cfg("[net]\nwidth=32\nheight=32\n[maxpool]\nsize=2")[1]
        >>> section.kind, section.line, section.whole("size", 1), section.whole("stride", 1)
        ('maxpool', 4, 2, 1)
    """

    kind: str
    line: int
    values: Mapping[str, tuple[str, int]]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def fault(self, problem: str, key: str = "") -> ConfigError:
        """An error that names the line: of a key if there is one, else of the section."""
        line = self.values[key][1] if key in self.values else self.line
        return ConfigError(f"cfg, line {line}: [{self.kind}] {problem}")

    def whole(self, key: str, default: int, least: int = 0, most: int = _LARGEST) -> int:
        """A whole number.

        Raises:
            ConfigError: If it is none, or out of its range.
        """
        if key not in self.values:
            return default
        return self._whole(key, self.values[key][0], least, most)

    def real(self, key: str, default: float, least: float = -1e9, most: float = 1e9) -> float:
        """A number.

        Raises:
            ConfigError: If it is none, or out of its range.
        """
        return self._real(key, self.values[key][0], least, most) if key in self.values else default

    def wholes(self, key: str, least: int = -_LARGEST) -> list[int]:
        """Whole numbers with commas between them; none if the key is not there.

        Raises:
            ConfigError: If one is none, or out of its range.
        """
        return [self._whole(key, text, least, _LARGEST) for text in self._list(key)]

    def reals(self, key: str, least: float = -1e9) -> list[float]:
        """Numbers with commas between them; none if the key is not there.

        Raises:
            ConfigError: If one is none.
        """
        return [self._real(key, text, least, 1e9) for text in self._list(key)]

    def word(self, key: str, default: str, known: Collection[str]) -> str:
        """One of some words.

        Raises:
            ConfigError: If it is another.
        """
        text = self.values[key][0] if key in self.values else default
        if text not in known:
            raise self.fault(f"{key} is '{printable(text, limit=60)}'.{did_you_mean(text, known)}", key)
        return text

    def with_values(self, **changed: int) -> Section:
        """A copy in which some keys have other values."""
        lines = {key: (str(value), self.values.get(key, ("", self.line))[1]) for key, value in changed.items()}
        return replace(self, values={**self.values, **lines})

    def _list(self, key: str) -> list[str]:
        texts = [text.strip() for text in self.values.get(key, ("", 0))[0].split(",")]
        if len(texts) > _MAX_VALUES:
            raise self.fault(f"{key} has {len(texts):,} numbers, more than the {_MAX_VALUES:,} that are read.", key)
        return [text for text in texts if text]

    def _whole(self, key: str, text: str, least: int, most: int) -> int:
        try:
            value = int(text) if len(text) < 12 else math.inf
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            shown = printable(text, limit=60)
            raise self.fault(f"{key} is '{shown}'; it must be a whole number from {least:,} to {most:,}.", key)
        return int(value)

    def _real(self, key: str, text: str, least: float, most: float) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            shown = printable(text, limit=60)
            raise self.fault(f"{key} is '{shown}'; it must be a number from {least:,g} to {most:,g}.", key)
        return value


def read_cfg(path: str | Path) -> str:
    """Text of a ``.cfg`` file.

    Raises:
        DataError: If it is missing, no text, or far too large.
    """
    return read_text(path, _MAX_BYTES)


def parse_cfg(text: str) -> tuple[Section, ...]:
    r"""Sections of a ``.cfg``; the first describes the network as a whole, each other is a layer.

    Args:
        text: Content of the file. Lines that begin with ``#`` or ``;`` are comments.

    Raises:
        ConfigError: If a line is neither a section, a ``key=value`` nor a comment, a section is unknown, or there are
            no layers.

    Example:
        >>> [section.kind for section in parse_cfg("[net]\nchannels=3\n# tiny\n[convolutional]\nfilters = 8")]
        ['net', 'convolutional']
        >>> parse_cfg("[net]\n[convolutionl]")
        Traceback (most recent call last):
        saccade.errors.ConfigError: cfg, line 2: there is no section [convolutionl]. Did you mean 'convolutional'?
    """
    if len(text) > _MAX_BYTES:
        raise ConfigError(f"the cfg has {len(text):,} characters, more than the {_MAX_BYTES:,} that are read.")
    sections: list[Section] = []
    values: dict[str, tuple[str, int]] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip().removeprefix("\ufeff")
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            kind = line[1:].partition("]")[0].strip()
            values = {}
            sections.append(Section(_known(kind, number, first=not sections), number, values))
            continue
        key, equals, value = line.partition("=")
        if not equals or not sections:
            shown = printable(line, limit=60)
            raise ConfigError(f"cfg, line {number}: '{shown}' is neither a [section], nor key=value below one.")
        # Darknet reads numbers up to what is none, so that a comment may follow a value.
        values[key.strip()] = (value.partition("#")[0].strip(), number)
        if len(sections) > _MAX_SECTIONS:
            raise ConfigError(f"cfg, line {number}: over {_MAX_SECTIONS:,} sections, more than are read.")
    if len(sections) < 2:
        raise ConfigError("the cfg has no layers: it needs a [net] section and one for each layer.")
    return tuple(sections)


def _known(kind: str, line: int, first: bool) -> str:
    kind = _SHORT.get(kind, kind)
    known: Sequence[str] = _NETWORK if first else SECTIONS
    if kind not in known:
        shown = printable(kind, limit=60)
        if first:
            raise ConfigError(f"cfg, line {line}: the first section is [{shown}]; it must be [net].")
        raise ConfigError(f"cfg, line {line}: there is no section [{shown}].{did_you_mean(shown, known)}")
    return kind
