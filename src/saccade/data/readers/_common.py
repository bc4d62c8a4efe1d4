"""Shared parts of the readers: safe file names, names of splits, layouts of two folders, options, order of files."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.data.notices import say_once
from saccade.errors import DataError, did_you_mean
from saccade.structures.reading import is_hidden, natural_key

__all__ = [
    "LONGEST_NAME",
    "MAX_CLASSES",
    "SPLIT_NAMES",
    "UNSPLIT",
    "check_class_count",
    "check_name",
    "check_task",
    "choose",
    "find_layout",
    "flip_pairs_by_name",
    "has_images",
    "is_image_name",
    "is_inside",
    "is_split_name",
    "layout_splits",
    "list_files",
    "list_images",
    "options_from",
    "resolve_split",
    "say_what_is_unread",
    "split_of_file",
    "split_order",
    "standard_split",
    "subfolders",
    "unread_files",
]

# Splits of a data set whose source has none; opening it holds a part out (saccade.data.derived.splits).
UNSPLIT = ("all",)

LONGEST_NAME = 255  # bytes; file systems refuse longer names with an error of their own
_LONGEST_PATH = 1024  # bytes
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")  # on any system

_SPLIT_SYNONYMS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
SPLIT_NAMES = tuple(name for names in _SPLIT_SYNONYMS.values() for name in names)
"""Names by which folders, files and lists are recognised as splits, in lower case."""

MAX_CLASSES = 100_000  # a million names are a mistake, and every one costs memory in the head of a network

# Words of a file's name that say what it holds, not of which split.
_CONTENT_WORDS = (
    "annotation annotations bbox bboxes boxes coco data dataset default gt images instances keypoints label labels "
    "person result results"
)
# Files of a data set that are no images, and say so.
_DOCUMENTS = (
    ".bin .cache .cfg .csv .data .db .doc .docx .gz .h5 .hdf5 .html .ini .ipynb .json .jsonl .lock .log .mat .md "
    ".names .npy .npz .onnx .parquet .pdf .pkl .pt .pth .py .rst .rtf .safetensors .sh .sqlite .tar .tfrecord .toml "
    ".tsv .txt .url .xls .xlsx .xml .yaml .yml .zip"
)
_OTHER_IMAGES = (
    ".3fr .apng .arw .cr2 .cr3 .cur .dcm .dds .dng .emf .eps .exr .hdr .heic .heics .heif .hif .icns .ico .j2k .jls "
    ".jpc .jpf .jpx .jxl .jxr .mpo .nef .nii .orf .pcx .pfm .psd .qoi .raf .ras .raw .rw2 .sgi .svg .svs .tga .wmf "
    ".xbm .xcf .xpm .avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv"
)
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_SNIFFED = 20  # files of an unknown suffix that are looked into

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
    if not _stays_inside(name):
        raise DataError(
            f"{source}: {field} is '{name[:200]}', which is not a file inside the data folder. "
            "Write a name relative to the folder, without '..'."
        )
    # Beyond these lengths the file system raises an error of its own instead of "there is no such file".
    if _is_too_long(_encode(name, f"{source}: {field}")):
        raise DataError(f"{source}: {field} is '{name[:80]}...', longer than any file's name. Correct or remove it.")
    return name


def is_inside(name: str) -> bool:
    """Whether a file name from an annotation file stays inside the data folder, and could be a file's.

    Example:
        >>> [is_inside(name) for name in ("images/a.jpg", "../a.jpg", "/a.jpg", "C:/a.jpg")]
        [True, False, False, False]
    """
    return _stays_inside(name) and not _is_too_long(name.encode(errors="replace"))


def _stays_inside(name: str) -> bool:
    return bool(name) and "\0" not in name and not _ABSOLUTE.match(name) and ".." not in re.split(r"[/\\]", name)


def _is_too_long(encoded: bytes) -> bool:
    return len(encoded) > _LONGEST_PATH or max(map(len, encoded.split(b"/"))) > LONGEST_NAME


def check_class_count(count: int, source: Path, field: str) -> None:
    """Check that a file does not name more classes than any network has.

    Args:
        count: Number of classes.
        source: File that names them.
        field: Where in that file.

    Raises:
        DataError: If there are more than ``MAX_CLASSES``.

    Example:
        >>> check_class_count(80, Path("data.yaml"), "names")
    """
    if count > MAX_CLASSES:
        raise DataError(
            f"{source}: {field}: there are {count:,} classes, more than the {MAX_CLASSES:,} that are read. "
            "Check whether this is the column or field of the classes."
        )


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


def split_of_file(stem: str) -> str:
    """Split that an annotation file's name tells: ``train`` of ``train_labels``, ``val`` of ``instances_val``.

    Args:
        stem: Name of the file without suffix.

    Returns:
        The word that names a split; ``all`` where every word says what the file holds; else the stem itself.

    Example:
        >>> split_of_file("train_labels"), split_of_file("instances_default"), split_of_file("street")
        ('train', 'all', 'street')
    """
    words = [word for word in re.split(r"[\W_]+", stem) if word.lower() not in _CONTENT_WORDS.split()]
    if not words:
        return "all"
    return words[0] if len(words) == 1 and is_split_name(words[0]) else stem


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
    names = [name for name, entry in _walk(folder, recursive) if _is_image(entry)]
    for name in names:
        _encode(name, str(folder))
    return sorted(names, key=natural_key)


def list_files(folder: Path, suffixes: Collection[str], recursive: bool = True) -> list[str]:
    """Names of the files of some suffixes in a folder, relative to it, in natural order; hidden ones are skipped.

    Args:
        folder: Where to look; one that does not exist has no files.
        suffixes: In lower case, with the dot.
        recursive: Also in the folders below it.

    Example:
        >>> for name in ("10.xml", "2.XML", "._2.xml", "notes.txt"):
        ...     Path(name).touch()
        >>> list_files(Path(), [".xml"])
        ['2.XML', '10.xml']
    """
    found = (
        name
        for name, entry in _walk(folder, recursive)
        if PurePosixPath(entry.name).suffix.lower() in suffixes and _is_file(entry)
    )
    names = sorted(found, key=natural_key)
    for name in names:
        _encode(name, str(folder))
    return names


def has_images(folder: Path, recursive: bool = True) -> bool:
    """Whether there is an image in a folder or below it; stops at the first."""
    return any(_is_image(entry) for _, entry in _walk(folder, recursive))


def unread_files(folder: Path) -> Counter[str]:
    r"""Files below a folder that are images or films, or look like one, but are not read; by suffix.

    A file without suffix, or of one that nobody knows, is looked into. Links that lead to no file are counted too.

    Args:
        folder: Data folder.

    Returns:
        How many there are, by suffix in lower case; ``no suffix`` and ``broken link`` stand for themselves.

    Example:
        >>> for name in ("a.jpg", "b.heic", "c.HEIC", "readme.txt"):
        ...     Path(name).touch()
        >>> _ = Path("d").write_bytes(b"\x89PNG")
        >>> dict(unread_files(Path()))
        {'.heic': 2, 'no suffix': 1}
    """
    documents, others = frozenset(_DOCUMENTS.split()), frozenset(_OTHER_IMAGES.split())
    counts: Counter[str] = Counter()
    unknown: dict[str, list[str]] = {}
    for name, entry in _walk(folder, recursive=True):
        suffix = PurePosixPath(entry.name).suffix.lower()
        if suffix in documents or _is_image(entry):
            continue
        if not _is_file(entry):
            counts["broken link" if entry.is_symlink() else "no regular file"] += 1
        elif suffix in others:
            counts[suffix] += 1
        else:
            unknown.setdefault(suffix or "no suffix", []).append(name)
    for suffix, names in unknown.items():
        found = sum(_looks_like_image(folder / name) for name in names[:_SNIFFED])
        if found:
            counts[suffix] = found if len(names) <= _SNIFFED else len(names)
    return Counter(dict(sorted(counts.items())))


@functools.lru_cache(maxsize=256)
def say_what_is_unread(folder: Path) -> None:
    """Log the files of :func:`unread_files`, once for a folder.

    Args:
        folder: Data folder.

    Example:
        >>> Path("a.heic").touch()
        >>> say_what_is_unread(Path())  # the log: 1 .heic is not read
    """
    counts = unread_files(folder)
    if counts:
        found = ", ".join(f"{count} {suffix}" for suffix, count in counts.items())
        say_once(f"{folder}: files that look like images are not read: {found}")


def is_image_name(name: str) -> bool:
    """Whether a name ends like that of an image or film, one of those that are read or not.

    Example:
        >>> is_image_name("a.JPG"), is_image_name("a.heic"), is_image_name("cat no. 3")
        (True, True, False)
    """
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix != "" and suffix in _OTHER_IMAGES.split())


def _looks_like_image(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    return start.startswith(_MAGIC) or start[4:8] in (b"ftyp", b"jP  ")


def _walk(folder: Path, recursive: bool) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Names below a folder, with slashes, and entries of everything in it that is neither hidden nor a folder."""
    folders = [""] if folder.is_dir() else []
    while folders:
        below = folders.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if not _is_folder(entry):
                    yield below + entry.name, entry
                elif recursive and not entry.is_symlink():  # a link may lead back to a folder above it
                    folders.append(f"{below}{entry.name}/")


def _is_image(entry: os.DirEntry[str]) -> bool:
    return PurePosixPath(entry.name).suffix.lower() in IMAGE_SUFFIXES and _is_file(entry)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are skipped, and a missing folder has none."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))


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
