"""Folders of the images that an annotation file names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from saccade.errors import DataError

__all__ = ["find_image_root", "folder_of"]


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


def folder_of(root: Path, name: str, split: str, others: Iterable[str] = ()) -> str:
    """Folder of an image below ``root``, with a slash at its end; empty for ``root`` itself.

    Args:
        root: Folder that images' names are relative to.
        name: The first image.
        split: Name of the split.
        others: Folders to search besides the usual ones.

    Example:
        >>> Path("images/train").mkdir(parents=True)
        >>> Path("images/train/a.jpg").touch()
        >>> folder_of(Path(), "a.jpg", "train")
        'images/train/'
    """
    folders = ["", f"{split}/", "images/", f"images/{split}/", "JPEGImages/", *others]
    return next((folder for folder in folders if (root / folder / name).is_file()), "")
