"""What readers share: safe file names, split names, and the order of files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.errors import DataError

__all__ = [
    "UNSPLIT",
    "check_name",
    "check_task",
    "choose",
    "flip_pairs_by_name",
    "has_images",
    "list_images",
    "natural_key",
    "resolve_split",
    "subfolders",
]

# Parts of a data set whose source has none: everything, or every fifth image kept for validation.
UNSPLIT = ("all", "train", "val")

_LONGEST_NAME, _LONGEST_PATH = 255, 1024  # bytes

_SYNONYMS = (
    ("train", "training", "Train", "Training"),
    ("val", "valid", "validation", "Val", "Validation"),
    ("test", "testing", "Test", "Testing"),
)


def check_name(name: str, source: Path, field: str) -> str:
    """A file name out of an annotation file, if it stays inside the data folder.

    Args:
        name: Relative path as written.
        source: File it was written in, for the message.
        field: Where in that file.

    Raises:
        DataError: If the name is empty, absolute, climbs out by ``..``, holds a zero byte, or is longer than file
            systems take.
    """
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root
    if not name or absolute or "\0" in name or ".." in re.split(r"[/\\]", name):
        raise DataError(
            f"{source}: {field} is '{name[:200]}', which is not a file inside the data folder. "
            "Write a name relative to the folder, without '..'."
        )
    # Beyond these lengths the file system answers with an error of its own instead of "there is no such file".
    encoded = _encode(name, f"{source}: {field}")
    if len(encoded) > _LONGEST_PATH or max(map(len, encoded.split(b"/"))) > _LONGEST_NAME:
        raise DataError(f"{source}: {field} is '{name[:80]}...', longer than any file's name. Correct or remove it.")
    return name


def _encode(name: str, where: str) -> bytes:
    """A file name as UTF-8."""
    try:
        return name.encode()
    except UnicodeEncodeError as error:  # what Python makes of names in another encoding
        raise DataError(f"{where}: the file name {ascii(name)[:200]} is no UTF-8. Rename the file.") from error


def check_task(task: str | None, offered: Sequence[str], reader: str) -> str:
    """The task to read for: the reader's first unless another that it offers is asked for.

    Raises:
        DataError: If the reader cannot give that task's ground truth.
    """
    if task is None:
        return offered[0]
    if task not in offered:
        raise DataError(f"format '{reader}' has no ground truth for task '{task}'; it offers: {', '.join(offered)}.")
    return task


def resolve_split(split: str, available: Iterable[str], root: Path) -> str:
    """The data set's own name of a split: ``train`` also finds ``training`` and a single ``train2017``.

    Raises:
        DataError: If there is no such split; the message lists those there are.
    """
    names = list(dict.fromkeys(available))
    if split in names:
        return split
    for group in _SYNONYMS:
        if split in group:
            found = [name for name in names if name in group or re.fullmatch(rf"{split}\d+", name)]
            if len(found) == 1:
                return found[0]
    raise DataError(f"{root}: there is no split '{split}'; it has: {', '.join(names)}.")


def choose(count: int, split: str, ranges: Mapping[str, str] | None, root: Path) -> list[int]:
    """Indices of a split of ``count`` items that the source does not split itself.

    Args:
        count: Items, in their natural order.
        split: Name asked for.
        ranges: Index ranges by split, ends included, such as ``{"train": "0-23", "val": "24-29"}``. Without them every
            fifth item is ``val``, the others are ``train``. ``all`` always exists.
        root: Data folder, for messages.

    Raises:
        DataError: If the split is unknown, or a range is malformed or passes the end.
    """
    available = UNSPLIT if ranges is None else ("all", *ranges)
    name = resolve_split(split, available, root)
    if name == "all" and not (ranges and "all" in ranges):
        return list(range(count))
    if ranges is None:
        return [index for index in range(count) if (index % 5 == 4) == (name == "val")]
    chosen: list[int] = []
    for part in ranges[name].split(","):
        match = re.fullmatch(r"\s*(\d{1,12})(?:-(\d{1,12}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, count)
        if match is None or last >= count or first > last:
            raise DataError(
                f"{root}: split '{name}' is '{part}', but there are items 0-{count - 1}. Write it as '0-23,30'."
            )
        chosen.extend(range(first, last + 1))
    return chosen


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which ``2.png`` comes before ``10.png``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def list_images(folder: Path, recursive: bool = False) -> list[str]:
    """Names of the images in a folder, relative to it, in natural order; hidden files are passed over.

    Raises:
        DataError: If a name is no UTF-8.
    """
    if not folder.is_dir():
        return []
    files = folder.rglob("*") if recursive else folder.iterdir()
    names = [file.relative_to(folder).as_posix() for file in files if _is_image(file)]
    for name in names:
        _encode(name, str(folder))
    return sorted(names, key=natural_key)


def has_images(folder: Path, recursive: bool = True) -> bool:
    """Whether there is an image in a folder or below it; stops at the first."""
    return folder.is_dir() and any(_is_image(file) for file in (folder.rglob("*") if recursive else folder.iterdir()))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are passed over."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def flip_pairs_by_name(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of points that a mirror exchanges, told by ``left`` and ``right`` in their names."""
    index = {name: position for position, name in enumerate(names)}
    pairs = ((position, index.get(name.replace("left", "right"))) for name, position in index.items() if "left" in name)
    return tuple((left, right) for left, right in pairs if right is not None)
