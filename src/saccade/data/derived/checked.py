"""Data sets of the user's own, checked as they are read: kinds and shapes of the ground truth, labels, pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.base import DerivedDataset
from saccade.data.tables.faults import box_faults
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.imports import describe_failure
from saccade.structures.kinds import IGNORE_LABEL, check_kinds, row_keys
from saccade.structures.sample import Sample, Target

__all__ = ["CheckedDataset", "accept_dataset", "check_image", "check_target"]

T = TypeVar("T")


class CheckedDataset(DerivedDataset):
    """Data set whose samples are checked as they are read; a fault names the image, the field and the remedy.

    Readers of the package check what they read. A data set of somebody else's may hold anything, and a label out of
    range ends a training in the middle of a loss.

    Args:
        dataset: Any data set.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> class Wrong(DigitScenes):
        ...     def target(self, index):
        ...         return {"labels": np.array([12]), "boxes": np.array([[4.0, 4, 20, 20]])}
        >>> CheckedDataset(Wrong("detection")).target(0)
        Traceback (most recent call last):
        saccade.errors.DataError: digit_scenes/train/00000: labels: 12 is none of the 10 classes, 0 to 9. ...
    """

    def path(self, index: int) -> str:
        """File or name of image ``index``."""
        return str(super().path(index))

    def target(self, index: int) -> Target:
        """The ground truth in original pixels."""
        return self._asked(partial(super().target, index), index)

    def read(self, index: int) -> Sample:
        """Image and ground truth of ``index``."""
        return self._asked(partial(super().read, index), index)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """The same for training (:func:`saccade.structures.dataset.draw`)."""
        return self._asked(partial(super().draw, index, rng), index)

    def _asked(self, ask: Callable[[], T], index: int) -> T:
        """What the data set answers; whatever goes wrong in it names the image and the line."""
        try:
            return ask()
        except SaccadeError:
            raise
        except Exception as error:
            raise DataError(f"{self.path(index)}: {describe_failure(error)}") from error

    def changed_target(self, target: Target, index: int) -> Target:
        """The same ground truth, checked."""
        check_target(target, self.info, self.path(index))
        return target

    def changed(self, sample: Sample, index: int) -> Sample:
        """The same sample, checked."""
        where = self.path(index)
        if not isinstance(sample, Sample):
            raise DataError(
                f"{where}: read gives a {type(sample).__name__}, not a Sample (saccade.structures.sample). Make one of "
                "image, target and ImageInfo."
            )
        check_image(sample.image, where)
        check_target(sample.target, self.info, where, sample.size)
        return sample


def accept_dataset(dataset: object, what: str) -> VisionDataset:
    """Take a data set that was given in Python; one of somebody else's is checked as it is read.

    Args:
        dataset: What was given.
        what: Its name, for messages.

    Raises:
        ConfigError: If it is no data set; the message has what it lacks.

    Example:
        >>> accept_dataset([1, 2], "train")
        Traceback (most recent call last):
        saccade.errors.ConfigError: train is a list and no data set: it has no info, read, target and path. ...
    """
    if isinstance(dataset, str | Path):
        raise ConfigError(f"{what} takes a data set in memory; the name or path '{dataset}' belongs into data.")
    lacks = [name for name in ("info", "__len__", "read", "target", "path") if not hasattr(dataset, name)]
    if lacks or not isinstance(dataset, VisionDataset) or isinstance(dataset, type):
        missing = f"it has no {' and '.join([', '.join(lacks[:-1]), lacks[-1]] if lacks[1:] else lacks)}"
        raise ConfigError(
            f"{what} is a {type(dataset).__name__} and no data set: {missing if lacks else 'it is a class'}. Give a "
            "saccade.structures.dataset.VisionDataset; saccade.data.MemoryDataset makes one of arrays."
        )
    if not isinstance(dataset.info, DatasetInfo):
        raise ConfigError(f"{what}: info is a {type(dataset.info).__name__}. Make it a saccade.data.DatasetInfo.")
    ours = isinstance(dataset, TableDataset) or type(dataset).__module__.partition(".")[0] == "saccade"
    return dataset if ours else CheckedDataset(dataset)


def check_image(image: Any, where: str) -> None:
    """Refuse what is no decoded image.

    Args:
        image: (H, W, C), uint8 or uint16.
        where: Of the image, for messages.

    Raises:
        DataError: If it is another thing.

    Example:
        >>> check_image(np.zeros((8, 8, 3)), "photo 3")
        Traceback (most recent call last):
        saccade.errors.DataError: photo 3: the image is float64 (8, 8, 3). Give (height, width, channels), uint8 ...
    """
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype not in (np.uint8, np.uint16):
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise DataError(
            f"{where}: the image is {found}. Give (height, width, channels), uint8 of 0 to 255, RGB, or uint16; the "
            "network normalises it itself."
        )
    if not image.size:
        raise DataError(f"{where}: the image has no pixels, {image.shape}. Leave it out.")


def check_target(target: Any, info: DatasetInfo, where: str, size: tuple[int, int] | None = None) -> None:
    """Refuse ground truth of which a kind, shape or value is not what its task has.

    Args:
        target: Arrays by kind.
        info: Task and classes.
        where: Of the image, for messages.
        size: (height, width) of the image, where it is known.

    Raises:
        DataError: With the field and what it should be.

    Example:
        >>> info = DatasetInfo("pets", "detection", ("cat", "dog"))
        >>> check_target({"boxes": np.zeros((2, 4)), "labels": np.array([0])}, info, "a.jpg")
        Traceback (most recent call last):
        saccade.errors.DataError: a.jpg: 2 boxes, but 1 labels. Give one of each for every object.
    """
    if not isinstance(target, Mapping):
        raise DataError(f"{where}: the ground truth is a {type(target).__name__}. Give arrays by kind: boxes, labels.")
    check_kinds(target)
    for key, value in target.items():
        if not isinstance(value, np.ndarray | np.generic):
            raise DataError(f"{where}: {key} is a {type(value).__name__}. Give a NumPy array.")
    if "labels" in target:
        _check_labels(np.asarray(target["labels"]), info, where)
    if info.task != "classification":
        _check_rows(target, where)
    if "boxes" in target:
        _check_boxes(np.asarray(target["boxes"]), where, size)
    if "keypoints" in target:
        points = np.asarray(target["keypoints"])
        count = len(info.points.names)
        if points.ndim != 3 or points.shape[2] != 3 or (count and points.shape[1] != count):
            raise DataError(
                f"{where}: keypoints are {points.shape}. Give (objects, {count or 'points'}, 3): x, y, visibility (0 "
                "unlabelled, 1 hidden, 2 visible)."
            )
        if not np.isfinite(points).all():
            raise DataError(f"{where}: a keypoint is not finite. Set its visibility to 0, and x and y to 0.")
    for key in ("masks", "label_map"):
        if key in target and size is not None and target[key].shape[-2:] != size:
            raise DataError(
                f"{where}: {key} are {target[key].shape}, the image is {size[0]} x {size[1]} pixels. Give one value a "
                "pixel."
            )
    if "label_map" in target:
        _check_map(np.asarray(target["label_map"]), info, where)


def _check_labels(labels: NDArray[Any], info: DatasetInfo, where: str) -> None:
    if labels.dtype.kind not in "iu" or (info.task == "classification") != (labels.ndim == 0):
        wanted = "one whole number" if info.task == "classification" else "a whole number for every object"
        raise DataError(f"{where}: labels are {labels.dtype} {labels.shape}. Give {wanted}, the number of the class.")
    names = (info.object_names or ("object",)) if info.task == "keypoints" else info.class_names
    wrong = labels[(labels < 0) | (labels >= len(names))] if names else labels[:0]
    if wrong.size:
        raise DataError(
            f"{where}: labels: {int(wrong.flat[0])} is none of the {len(names)} classes, 0 to {len(names) - 1}. "
            "Correct it, or name the class (info.class_names)."
        )


def _check_rows(target: Mapping[str, NDArray[Any]], where: str) -> None:
    """As many rows of every kind as there are objects."""
    counts = {key: len(np.atleast_1d(target[key])) for key in row_keys() if key in target}
    first = next(iter(counts), "")
    for key, count in counts.items():
        if count != counts[first]:
            raise DataError(f"{where}: {counts[first]} {first}, but {count} {key}. Give one of each for every object.")


def _check_boxes(boxes: NDArray[Any], where: str, size: tuple[int, int] | None) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: boxes are {boxes.dtype} {boxes.shape}. Give (objects, 4): x1, y1, x2, y2 in pixels; (0, 4) "
            "where there is none."
        )
    for kind, found in box_faults(boxes.astype(np.float64), np.array(size or (0, 0))).items():
        if found.any():
            number = int(np.flatnonzero(found)[0])
            image = f" of the image of {size[0]} x {size[1]} pixels" if size and kind == "outside" else ""
            raise DataError(
                f"{where}: box {number}, {boxes[number].tolist()}, is {kind}{image}. Give x1, y1, x2, y2 in pixels, "
                "with x1 < x2 and y1 < y2, or leave it out."
            )


def _check_map(label_map: NDArray[Any], info: DatasetInfo, where: str) -> None:
    if label_map.ndim != 2 or label_map.dtype != np.uint8:
        raise DataError(f"{where}: label_map is {label_map.dtype} {label_map.shape}. Give (height, width), uint8.")
    count = len(info.class_names)
    wrong = label_map[(label_map >= count) & (label_map != IGNORE_LABEL)] if count else label_map[:0]
    if wrong.size:
        raise DataError(
            f"{where}: label_map: {int(wrong.flat[0])} is none of the {count} classes, 0 to {count - 1}, and not 255, "
            "which is ignored. Correct it, or name the class (info.class_names)."
        )
