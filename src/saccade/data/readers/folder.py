"""Pictures in one folder a class: ``train/<class>/*.jpg``, or ``<class>/*.jpg`` without a split.

Classes are numbered in the order of their names, over all splits together, so that a class missing from one split
shifts nothing. Without splits in the source there are ``all``, ``train`` and ``val`` (every fifth picture of a class).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saccade.data.annotations import TableBuilder, TableDataset
from saccade.data.dataset import DatasetInfo
from saccade.data.readers.common import UNSPLIT, check_task, choose, has_images, list_images, resolve_split, subfolders
from saccade.errors import DataError

__all__ = ["matches", "read", "splits"]

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def matches(root: Path) -> bool:
    """Whether some folder in ``root`` holds pictures, directly or one level down."""
    return any(has_images(root / name) for name in subfolders(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the split folders, or ``all``, ``train``, ``val`` without them."""
    return tuple(_split_folders(root)) or UNSPLIT


def read(root: Path, split: str, task: str | None = None, class_names: Sequence[str] | None = None) -> TableDataset:
    """Read one split.

    Args:
        root: Data folder.
        split: Name of the part.
        task: ``classification``.
        class_names: Folders in the order of their labels; by name if not given.

    Raises:
        DataError: If there is no such split, or no picture in it.
    """
    check_task(task, ("classification",), "folder")
    folders = _split_folders(root)
    parents = [root / name for name in folders] or [root]
    names = sorted({name for parent in parents for name in subfolders(parent)}) if class_names is None else class_names
    builder = TableBuilder(names, boxes=False)
    own = resolve_split(split, folders, root) if folders else ""
    for name in names:
        files = list_images(root / own / name, recursive=True)
        kept = files if folders else [files[index] for index in choose(len(files), split, None, root)]
        for file in kept:
            builder.add_image("/".join(part for part in (own, name, file) if part))
            builder.add_object(name)
    table = builder.build()
    if not len(table):
        raise DataError(f"{root / own}: there are no pictures in '<class>/*.jpg'. Put one folder a class there.")
    return TableDataset(DatasetInfo(root.name, "classification", tuple(names), split), root, table)


def _split_folders(root: Path) -> list[str]:
    return [name for name in subfolders(root) if name.lower() in _SPLIT_NAMES and subfolders(root / name)]
