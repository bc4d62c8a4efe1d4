"""One file a format. Each has ``matches``, ``splits`` and ``read``; none repairs what it reads."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol, cast

from saccade.errors import DataError, did_you_mean
from saccade.structures.dataset import VisionDataset

__all__ = ["READERS", "Reader", "detect_format", "get_reader"]


class Reader(Protocol):
    """A module of this folder."""

    def matches(self, root: Path) -> bool:
        """Whether the folder looks like this format; cheap."""
        ...

    def splits(self, root: Path) -> tuple[str, ...]:
        """Names of the parts that the folder has."""
        ...

    def read(self, root: Path, split: str, task: str | None = None, **options: Any) -> VisionDataset:
        """One part; faulty boxes are kept, a file that cannot be parsed is a ``DataError``."""
        ...


# In the order of detection: the most particular layout first, the bare folder of images last.
_NAMES = (
    "coco",
    "labelme",
    "voc",
    "cvat",
    "openimages",
    "yolo",
    "idx",
    "omniglot",
    "csv",
    "keypoint_csv",
    "unpaired",
    "masks",
    "instance_masks",
    "paired",
    "folder",
)
READERS: dict[str, Reader] = {
    name: cast(Reader, importlib.import_module(f"saccade.data.readers.{name}")) for name in _NAMES
}


def get_reader(name: str) -> Reader:
    """The reader of a format.

    Raises:
        DataError: If there is none of that name; the nearest is offered.
    """
    if name not in READERS:
        raise DataError(f"there is no format '{name}'.{did_you_mean(name, READERS)}")
    return READERS[name]


def detect_format(root: Path) -> str:
    """Name of the format that a folder is in.

    Raises:
        DataError: If it is in none.
    """
    from saccade.data.readers.archive import is_archive  # which imports from this folder

    for name, reader in READERS.items():
        if (not is_archive(root) or getattr(reader, "READS_ARCHIVES", False)) and reader.matches(root):
            return name
    if root.is_dir() and not any(root.iterdir()):
        raise DataError(f"{root}: the folder is empty. Put images and annotations there, or name another folder.")
    raise DataError(
        f"{root}: no known layout of images and annotations was found. Name the format: {', '.join(READERS)}."
    )
