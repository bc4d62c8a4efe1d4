"""Pairs of images of the same scene in two domains, for image translation.

- Both in one image, side by side, as pix2pix packs them (``train/*.jpg``, ``val/*.jpg``).
- Or of equal names in two folders: ``A/`` and ``B/``, ``A/train/`` and ``B/train/``, ``train/A/`` and ``train/B/``; A
  counts as the left one.

``side`` chooses the input. A sample's ``target["target_image"]`` is the other one, of the same size, and
``target["paired"]`` is true: it moves with the input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_image, upright_size
from saccade.data.readers._common import (
    UNSPLIT,
    check_task,
    choose,
    find_layout,
    has_images,
    is_split_name,
    layout_splits,
    list_images,
    resolve_split,
    split_order,
    subfolders,
)
from saccade.data.readers._label_maps import map_table
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["PairedDataset", "Side", "check_side", "matches", "read", "splits"]

Side = Literal["left", "right"]
# Folders of both images; {split} stands for the split.
_LAYOUTS = (("A/{split}", "B/{split}"), ("{split}/A", "{split}/B"), ("A", "B"))


class PairedDataset(TableDataset):
    """Images, each with its partner in the other domain, which a network is to make of it.

    Args:
        info: Name of the data set.
        root: Data folder.
        table: Files; ``maps`` are the partners. Where both are the same, they are the halves of one image.
        side: Which of the two is the input.
    """

    def __init__(self, info: DatasetInfo, root: Path, table: AnnotationTable, side: Side) -> None:
        super().__init__(info, root, table)
        self.side = side

    def annotation_path(self, index: int) -> str:
        """File of the partner."""
        return str(self.root / self.table.map_path(index))

    def pixels(self, index: int) -> NDArray[Any]:
        """Pixels of the input, shape (H, W, 3)."""
        return self._read_pair(index)[0]

    def target(self, index: int) -> Target:
        """``target_image`` (H, W, 3) uint8, and ``paired`` () bool.

        Raises:
            DataError: If an image is broken, or the two differ in size.
        """
        return {"target_image": self._read_pair(index)[1], "paired": np.array(True)}

    def read(self, index: int) -> Sample:
        """Both images.

        Raises:
            DataError: If an image is broken, or the two differ in size.
        """
        image, partner = self._read_pair(index)
        size = (image.shape[0], image.shape[1])
        info = ImageInfo(int(self.image_ids[index]), self.path(index), Geometry.identity(size))
        return Sample(image, {"target_image": partner, "paired": np.array(True)}, info)

    def _read_pair(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Pixels of input and partner."""
        path, other = self.path(index), self.annotation_path(index)
        if path != other:
            image, partner = read_image(path), read_image(other)
            if image.shape != partner.shape:
                raise DataError(
                    f"{other}: the image is {partner.shape[1]}x{partner.shape[0]}, its partner {path} "
                    f"{image.shape[1]}x{image.shape[0]}. Save both in the same size."
                )
            return image, partner
        both = read_image(path)
        width = both.shape[1]
        if width % 2:
            raise DataError(
                f"{path}: the image is {width} pixels wide, which has no halves. Save it anew, or remove it."
            )
        left, right = (np.ascontiguousarray(half) for half in (both[:, : width // 2], both[:, width // 2 :]))
        return (left, right) if self.side == "left" else (right, left)


def matches(root: Path) -> bool:
    """Whether folders A and B stand alone with images of the same names, or an image is twice as wide as high."""
    layout = _two_folders(root)
    if layout is not None:
        ours, theirs = (
            root / folder.format(split=layout_splits(root, layout, known_only=True)[0]) for folder in layout
        )
        # Classes may be called A and B as well, but hardly have the same files.
        alone = ours.parent != theirs.parent or subfolders(ours.parent) == ["A", "B"]
        return alone and {Path(name).stem for name in list_images(ours)} == {
            Path(name).stem for name in list_images(theirs)
        }
    for name in _half_splits(root):
        try:
            height, width = upright_size(root / name / list_images(root / name)[0])
        except DataError:
            continue
        return width == 2 * height
    return False


def splits(root: Path) -> tuple[str, ...]:
    """Names of the splits; ``all`` for folders without splits.

    Example:
        >>> for name in ("A/train", "A/val", "B/train", "B/val"):
        ...     Path(name).mkdir(parents=True)
        ...     Path(name, "1.png").touch()
        >>> splits(Path())
        ('train', 'val')
    """
    layout = _two_folders(root)
    names = _half_splits(root) if layout is None else layout_splits(root, layout, known_only=True)
    return tuple(names) if any(names) else UNSPLIT


def read(root: Path, split: str, task: str | None = None, side: Side = "left") -> PairedDataset:
    """Read one split of paired images.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``translation``.
        side: The input: ``left`` half or folder A, or ``right`` half or folder B.

    Raises:
        DataError: If folders or partners are missing, or ``side`` is neither.

    Example:
        >>> import cv2
        >>> Path("train").mkdir()
        >>> _ = cv2.imwrite("train/1.png", np.zeros((4, 10, 3), np.uint8))
        >>> sample = read(Path(), "train", side="right").read(0)
        >>> sample.image.shape, sample.target["target_image"].shape
        ((4, 5, 3), (4, 5, 3))
    """
    check_task(task, ("translation",), "paired")
    check_side(side)
    layout = _two_folders(root)
    names = _half_splits(root) if layout is None else layout_splits(root, layout, known_only=True)
    whole = not any(names)
    own = "" if whole else resolve_split(split, names, root)
    pairs = _halves(root, own) if layout is None else _partners(root, layout, own, side)
    if not pairs:
        raise DataError(f"{root}: there are no images in folders A and B, nor in folders of splits. Put them there.")
    if whole:
        pairs = [pairs[index] for index in choose(len(pairs), split, None, root)]
    return PairedDataset(DatasetInfo(root.name, "translation", (), split), root, map_table(pairs), side)


def check_side(side: str) -> None:
    """Check that a side is ``left`` or ``right``.

    Raises:
        DataError: If it is neither.

    Example:
        >>> check_side("up")
        Traceback (most recent call last):
        saccade.errors.DataError: side is 'up'. Write 'left' (or folder A) or 'right' (or folder B) for the input.
    """
    if side not in ("left", "right"):
        raise DataError(f"side is '{side}'. Write 'left' (or folder A) or 'right' (or folder B) for the input.")


def _half_splits(root: Path) -> list[str]:
    names = [name for name in subfolders(root) if is_split_name(name) and has_images(root / name, recursive=False)]
    return sorted(names, key=split_order)


def _two_folders(root: Path) -> tuple[str, str] | None:
    return find_layout(root, _LAYOUTS, known_only=True)


def _halves(root: Path, split: str) -> list[tuple[str, str]]:
    names = [f"{split}/{name}" if split else name for name in list_images(root / split)]
    return [(name, name) for name in names]


def _partners(root: Path, layout: tuple[str, str], split: str, side: Side) -> list[tuple[str, str]]:
    """Files of equal stem in both folders, the input first."""
    ours, theirs = (folder.format(split=split) for folder in (layout if side == "left" else layout[::-1]))
    inputs = list_images(root / ours)
    others = {Path(name).stem: name for name in list_images(root / theirs)}
    missing = [name for name in inputs if Path(name).stem not in others]
    if missing:
        raise DataError(
            f"{root / ours}: {len(missing)} images have no partner of the same name in {root / theirs}: "
            f"{', '.join(missing[:5])}. Add the partners, or remove the images."
        )
    return [(f"{ours}/{name}", f"{theirs}/{others[Path(name).stem]}") for name in inputs]
