"""Images that annotation files name: found as written, or by the last parts of a name from another machine.

Annotations travel without their folders. Their names of images may be absolute, begin with ``../../`` or a drive, have
back-slashes, be URLs, or lack folders that are there. Names are looked up in this order, all images of a file together:

1. as written, below the data folder or one of the usual folders, the one first in which most of them are;
2. without what belongs to the other machine, by the longest row of last parts that leads to one image only;
3. the same without the suffix, as images are often converted after they were annotated.

An image that another name has is not given to a second one, an image of another split's folder is not taken, and of
several that fit equally well none. Only names below the data folder are compared; nothing outside is looked at.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np

from saccade.data.images.decode import upright_size
from saccade.data.notices import say_once
from saccade.data.readers._common import is_image_name, is_inside, is_split_name, list_images, standard_split
from saccade.data.tables.annotations import AnnotationTable
from saccade.errors import DataError
from saccade.structures.text import printable

__all__ = [
    "ImageFinder",
    "fill_sizes",
    "find_image_root",
    "has_pattern",
    "last_parts",
    "match_pattern",
    "usual_folders",
]

_MOST_STARS, _LONGEST_PATTERN = 6, 500
_VOTERS = 200  # names by which the folder of the images is chosen
# Folders of images that are ground truth or copies, never the images of an annotation.
_NO_IMAGES = (
    "annotations depth ground_truth groundtruth gt instance_masks label labels mask masks panoptic preview seg segment "
    "segmentation segmentationclass segmentationclasspng segmentationobject semantic thumbnails thumbs visualization "
    "visualizations"
)
_QUOTES = "\"'"


def find_image_root(root: Path, images: str | None) -> Path:
    """Folder that images' names are relative to: the data folder, or another that the user names.

    Args:
        root: Data folder.
        images: Folder relative to ``root``; it may be outside, since no file names it.

    Raises:
        DataError: If there is no such folder.

    Example:
        >>> Path("photos").mkdir()
        >>> find_image_root(Path(), "photos").name
        'photos'
    """
    if images is None:
        return root
    folder = root / images
    if not folder.is_dir():
        raise DataError(f"{folder}: images: there is no such folder. Name that of the images, relative to {root}.")
    return folder


def fill_sizes(table: AnnotationTable, root: Path) -> None:
    """Fill in (height, width) of the images for which the annotations have none, from the images themselves.

    Args:
        table: Its ``sizes`` are changed in place; those of images that cannot be read stay 0.
        root: Folder of the images.
    """
    for row in np.flatnonzero(~table.sizes.all(axis=1)).tolist():
        with contextlib.suppress(DataError):  # named when the image is read
            table.sizes[row] = upright_size(root / table.path(row))


def usual_folders(split: str, beside: str = "", others: Iterable[str] = ()) -> list[str]:
    """Folders below the data folder in which images often are, with a slash at the end.

    Args:
        split: Name of the split.
        beside: Folder of the annotation file.
        others: More, searched last.

    Example:
        >>> usual_folders("train")
        ['train/', 'images/train/', 'images/', 'JPEGImages/', '', 'data/']
    """
    by_split = [f"{split}/", f"images/{split}/"] if split else []
    folders = [*by_split, "images/", "JPEGImages/", "", f"{beside}/" if beside else "", "data/", *others]
    return list(dict.fromkeys(folders))


def last_parts(name: str) -> list[str]:
    r"""Parts of a name from another machine, without what cannot be part of a name here.

    Args:
        name: As written: a path of any system, or a URL.

    Example:
        >>> last_parts("../../media/upload/my%20cat.jpg"), last_parts("D:\\photos\\cat.jpg")
        (['media', 'upload', 'my cat.jpg'], ['photos', 'cat.jpg'])
    """
    name = name.strip().strip(_QUOTES)
    if "://" in name:
        try:
            name = urlsplit(name).path
        except ValueError:  # a malformed address
            name = name.partition("://")[2]
    if "%" in name:
        name = unquote(name)
    name = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
    return [part for part in name.split("/") if part not in ("", ".", "..") and "\0" not in part]


def has_pattern(name: str) -> bool:
    """Whether a name has characters that stand for others.

    Example:
        >>> has_pattern("images/*.jpg"), has_pattern("images/a.jpg")
        (True, False)
    """
    return any(character in name for character in "*?[")


def match_pattern(names: Sequence[str], pattern: str) -> list[str]:
    """Names that a pattern of files or of folders stands for, by its longest row of last parts that stands for any.

    Args:
        names: Files below a folder, with slashes.
        pattern: ``*`` and ``?`` stand for what has no slash, ``**`` for any folders.

    Example:
        >>> match_pattern(["images/a.jpg", "images/b.png", "c.jpg"], "/home/me/images/*.jpg")
        ['images/a.jpg']
        >>> match_pattern(["images/train/a.jpg", "images/val/b.jpg"], "images/t*")
        ['images/train/a.jpg']
    """
    parts = last_parts(pattern)
    if pattern.count("*") > _MOST_STARS or len(pattern) > _LONGEST_PATTERN:  # matching would take for ever
        return []
    for first in range(len(parts)):
        try:
            form = re.compile(_regex("/".join(parts[first:])), re.IGNORECASE)
        except re.error:  # a range such as [z-a]
            return []
        found = [name for name in names if form.fullmatch(name)]
        if found:
            return found
    return []


def _regex(pattern: str) -> str:
    special = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\[\]\\/]+\]|.", pattern)
    return (
        "".join(special.get(piece) or (_set(piece) if len(piece) > 1 else re.escape(piece)) for piece in pieces)
        + "(?:/.*)?"
    )


def _set(piece: str) -> str:
    inner = piece[1:-1]
    return f"[^{re.escape(inner[1:])}]" if inner[0] == "!" else f"[{re.escape(inner)}]".replace("\\-", "-")


class ImageFinder:
    """Finds the images that a file of annotations names.

    Args:
        root: Folder that names are relative to.
        source: The file, for the log.
        folders: Folders below ``root`` to search first (:func:`usual_folders`).
        split: Name of the split: images in folders of other splits are not taken. Empty for any.

    Example:
        >>> Path("images").mkdir()
        >>> Path("images/a.jpg").touch()
        >>> finder = ImageFinder(Path(), Path("boxes.json"), usual_folders("train"))
        >>> finder.find(["a.jpg"]), finder.find(["C:/photos/a.jpg"]), finder.find(["../b.jpg"])
        (['images/a.jpg'], ['images/a.jpg'], [None])
    """

    def __init__(self, root: Path, source: Path, folders: Sequence[str] = ("",), split: str = "") -> None:
        self.root = root
        self._prefix = f"{root}/"
        self._source = source
        self._folders = list(folders)
        self._split = _plain_split(split)
        self._by_name: dict[str, list[str]] | None = None
        self._by_stem: dict[str, list[str]] = {}

    def find(self, names: Sequence[str], others: Sequence[str] = ()) -> list[str | None]:
        """Names of images below the folder.

        Args:
            names: As written.
            others: For each, a second name to look for, such as the annotation's own; none if empty.

        Returns:
            For each, the name of its image; where none is found, a name that none has, by which the image can be
            reported as missing, or None if what is written is no name inside the folder.
        """
        folders = self._by_votes(names)
        found = [self._as_written(name, folders) for name in names]
        taken = set(filter(None, found))
        lacking = [index for index, name in enumerate(found) if name is None]
        loose: dict[int, str] = {}
        seconds = {index: others[index] for index in lacking} if others else {}
        for keyed in (dict.fromkeys(lacking), seconds):
            for index in keyed:
                if index not in loose and (name := keyed[index] or names[index]):
                    near = self._search(last_parts(name))
                    if near is not None:
                        loose[index] = near
        # An image that two names lead to is that of neither, unless both are the same name.
        wanted = Counter(
            {path: len({names[index] for index in loose if loose[index] == path}) for path in loose.values()}
        )
        used = {index: path for index, path in loose.items() if wanted[path] == 1 and path not in taken}
        for index in lacking:
            found[index] = used.get(index) or self._missing(names[index], folders)
        self._log([(names[index], path) for index, path in used.items()], len(names))
        gone = [names[index] for index in lacking if index not in used]
        if gone:
            say_once(
                f"{self._source}: {len(gone)} of {len(names)} images are not there, such as "
                f"'{printable(gone[0], limit=120)}'; looked below {self.root}. Name another folder by the option "
                "'images'."
            )
        return found

    def _by_votes(self, names: Sequence[str]) -> list[str]:
        """Folders, first the one in which most of some names are."""
        step = max(1, len(names) // _VOTERS)
        voters = [name for name in names[::step] if is_inside(name)]
        votes = {folder: sum(self._is_there(folder + name) for name in voters) for folder in self._folders}
        return sorted(self._folders, key=lambda folder: -votes[folder])

    def _as_written(self, name: str, folders: Sequence[str]) -> str | None:
        if not is_inside(name):
            return None
        name = posixpath.normpath(name)
        return next((folder + name for folder in folders if self._is_there(folder + name)), None)

    def _is_there(self, path: str) -> bool:
        return os.path.isfile(f"{self._prefix}{path}")  # noqa: PTH113 - asked for every image, in every folder

    def _search(self, parts: Sequence[str]) -> str | None:
        """The image that shares most last parts with a name, if it is one alone."""
        if not parts:
            return None
        by_name, by_stem = self._index()
        candidates = by_name.get(parts[-1].lower()) or by_stem.get(_stem(parts[-1])) or []
        ranks = [(_shared(parts, candidate), candidate) for candidate in candidates]
        best = max((rank for rank, _ in ranks), default=0)
        nearest = [candidate for rank, candidate in ranks if rank == best]
        return nearest[0] if len(nearest) == 1 else None

    def _index(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Images below the folder by name and by stem, in lower case."""
        if self._by_name is None:
            self._by_name = {}
            no_images = frozenset(_NO_IMAGES.split())
            for path in list_images(self.root, recursive=True):
                folders = path.split("/")[:-1]
                others = {_plain_split(folder) for folder in folders} - {"", self._split}
                if not (self._split and others) and not no_images.intersection(map(str.lower, folders)):
                    name = posixpath.basename(path)
                    self._by_name.setdefault(name.lower(), []).append(path)
                    self._by_stem.setdefault(_stem(name), []).append(path)
        return self._by_name, self._by_stem

    def _missing(self, name: str, folders: Sequence[str]) -> str | None:
        """Name under which an image is reported as missing."""
        return folders[0] + name if is_inside(name) else None

    def _log(self, pairs: Sequence[tuple[str, str]], count: int) -> None:
        changed = [(name, path) for name, path in pairs if not path.endswith(name)]
        if changed:
            name, path = changed[0]
            say_once(
                f"{self._source}: {len(changed)} of {count} images were found by the last parts of their names, such "
                f"as '{printable(path, limit=120)}' for '{printable(name, limit=120)}'"
            )


def _plain_split(name: str) -> str:
    """``train``, ``val`` or ``test`` of ``train``, ``valid``, ``test2017``; empty for other names."""
    name = name.rstrip("0123456789")
    return standard_split(name) if is_split_name(name) else ""


def _stem(name: str) -> str:
    return (PurePosixPath(name).stem if is_image_name(name) else name).lower()


def _shared(parts: Sequence[str], path: str) -> int:
    """Number of folders that a name and a path have in common before the last part."""
    count = 0
    for ours, theirs in zip(reversed(parts[:-1]), reversed(path.split("/")[:-1]), strict=False):
        if ours.lower() != theirs.lower():
            break
        count += 1
    return count
