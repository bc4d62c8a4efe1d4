"""Fuzzing of readers: a seeded generator of broken files, each of which must load or be named in an error.

A mutant is identified by the name of its specimen and its number: the same two give the same bytes on any machine.
"""

from __future__ import annotations

import contextlib
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from saccade.data.open import open_raw
from saccade.data.tables.faults import apply_policy
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError, DataError
from saccade.structures.sample import Sample

__all__ = ["MUTATIONS", "limited_memory", "mutant", "mutate", "use"]


def use(source: Path, split: str = "all", reader: str | None = None, task: str | None = None) -> str:
    """Open, read and repair a data set; returns the message of the error that names it, or nothing if it loads.

    What a reader read past counts as an error that names it.

    Raises:
        AssertionError: If an image is outside of the data folder, a network cannot take what is loaded, or the error
            does not name the file or folder.
    """
    inside = source.resolve()
    try:
        dataset = open_raw(source, split, format=reader, task=task)
        assert len(dataset) > 0
        for index in range(len(dataset)):
            assert Path(dataset.path(index)).resolve().is_relative_to(inside), dataset.path(index)
        for index in range(min(2, len(dataset))):
            _check_sound(dataset.read(index))
        if isinstance(dataset, TableDataset):
            apply_policy(dataset, "repair")
            apply_policy(dataset, "drop")
            text = "\n".join(map(str, dataset.table.faults[:20]))
        else:
            text = ""
    except (DataError, ConfigError) as error:
        text = str(error)
    assert not text or str(source) in text, f"the error does not name the file: {text[:2000]}"
    assert len(text) < 20_000, "the error is longer than a page"
    return text


def _check_sound(sample: Sample) -> None:
    """Check that a network can take a sample: pixels, and arrays of one length."""
    assert sample.image.dtype == np.uint8
    assert sample.image.ndim == 3
    assert sample.image.size > 0
    assert sample.target
    for key, values in sample.target.items():
        assert isinstance(values, (np.ndarray, np.generic)), key
        if key == "label_map":
            assert values.shape == sample.size
        elif values.ndim:
            assert len(values) == len(sample.target["labels"]), key


@contextlib.contextmanager
def limited_memory(more: int = 2 << 30) -> Iterator[None]:
    """Limit the memory of the process, so that an archive bomb fails here instead of stopping the machine (Linux only).

    Args:
        more: Bytes beyond what the process uses already.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def mutant(data: bytes, name: str, number: int) -> bytes:
    """The file ``data`` with the faults of mutant ``number`` of a specimen."""
    return mutate(data, np.random.default_rng([zlib.crc32(name.encode()), number]))


_NUMBERS = (
    b"-1",
    b"0",
    b"1e400",
    b"-1e400",
    b"1e308",
    b"NaN",
    b"nan",
    b"-Infinity",
    b"inf",
    b"2147483648",
    b"-2147483649",
    b"18446744073709551616",
    b"1" * 5000,
    b"1e-320",
    b"0x10",
    b"",
    b"1.5.2",
    b"1_000",
    b"null",
    b"[]",
    "\uff11\uff12".encode(),  # full-width digits, which int() takes
)
_WORDS = (
    b"../../../../etc/passwd",
    b"..",
    b"/etc/passwd",
    rb"..\\..\\x.jpg",
    b"C:/x.jpg",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff\xfe",
    b"a" * 5000,
    b"",
    b"{stem}",
    b"%s{}{0}$",
    "猫".encode(),
    b"\n",
)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Insert one to three random faults; the result always differs."""
    for _ in range(100):
        broken = data
        for _ in range(rng.integers(1, 4)):
            broken = MUTATIONS[rng.integers(len(MUTATIONS))](broken, rng)
        if broken != data:
            return broken
    raise AssertionError("a hundred faults changed nothing")


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    values = bytearray(data)
    for position in rng.integers(0, len(data), rng.integers(1, 9)) if data else ():
        values[position] ^= 1 << int(rng.integers(8))
    return bytes(values)


def _overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    first, end = _span(data, rng)
    return data[:first] + rng.bytes(end - first) + data[end:]


def _delete(data: bytes, rng: np.random.Generator) -> bytes:
    first, end = _span(data, rng)
    return data[:first] + data[end:]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    position = int(rng.integers(0, len(data) + 1))
    return data[:position] + rng.bytes(int(rng.integers(1, 40))) + data[position:]


def _truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data) + 1))]


def _duplicate(data: bytes, rng: np.random.Generator) -> bytes:
    first, end = _span(data, rng)
    return data[:end] + data[first:end] * int(rng.integers(1, 4)) + data[end:]


def _exchange(data: bytes, rng: np.random.Generator) -> bytes:
    a, b, c, d = sorted(rng.integers(0, len(data) + 1, 4).tolist())
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _extreme_word(data: bytes, rng: np.random.Generator) -> bytes:
    """Two or four bytes that may be a length, a size or an offset become huge, zero or negative."""
    size = int(rng.choice([2, 4]))
    position = int(rng.integers(0, min(len(data), 200) + 1))
    value = [b"\xff" * size, b"\0" * size, b"\x7f" + b"\xff" * (size - 1), b"\x80" + b"\0" * (size - 1)]
    return data[:position] + value[rng.integers(len(value))] + data[position + size :]


def _number(data: bytes, rng: np.random.Generator) -> bytes:
    return _replace(data, rb"-?\d+(?:\.\d+)?", _NUMBERS, rng)


def _word(data: bytes, rng: np.random.Generator) -> bytes:
    return _replace(data, rb"[A-Za-z_][\w./ -]*", _WORDS, rng)


def _nest(data: bytes, rng: np.random.Generator) -> bytes:
    position, depth = int(rng.integers(0, len(data) + 1)), int(rng.choice([3, 200, 5000]))
    begin, end = [(b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"- ", b""), (b'"', b'"')][rng.integers(5)]
    return data[:position] + begin * depth + (end * depth if rng.random() < 0.7 else b"") + data[position:]


def _encode_again(data: bytes, rng: np.random.Generator) -> bytes:
    text = data.decode("latin-1")
    return [
        b"\xef\xbb\xbf" + data,
        text.encode("utf-16"),
        text.replace("\n", "\r").encode("latin-1"),
        text.replace("a", "ä").encode("latin-1"),
        data.replace(b",", b";"),
        data.replace(b" ", b"\t"),
    ][rng.integers(6)]


def _line(data: bytes, rng: np.random.Generator) -> bytes:
    """A line is removed, repeated, or exchanged with another."""
    lines = data.split(b"\n")
    first, second = rng.integers(0, len(lines), 2).tolist()
    kind = int(rng.integers(3))
    if kind == 0:
        del lines[first]
    elif kind == 1:
        lines.insert(second, lines[first])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


MUTATIONS = (
    _flip,
    _overwrite,
    _delete,
    _insert,
    _truncate,
    _duplicate,
    _exchange,
    _extreme_word,
    _number,
    _number,
    _word,
    _word,
    _nest,
    _encode_again,
    _line,
)


def _span(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    first = int(rng.integers(0, len(data) + 1))
    return first, min(len(data), first + int(rng.choice([1, 4, 16, 64])))


def _replace(data: bytes, pattern: bytes, choices: tuple[bytes, ...], rng: np.random.Generator) -> bytes:
    """One match of a pattern becomes something else."""
    found = list(re.finditer(pattern, data))
    if not found:
        return data
    match = found[rng.integers(len(found))]
    return data[: match.start()] + choices[rng.integers(len(choices))] + data[match.end() :]
