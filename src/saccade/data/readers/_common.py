"""Shared parts of the readers: safe file names, names of splits, layouts of two folders, options, order of files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.errors import DataError, did_you_mean

__all__ = [
    "LONGEST_NAME",
    "SPLIT_NAMES",
    "UNSPLIT",
    "check_name",
    "check_task",
    "choose",
    "find_layout",
    "flip_pairs_by_name",
    "has_images",
    "is_split_name",
    "layout_splits",
    "list_images",
    "natural_key",
    "options_from",
    "resolve_split",
    "split_order",
    "standard_split",
    "subfolders",
]

# Splits of a data set whose source has none; opening it holds a part out (saccade.data.derived.splits).
UNSPLIT = ("all",)

LONGEST_NAME = 255  # bytes; file systems refuse longer names with an error of their own
_LONGEST_PATH = 1024  # bytes

_SPLIT_SYNONYMS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLIT_NAMES = tuple(name for names in _SPLIT_SYNONYMS.values() for name in names)
"""Names by which folders, files and lists are recognised as splits, in lower case."""

OptionsT = TypeVar("OptionsT")


def check_name(name: str, source: Path, field: str) -> str:
    """Check that a file name from an annotation file stays inside the data folder.

    Args:
        name: Relative path as written.
        source: File it was written in, for the message.
        field: Where in that file.

    Returns:
        The same name.

    Raises:
        DataError: If the name is empty, absolute, climbs out by ``..``, holds a zero byte, or is longer than file
            systems take.

    Example:
        >>> check_name("images/a.jpg", Path("set.json"), "images[0].file_name")
        'images/a.jpg'
        >>> check_name("../a.jpg", Path("set.json"), "images[0].file_name")
        Traceback (most recent call last):
        saccade.errors.DataError: set.json: images[0].file_name is '../a.jpg', which is not a file inside the data
        folder. Write a name relative to the folder, without '..'.
    """
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root
    if not name or absolute or "\0" in name or ".." in re.split(r"[/\\]", name):
        raise DataError(
            f"{source}: {field} is '{name[:200]}', which is not a file inside the data folder. "
            "Write a name relative to the folder, without '..'."
        )
    # Beyond these lengths the file system raises an error of its own instead of "there is no such file".
    encoded = _encode(name, f"{source}: {field}")
    if len(encoded) > _LONGEST_PATH or max(map(len, encoded.split(b"/"))) > LONGEST_NAME:
        raise DataError(f"{source}: {field} is '{name[:80]}...', longer than any file's name. Correct or remove it.")
    return name


def _encode(name: str, where: str) -> bytes:
    """UTF-8 bytes of a file name."""
    try:
        return name.encode()
    except UnicodeEncodeError as error:  # Python's surrogates for names in another encoding
        raise DataError(f"{where}: the file name {ascii(name)[:200]} is not UTF-8. Rename the file.") from error


def check_task(task: str | None, offered: Sequence[str], reader: str) -> str:
    """Task to read for: the reader's first, or another that it offers.

    Raises:
        DataError: If the reader cannot give that task's ground truth.

    Example:
        >>> check_task(None, ("detection", "keypoints"), "coco")
        'detection'
        >>> check_task("keypoints", ("detection", "keypoints"), "coco")
        'keypoints'
    """
    if task is None:
        return offered[0]
    if task not in offered:
        raise DataError(f"format '{reader}' has no ground truth for task '{task}'; it offers: {', '.join(offered)}.")
    return task


def options_from(kind: type[OptionsT], options: Mapping[str, Any], reader: str) -> OptionsT:
    """Record of a reader's options from keyword arguments.

    Args:
        kind: The dataclass.
        options: Values by the names of its fields.
        reader: Name of the format, for the message.

    Raises:
        DataError: If the reader has no such option; the nearest is offered.

    Example:
        >>> from saccade.data.readers.masks import LabelMapOptions
        >>> options_from(LabelMapOptions, {"label_suffix": "_mask"}, "masks").label_suffix
        '_mask'
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise DataError(f"format '{reader}' has no option '{name}'.{did_you_mean(str(name), known)}")
    return kind(**options)


def standard_split(name: str) -> str:
    """``train``, ``val`` or ``test`` for each of their synonyms; other names as they are.

    Example:
        >>> standard_split("validation"), standard_split("minival")
        ('val', 'minival')
    """
    return next((standard for standard, names in _SPLIT_SYNONYMS.items() if name.lower() in names), name)


def is_split_name(name: str) -> bool:
    """Whether a folder, file or list of that name is a split.

    Example:
        >>> is_split_name("Training"), is_split_name("cats")
        (True, False)
    """
    return name.lower() in SPLIT_NAMES


def split_order(name: str) -> tuple[bool, str]:
    """Sort key of split names: ``train`` first, the others by name.

    Example:
        >>> sorted(["test", "val", "training"], key=split_order)
        ['training', 'test', 'val']
    """
    return not name.startswith("train"), name


def resolve_split(split: str, available: Iterable[str], root: Path) -> str:
    """The data set's own name of a split: ``train`` also finds ``training`` and a single ``train2017``.

    Raises:
        DataError: If there is no such split; the message lists those there are.

    Example:
        >>> resolve_split("val", ["train", "valid"], Path("data"))
        'valid'
        >>> resolve_split("test", ["train", "valid"], Path("data"))
        Traceback (most recent call last):
        saccade.errors.DataError: data: there is no split 'test'; it has: train, valid.
    """
    names = list(dict.fromkeys(available))
    if split in names:
        return split
    if is_split_name(split):
        same = standard_split(split)
        found = [name for name in names if standard_split(name) == same or re.fullmatch(rf"{split}\d+", name)]
        if len(found) == 1:
            return found[0]
    raise DataError(f"{root}: there is no split '{split}'; it has: {', '.join(names)}.")


def choose(count: int, split: str, ranges: Mapping[str, str] | None, root: Path) -> list[int]:
    """Indices of a split of a source that has no splits of its own.

    Args:
        count: Number of items, in their natural order.
        split: Name asked for.
        ranges: Index ranges by split, ends included, such as ``{"train": "0-23", "val": "24-29"}``. ``all`` always
            exists.
        root: Data folder, for messages.

    Raises:
        DataError: If the split is unknown, or a range is malformed or passes the end.

    Example:
        >>> choose(3, "all", None, Path("data"))
        [0, 1, 2]
        >>> choose(10, "test", {"test": "0-2,9"}, Path("data"))
        [0, 1, 2, 9]
    """
    name = resolve_split(split, dict.fromkeys([*UNSPLIT, *(ranges or ())]), root)
    if ranges is None or name not in ranges:
        return list(range(count))
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
    """Sort key by which ``2.png`` comes before ``10.png``.

    Example:
        >>> sorted(["10.png", "2.png"], key=natural_key)
        ['2.png', '10.png']
    """
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def list_images(folder: Path, recursive: bool = False) -> list[str]:
    """Names of the images in a folder, relative to it, in natural order; hidden files are skipped.

    Raises:
        DataError: If a name is not UTF-8.

    Example:
        >>> for name in ("10.png", "2.png", "notes.txt"):
        ...     Path(name).touch()
        >>> list_images(Path())
        ['2.png', '10.png']
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
    """Names of the folders in a folder, sorted; hidden ones are skipped, and a missing folder has none."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def layout_splits(root: Path, layout: tuple[str, str], known_only: bool = False) -> list[str]:
    """Splits for which both folders of a layout hold images, ``train`` first; ``[""]`` for a layout without splits.

    Args:
        root: Data folder.
        layout: Two folders below it, in which ``{split}`` stands for the split.
        known_only: Take only folders with the usual names of splits.

    Example:
        >>> for name in ("test/image", "test/label", "train/image", "train/label"):
        ...     Path(name).mkdir(parents=True)
        ...     Path(name, "1.png").touch()
        >>> layout_splits(Path(), ("{split}/image", "{split}/label"))
        ['train', 'test']
    """
    first, _ = layout
    names = subfolders(root / first.split("{split}")[0]) if "{split}" in first else [""]
    return [
        name
        for name in sorted(names, key=split_order)
        if (not known_only or not name or is_split_name(name))
        and all(has_images(root / folder.format(split=name), recursive=False) for folder in layout)
    ]


def find_layout(root: Path, layouts: Iterable[tuple[str, str]], known_only: bool = False) -> tuple[str, str] | None:
    """First layout of two folders that both hold images; None if there is none. See :func:`layout_splits`."""
    return next((layout for layout in layouts if layout_splits(root, layout, known_only)), None)


def flip_pairs_by_name(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of points that a mirror exchanges, by ``left`` and ``right`` in their names.

    Example:
        >>> flip_pairs_by_name(["nose", "left_eye", "right_eye"])
        ((1, 2),)
    """
    index = {name: position for position, name in enumerate(names)}
    pairs = ((position, index.get(name.replace("left", "right"))) for name, position in index.items() if "left" in name)
    return tuple((left, right) for left, right in pairs if right is not None)
