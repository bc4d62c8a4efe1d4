"""JSON as other tools write it: with a byte-order mark, and with ``NaN`` where a number is not known."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import TypeVar

import msgspec

from saccade.errors import DataError
from saccade.structures.reading import read_bytes

__all__ = ["describe_error", "read_json"]

_NOT_NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*"|[+-]?\b(?:NaN|Infinity)\b')
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    r"""Content of a JSON file as typed records; numbers that are none become null.

    Args:
        path: The file.
        kind: Type to decode to.

    Raises:
        DataError: If the file cannot be read or is not JSON.
        msgspec.ValidationError: If a field has another type; :func:`describe_error` words it.

    Example:
        >>> _ = Path("a.json").write_bytes(b'\xef\xbb\xbf{"area": NaN, "name": "NaN"}')
        >>> read_json(Path("a.json"), dict)
        {'area': None, 'name': 'NaN'}
    """
    content = read_bytes(path)
    try:
        if content.startswith(_UTF16):
            content = content.decode("utf-16").encode()
        content = content.removeprefix(codecs.BOM_UTF8)
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if b"NaN" not in content and b"Infinity" not in content:
                raise
            plain = _NOT_NUMBERS.sub(lambda found: found[0] if found[0].startswith(b'"') else b"null", content)
            return msgspec.json.decode(plain, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DataError(f"{path}: this is not valid JSON ({error}). Write or copy the file again.") from error


def describe_error(message: str, prefix: str = "") -> str:
    """A message of msgspec with the field in front.

    Args:
        message: As msgspec writes it.
        prefix: What the root is called.

    Example:
        >>> describe_error("Expected `int`, got `str` - at `$.image_id`", "annotations[3]")
        'annotations[3].image_id: expected int, got str'
    """
    problem, _, field = message.replace("`", "").partition(" - at $")
    field = f"{prefix}{field}".lstrip(".")
    problem = problem[:1].lower() + problem[1:]
    return f"{field}: {problem}" if field else problem
