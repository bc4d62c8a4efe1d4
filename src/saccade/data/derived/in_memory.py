"""A data set of images that are in memory already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.checked import check_image, check_target
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["MemoryDataset"]


def _whole(value: Any) -> NDArray[Any]:
    """Whole numbers; others stay as they are, to be refused."""
    found = np.asarray(value)
    return found.astype(np.int64) if not found.size or found.dtype.kind in "iu" else found


def _pixels(value: Any) -> NDArray[Any]:
    """A value a pixel, 0 to 255; others stay as they are, to be refused."""
    found = np.asarray(value)
    fits = found.dtype.kind in "biu" and found.size and found.min() >= 0 and found.max() <= 255
    return found.astype(np.uint8) if fits else found


# How plain values become arrays, by kind.
_ARRAYS: dict[str, Callable[[Any], NDArray[Any]]] = {
    "boxes": lambda value: np.asarray(value, np.float64).reshape(-1, 4),
    "labels": _whole,
    "label_map": _pixels,
    "area": lambda value: np.asarray(value, np.float64),
    "iscrowd": lambda value: np.asarray(value, np.bool_),
    "difficult": lambda value: np.asarray(value, np.bool_),
    "masks": lambda value: (np.asarray(value) > 0).astype(np.uint8),
    "keypoints": lambda value: np.asarray(value, np.float32),
}


class MemoryDataset:
    """Images and their ground truth in memory, as a data set that every part of the package takes.

    Everything is checked at once; what is wrong names the image and the field. Areas and crowds of objects are filled
    in where they are not given.

    Args:
        info: Name, task and classes.
        images: Decoded images, (H, W, C) or (H, W), uint8 of 0..255, RGB or grey; sizes may differ.
        targets: Ground truth of each image: arrays or lists by kind (``boxes`` as x1, y1, x2, y2 in pixels, ``labels``,
            ``masks``, ``keypoints``); for classification the number of the class, for segmentation the label map.
        names: Name of each image, for messages and results; ``name/split/number`` if not given.

    Raises:
        DataError: If an image or its ground truth is not what the task has.

    Example:
        >>> images = [np.full((40, 60, 3), grey, np.uint8) for grey in (40, 200)]
        >>> data = MemoryDataset(DatasetInfo("shades", "classification", ("dark", "light")), images, [0, 1])
        >>> len(data), data.path(1), data.read(1).target
        (2, 'shades/train/1', {'labels': array(1)})
        >>> info = DatasetInfo("pets", "detection", ("cat", "dog"))
        >>> one, none = {"boxes": [[10, 5, 30, 35]], "labels": [1]}, {"boxes": [], "labels": []}
        >>> pets = MemoryDataset(info, images, [one, none])
        >>> pets.target(0)["boxes"], pets.target(1)["boxes"].shape
        (array([[10.,  5., 30., 35.]]), (0, 4))
    """

    def __init__(
        self, info: DatasetInfo, images: Sequence[Any], targets: Sequence[Any], names: Sequence[str] | None = None
    ) -> None:
        if names is None:
            names = [f"{info.name}/{info.split}/{number}" for number in range(len(images))]
        if not len(images) == len(targets) == len(names):
            counts = f"{len(images)} images, {len(targets)} targets and {len(names)} names"
            raise DataError(f"data set '{info.name}': {counts}. Give one of each for every image.")
        self.info = info
        self._names = list(names)
        self._images = [_image(image, name) for image, name in zip(images, names, strict=True)]
        self._targets = [_target(target, info, name) for target, name in zip(targets, names, strict=True)]
        for image, target, name in zip(self._images, self._targets, names, strict=True):
            check_target(target, info, name, (image.shape[0], image.shape[1]))

    def __len__(self) -> int:
        return len(self._images)

    def path(self, index: int) -> str:
        """Name of image ``index``."""
        return self._names[index]

    def target(self, index: int) -> Target:
        """The ground truth in pixels; the arrays are the caller's own."""
        return {key: value.copy() for key, value in self._targets[index].items()}

    def read(self, index: int) -> Sample:
        """Image ``index`` and its ground truth; the arrays are the caller's own."""
        image = self._images[index].copy()
        geometry = Geometry.identity((image.shape[0], image.shape[1]))
        return Sample(image, self.target(index), ImageInfo(index, self.path(index), geometry))


def _image(image: Any, name: str) -> NDArray[Any]:
    pixels = np.asarray(image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    check_image(pixels, name)
    return pixels


def _array(value: Any, key: str, name: str) -> NDArray[Any]:
    try:
        return _ARRAYS.get(key, np.asarray)(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: {key} cannot be made an array ({error}). Give plain numbers.") from error


def _target(given: Any, info: DatasetInfo, name: str) -> Target:
    """Arrays of what was given for one image."""
    if not isinstance(given, Mapping):
        given = {"label_map" if info.task == "segmentation" else "labels": given}
    target: Target = {key: _array(value, key, name) for key, value in given.items()}
    if info.task != "classification" and "boxes" in target:
        boxes = target["boxes"]
        target.setdefault("area", (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        target.setdefault("iscrowd", np.zeros(len(boxes), np.bool_))
    return target
