"""Several data sets as one, whose classes are joined by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.base import DerivedDataset
from saccade.data.derived.combine import ConcatDataset
from saccade.data.notices import say_once
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.kinds import IGNORE_LABEL
from saccade.structures.sample import Sample, Target
from saccade.structures.text import printable

__all__ = ["RelabelledDataset", "join_by_class"]

Pairs = tuple[tuple[int, int], ...]


def join_by_class(parts: Sequence[VisionDataset]) -> VisionDataset:
    """Join data sets by the names of their classes: the same name is the same class, whatever its number was.

    Classes are in the order in which the data sets name them, the first one's first; points of objects likewise, and
    points that a data set does not have are unlabelled there. A class that one data set does not name may be shown by
    its images all the same, where it counts as background: a warning names such classes.

    Args:
        parts: Data sets for one task, at least one.

    Returns:
        The images of all, one data set after another; a single one as it is.

    Raises:
        ConfigError: If the tasks differ, or label maps would have more than 255 classes.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> farms = []
        >>> for name in ("cow", "horse"):
        ...     builder = TableBuilder([name, "sheep"])
        ...     builder.add_image(f"{name}.jpg")
        ...     builder.add_object("sheep", (10, 5, 30, 35))
        ...     info = DatasetInfo(f"{name}s", "detection", (name, "sheep"))
        ...     farms.append(TableDataset(info, Path(f"{name}s"), builder.build()))
        >>> joined = join_by_class(farms)
        >>> joined.info.class_names, joined.target(0)["labels"], joined.target(1)["labels"]
        (('cow', 'sheep', 'horse'), array([1]), array([1]))
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0].info
    for part in parts[1:]:
        if part.info.task != first.task:
            raise ConfigError(
                f"data.sources: '{first.name}' is read for {first.task}, '{part.info.name}' for {part.info.task}. Join "
                "data sets of one task, or name the format of each in its saccade.yaml."
            )
    info = _joined_info([part.info for part in parts])
    if first.task == "segmentation" and len(info.class_names) > IGNORE_LABEL:
        raise ConfigError(f"data.sources: {len(info.class_names)} classes; label maps hold {IGNORE_LABEL} at most.")
    _warn(parts, info)
    joined = ConcatDataset([_with_names(part, info) for part in parts])
    joined.info = replace(info, split="+".join(dict.fromkeys(part.info.split for part in parts)))
    return joined


class RelabelledDataset(DerivedDataset):
    """Data set whose labels are those of a longer list of classes, and whose points those of a longer list of points.

    Args:
        dataset: Any data set.
        info: Classes and points by which its own are found, by name.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> digits = DigitScenes("classification", "train", count=3)
        >>> info = replace(digits.info, class_names=("none", *digits.info.class_names))
        >>> int(RelabelledDataset(digits, info).target(0)["labels"] - digits.target(0)["labels"])
        1
    """

    def __init__(self, dataset: VisionDataset, info: DatasetInfo) -> None:
        super().__init__(dataset, info)
        own = dataset.info
        self._labels = _numbers(_label_names(own), _label_names(info))
        self._pixels = np.full(IGNORE_LABEL + 1, IGNORE_LABEL, np.uint8)
        if own.task == "segmentation":
            self._pixels[: len(own.class_names)] = _numbers(own.class_names, info.class_names)
        self._points = _numbers(own.points.names, info.points.names)

    def changed(self, sample: Sample, index: int) -> Sample:
        """The same image with the new labels, those of its original among them."""
        original = None if sample.original is None else self.changed_target(sample.original, index)
        return replace(super().changed(sample, index), original=original)

    def changed_target(self, target: Target, index: int) -> Target:
        """The same ground truth with the new labels."""
        moved = dict(target)
        if "labels" in target and len(self._labels):
            moved["labels"] = _renumber(np.asarray(target["labels"]), self._labels)
        if "label_map" in target:
            moved["label_map"] = self._pixels[target["label_map"]]
        if "keypoints" in target and len(self._points):
            moved["keypoints"] = _spread(target["keypoints"], self._points, len(self.info.points.names))
        return moved


def _with_names(part: VisionDataset, info: DatasetInfo) -> VisionDataset:
    """A data set with the names of all; of an annotation table another table, which is decoded as fast as before."""
    own = part.info
    info = replace(info, name=own.name, split=own.split, category_ids=own.category_ids)
    if info == own:
        return part
    if isinstance(part, ConcatDataset):
        return ConcatDataset([_with_names(inner, info) for inner in part.parts])
    painted = own.task == "segmentation"
    if not isinstance(part, TableDataset) or painted or type(part).target is not TableDataset.target:
        return RelabelledDataset(part, info)
    table = part.table
    labels, points = _numbers(_label_names(own), _label_names(info)), _numbers(own.points.names, info.points.names)
    if len(labels):
        table = replace(table, labels=_renumber(table.labels, labels))
    if len(points):
        table = replace(table, keypoints=_spread(table.keypoints, points, len(info.points.names)))
    other = part.with_table(table)
    other.info = info
    return other


def _joined_info(infos: Sequence[DatasetInfo]) -> DatasetInfo:
    """Name, classes and points of all."""
    first = infos[0]
    names = _union([info.class_names for info in infos])
    objects = _union([_label_names(info) for info in infos]) if any(info.object_names for info in infos) else ()
    points = _union([info.points.names for info in infos])
    same = all((info.class_names, info.category_ids) == (names, first.category_ids) for info in infos)
    return replace(
        first,
        name="+".join(dict.fromkeys(info.name for info in infos)),
        class_names=names,
        category_ids=first.category_ids if same else (),
        object_names=objects if first.task == "keypoints" else first.object_names,
        point_names=() if first.task == "keypoints" else points,
        flip_pairs=_joined_pairs([(info.points.names, info.flip_pairs) for info in infos], points),
        skeleton=_joined_pairs([(info.points.names, info.skeleton) for info in infos], points),
    )


def _label_names(info: DatasetInfo) -> tuple[str, ...]:
    """Names of the labels of objects or images; of objects with keypoints those of the objects."""
    if info.task == "keypoints":
        return info.object_names or ("object",)
    return info.class_names


def _union(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))


def _joined_pairs(lists: Sequence[tuple[Sequence[str], Pairs]], names: Sequence[str]) -> Pairs:
    """Pairs of points of all, by their names."""
    pairs = [tuple(names.index(own[end]) for end in pair) for own, pairs in lists for pair in pairs]
    return tuple(dict.fromkeys((first, second) for first, second in pairs))


def _numbers(own: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Number of each of its own names among all, (N,)."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[name] for name in own], np.int64)


def _renumber(labels: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels by their new numbers; those below 0 are of unknown classes and stay."""
    renumbered: NDArray[np.int64] = np.where(labels < 0, labels, numbers[np.clip(labels, 0, len(numbers) - 1)])
    return renumbered


def _spread(keypoints: NDArray[np.float32], numbers: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Points (N, K, 3) in their new places among ``count``; the others are unlabelled."""
    spread = np.zeros((len(keypoints), count, keypoints.shape[2]), keypoints.dtype)
    spread[:, numbers] = keypoints
    return spread


def _warn(parts: Sequence[VisionDataset], info: DatasetInfo) -> None:
    """Name classes that not all data sets have, where an image may show several, and names that are almost the same."""
    for similar in _similar(info.class_names):
        say_once(
            f"data.sources: {' and '.join(similar)} are taken for different classes. If they are the same, rename "
            "one of them in its data set"
        )
    if info.task not in ("detection", "segmentation"):
        return
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name in info.class_names:
        without = tuple(part.info.name for part in parts if name not in part.info.class_names)
        if without:
            lacking.setdefault(without, []).append(name)
    for without, names in lacking.items():
        shown = ", ".join(f"'{printable(name, limit=40)}'" for name in names[:8])
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        one = len(names) == 1
        say_once(
            f"data.sources: {' and '.join(printable(name, limit=80) for name in without)} "
            f"{'does' if len(without) == 1 else 'do'} not name the {'class' if one else 'classes'} {shown}{more}. What "
            f"their images show of {'it' if one else 'them'} is learnt as background: label it, or see that there is "
            "none"
        )


def _similar(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ in capitals, blanks and signs alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = "".join(letter for letter in name.lower() if letter.isalnum())
        groups.setdefault(plain, []).append(f"'{printable(name, limit=40)}'")
    return [group for plain, group in groups.items() if plain and len(group) > 1]
