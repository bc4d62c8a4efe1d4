"""Subsets and concatenations of data sets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.base import DerivedDataset, image_ids_of
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset, draw
from saccade.structures.sample import Sample, Target

__all__ = ["ConcatDataset", "SubsetDataset", "subset", "without_unions"]

_UNION_NAME = re.compile(r"train[ _+-]*val\d*|all|every(?:thing)?|default", re.IGNORECASE)
_SPLIT_NAME = re.compile(r"train|val|test|dev", re.IGNORECASE)


class SubsetDataset(DerivedDataset):
    """Data set of some images of another one.

    Args:
        dataset: Data set that holds the images.
        indices: Images to take, in the order wanted.
        split: Name of the split; the data set's own if not given.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> scenes = SubsetDataset(DigitScenes("detection"), [7, 3], split="few")
        >>> len(scenes), scenes.path(0), scenes.info.split
        (2, 'digit_scenes/train/00007', 'few')
    """

    def __init__(self, dataset: VisionDataset, indices: Sequence[int], split: str | None = None) -> None:
        super().__init__(dataset, replace(dataset.info, split=dataset.info.split if split is None else split))
        self._indices = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """Number of each image, shape (M,), int64."""
        return image_ids_of(self.dataset)[self._indices]

    def source(self, index: int) -> int:
        """Image of the other data set."""
        return int(self._indices[index])


def subset(dataset: VisionDataset, indices: Sequence[int], split: str | None = None) -> VisionDataset:
    """Take some images of a data set; of an annotation table, a smaller table rather than a wrapper around it.

    Args:
        dataset: Any data set.
        indices: Images to take, in the order wanted.
        split: Name of the split; the data set's own if not given.

    Returns:
        Data set of these images.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> few = subset(DigitScenes("detection"), range(10))
        >>> len(few), few.path(9)
        (10, 'digit_scenes/train/00009')
    """
    if not isinstance(dataset, TableDataset):
        return SubsetDataset(dataset, indices, split)
    part = dataset.with_table(dataset.table.select_images(indices))
    part.info = replace(dataset.info, split=dataset.info.split if split is None else split)
    return part


class ConcatDataset:
    """Concatenation of data sets of the same task and classes (``train+val``).

    Images keep their numbers if all of them differ; else they are numbered by position, because evaluation counts a
    number once.

    Args:
        parts: At least one data set.

    Raises:
        DataError: If task or classes of the parts differ.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> both = ConcatDataset([DigitScenes(split="val"), DigitScenes(split="test")])
        >>> len(both), both.info.split, both.path(200)
        (400, 'val+test', 'digit_scenes/test/00000')
    """

    def __init__(self, parts: Sequence[VisionDataset]) -> None:
        first = parts[0].info
        for part in parts[1:]:
            if part.info.task != first.task or part.info.class_names != first.class_names:
                names = " / ".join(", ".join(info.class_names) for info in (first, part.info))
                raise DataError(
                    f"{first.name}: splits '{first.split}' and '{part.info.split}' have different tasks or classes "
                    f"({names}). Give both the same class list."
                )
        self.info = replace(first, split="+".join(part.info.split for part in parts))
        self.repairs: dict[str, int] = {}
        self.left_out: list[tuple[str, str]] = [entry for part in parts for entry in getattr(part, "left_out", ())]
        for part in parts:
            for fault, count in getattr(part, "repairs", {}).items():
                self.repairs[fault] = self.repairs.get(fault, 0) + count
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        ids = np.concatenate([image_ids_of(part) for part in parts])
        self.image_ids: NDArray[np.int64] = ids if len(np.unique(ids)) == len(ids) else np.arange(len(ids))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def locate(self, index: int) -> tuple[VisionDataset, int]:
        """Part and index within it of image ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[part], index - int(self._starts[part])

    def path(self, index: int) -> str:
        """File of image ``index``."""
        part, inner = self.locate(index)
        return part.path(inner)

    def annotation_path(self, index: int) -> str:
        """File that holds the ground truth of image ``index``, for messages."""
        part, inner = self.locate(index)
        return part.annotation_path(inner) if isinstance(part, TableDataset) else part.path(inner)

    def target(self, index: int) -> Target:
        """The ground truth in original pixels."""
        part, inner = self.locate(index)
        return part.target(inner)

    def read(self, index: int) -> Sample:
        """Image and ground truth of ``index``."""
        part, inner = self.locate(index)
        return self._renumbered(part.read(inner), index)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """The same for training (:func:`saccade.structures.dataset.draw`)."""
        part, inner = self.locate(index)
        return self._renumbered(draw(part, inner, rng), index)

    def _renumbered(self, sample: Sample, index: int) -> Sample:
        return replace(sample, info=replace(sample.info, image_id=int(self.image_ids[index])))


def without_unions(parts: Sequence[VisionDataset]) -> list[VisionDataset]:
    """Remove splits that are unions of others, as VOC's ``trainval`` is of ``train`` and ``val``.

    One called like a union keeps the images that no other split has. A split that trains, validates or tests is never a
    union: where it holds the images of others, these leak.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> train, val = DigitScenes(split="train"), DigitScenes(split="val")
        >>> both = SubsetDataset(ConcatDataset([train, val]), range(2200), split="trainval")
        >>> [part.info.split for part in without_unions([train, val, both])]
        ['train', 'val']
    """
    paths = [[part.path(index) for index in range(len(part))] for part in parts]
    sets = [frozenset(own) for own in paths]
    named = [_UNION_NAME.fullmatch(part.info.split) is not None for part in parts]
    kept: list[VisionDataset] = []
    for number, (part, own) in enumerate(zip(parts, sets, strict=True)):
        if _SPLIT_NAME.match(part.info.split) and not named[number]:
            kept.append(part)
            continue
        smaller: frozenset[str] = frozenset().union(*(other for other in sets if other < own))
        if smaller == own:
            continue
        if named[number]:
            others = (other for index, other in enumerate(sets) if index != number and not named[index])
            elsewhere: frozenset[str] = frozenset().union(*others)
            rest = [index for index, path in enumerate(paths[number]) if path not in elsewhere]
            if len(rest) < len(part):
                kept += [subset(part, rest)] if rest else []
                continue
        kept.append(part)
    return kept
