"""Crops of objects: a data set of images with several objects as one of images with one (top-down)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.base import image_ids_of
from saccade.data.transforms.move import clip_objects, move_target, select_objects
from saccade.data.transforms.resize import shift_pixels
from saccade.errors import ConfigError, DataError
from saccade.ops.merge import boxes_of_points
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ObjectBox, Sample, Target

__all__ = ["ObjectCrops", "cut_out", "has_several_objects", "object_window"]

_LARGEST = 16_384  # side of a window, pixels
_CACHED_IMAGES = 4  # a process keeps the images that it decoded last


def object_window(box_xyxy: Sequence[float] | NDArray[Any], aspect: float, enlarge: float) -> tuple[int, int, int, int]:
    """Window around a box: extended to an aspect, then enlarged, in whole pixels.

    The box is never cut: its shorter side grows until the aspect is reached, both about the centre.

    Args:
        box_xyxy: (4,), pixels; it may lie partly outside of its image, and so may the window.
        aspect: Width / height of the window.
        enlarge: Factor on both sides.

    Returns:
        (top, left, height, width), at least one pixel each way.

    Example:
        >>> object_window([10, 20, 30, 100], aspect=0.75, enlarge=1.25)
        (10, -17, 100, 75)
    """
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    height = max(y2 - y1, (x2 - x1) / aspect) * enlarge
    height = min(max(height, 1.0, 1.0 / aspect), _LARGEST / max(1.0, aspect))
    sides = max(round(height), 1), max(round(height * aspect), 1)
    top, left = (y1 + y2 - sides[0]) / 2, (x1 + x2 - sides[1]) / 2
    return math.floor(top + 0.5), math.floor(left + 0.5), *sides


def cut_out(image: NDArray[Any], window: tuple[int, int, int, int], fill: int) -> tuple[NDArray[Any], Geometry]:
    """Cut a window out of an image.

    Args:
        image: (H, W, C).
        window: (top, left, height, width); it may reach past the image.
        fill: Grey value outside of the image.

    Returns:
        (height, width, C), and the map from the image to it.

    Example:
        >>> pixels, geometry = cut_out(np.zeros((40, 60, 3), np.uint8), (10, -18, 100, 75), fill=114)
        >>> pixels.shape, geometry.map_points(np.array([[0.0, 10.0]])).tolist()
        ((100, 75, 3), [[18.0, 0.0]])
    """
    top, left, height, width = window
    geometry = Geometry.identity((image.shape[0], image.shape[1])).then(_shift(top, left), (height, width))
    return shift_pixels(image, (height, width), -top, -left, fill), geometry


def has_several_objects(dataset: VisionDataset) -> bool:
    """Whether an image of the data set has more than one object with a labelled keypoint.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> has_several_objects(DigitScenes("keypoints", count=4))
        False
    """
    return any(len(_learnable(dataset.target(index))[0]) > 1 for index in range(len(dataset)))


class ObjectCrops:
    """Data set of the objects of another data set's images, each cut out by its box.

    Without ``boxes`` there is a crop for each object with a labelled keypoint, by its box in the ground truth (or the
    hull of its points where the data have no boxes): what a network trains on, and the usual way to compare networks.
    With the boxes that a detector found there is one for each of these; an image without any has one crop of score 0,
    so that its objects count as missed.

    A crop's ``target`` is its one object, in pixels of the crop, and ``Sample.original`` the ground truth of the whole
    image, in its pixels. Crops of an image carry ``ImageInfo.part`` and ``parts``, by which their results are joined
    before they are scored.

    Args:
        dataset: Data set that holds the images, with keypoints.
        aspect: Width / height of the network's canvas.
        enlarge: Sides of a crop, in sides of its object's box at that aspect.
        boxes: By image, boxes that a detector found, (N, 5): x1, y1, x2, y2, score.
        fill: Grey value of what a crop shows outside of its image.

    Attributes:
        image_of: Image that each crop shows.
        repairs: How many objects are left out, by reason.

    Raises:
        ConfigError: If a setting is out of range, or the data have no keypoints.
        DataError: If no object can be cut out.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> crops = ObjectCrops(DigitScenes("keypoints", count=4), aspect=0.75)
        >>> sample = crops.read(0)
        >>> sample.target["keypoints"].shape[0], abs(sample.size[1] / sample.size[0] - 0.75) < 0.02
        (1, True)
    """

    def __init__(
        self,
        dataset: VisionDataset,
        aspect: float,
        enlarge: float = 1.25,
        boxes: Mapping[int, NDArray[Any]] | None = None,
        fill: int = 114,
    ) -> None:
        if not 0 < enlarge <= 100 or not 0 < aspect < math.inf:
            raise ConfigError(f"crop: enlarge is a factor above 0, up to 100; got {enlarge} (aspect {aspect}).")
        if dataset.info.task != "keypoints":
            raise ConfigError(
                f"crop: crops of objects are for keypoints, and data set '{dataset.info.name}' is read for "
                f"{dataset.info.task}. Set data.crop.use to never."
            )
        self.info: DatasetInfo = replace(dataset.info, object_crops=enlarge)
        self.aspect, self.enlarge, self.fill = aspect, enlarge, fill
        self.repairs: dict[str, int] = dict(getattr(dataset, "repairs", {}))
        self.left_out: list[tuple[str, str]] = list(getattr(dataset, "left_out", ()))
        self._dataset = dataset
        self._found = boxes
        self._cache: OrderedDict[int, Sample] = OrderedDict()
        self._rows: list[int] = []  # object of each crop, or row of its box
        image_of: list[int] = []
        for image in range(len(dataset)):
            rows = self._rows_of(image)
            self._rows += rows
            image_of += [image] * len(rows)
        self.image_of: NDArray[np.int64] = np.array(image_of, np.int64)
        if not len(self.image_of):
            raise DataError(
                f"{self.info.name}: no object of split '{self.info.split}' has a labelled keypoint and an extent, so "
                "there is nothing to cut out. Label some, or name another split."
            )
        self._parts = np.bincount(self.image_of, minlength=len(dataset))
        self._first = np.cumsum(self._parts) - self._parts

    def _rows_of(self, image: int) -> list[int]:
        """Rows of an image that have a crop; what is left out is counted."""
        if self._found is not None:
            return list(range(max(len(self._found.get(image, ())), 1)))
        target = self._dataset.target(image)
        rows, reasons = _learnable(target)
        for reason, number in reasons.items():
            self.repairs[reason] = self.repairs.get(reason, 0) + number
        return rows

    def __len__(self) -> int:
        return len(self.image_of)

    def __getstate__(self) -> dict[str, Any]:
        # Cached images are not sent to workers; each keeps its own.
        return {**self.__dict__, "_cache": OrderedDict()}

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """The source's number of the image that each crop shows."""
        return image_ids_of(self._dataset)[self.image_of]

    def path(self, index: int) -> str:
        """File of the image that crop ``index`` shows."""
        return self._dataset.path(int(self.image_of[index]))

    def box(self, index: int) -> ObjectBox:
        """Box of crop ``index`` in pixels of its image; of score 0 where the detector found nothing."""
        image, row = int(self.image_of[index]), self._rows[index]
        if self._found is None:
            return ObjectBox(_boxes(self._dataset.target(image))[row])
        found = np.asarray(self._found.get(image, np.zeros((0, 5))), np.float64)
        if not len(found):
            return ObjectBox(np.array([0.0, 0, 1, 1]), score=0.0)
        return ObjectBox(found[row, :4], float(found[row, 4]))

    def target(self, index: int) -> Target:
        """The ground truth of the one object, in pixels of the crop."""
        window = object_window(self.box(index).box_xyxy, self.aspect, self.enlarge)
        one = self._object(self._dataset.target(int(self.image_of[index])), index)
        moved = move_target(one, _shift(*window[:2]), _no_pixels)
        # The object itself stays, however little of its box is inside.
        return {**moved, **clip_objects({"keypoints": moved["keypoints"]}, (0, 0, window[3], window[2]))}

    def read(self, index: int) -> Sample:
        """Pixels of the crop with its object; ``original`` is the ground truth of the whole image.

        Raises:
            DataError: If the image cannot be read.
        """
        whole = self._whole(int(self.image_of[index]))
        box = self.box(index)
        window = object_window(box.box_xyxy, self.aspect, self.enlarge)
        pixels, geometry = cut_out(whole.image, window, self.fill)
        info = replace(
            whole.info,
            geometry=geometry,
            part=index - int(self._first[self.image_of[index]]),
            parts=int(self._parts[self.image_of[index]]),
            crop=box,
        )
        return Sample(pixels, self.target(index), info, original=whole.target)

    def _object(self, target: Target, index: int) -> Target:
        """The object of a crop; of a detector's box no object, since nobody says which it is."""
        keep = np.zeros(len(target["keypoints"]), bool)
        if self._found is None:
            keep[self._rows[index]] = True
        kept = {key: value for key, value in target.items() if key != "masks"}
        return select_objects(kept, keep)

    def _whole(self, image: int) -> Sample:
        """A whole image with its ground truth, from the cache or decoded."""
        if image not in self._cache:
            self._cache[image] = self._dataset.read(image)
            while len(self._cache) > _CACHED_IMAGES:
                self._cache.popitem(last=False)
        return self._cache[image]


def _learnable(target: Target) -> tuple[list[int], dict[str, int]]:
    """Objects with a labelled keypoint and an extent that are no crowd, and how many others there are, by reason."""
    points = target["keypoints"]
    labelled = (points[..., 2] > 0).any(axis=1)
    crowd = np.asarray(target.get("iscrowd", np.zeros(len(points))), bool)
    boxes = _boxes(target)
    flat = ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    reasons = {
        "crowds left out": crowd,
        "objects without a labelled point left out": ~crowd & ~labelled,
        "objects without extent left out": ~crowd & labelled & flat,
    }
    counted = {reason: int(mask.sum()) for reason, mask in reasons.items()}
    return np.flatnonzero(~crowd & labelled & ~flat).tolist(), {name: n for name, n in counted.items() if n}


def _boxes(target: Target) -> NDArray[np.float64]:
    """Boxes of the objects, (N, 4); where they are missing or empty, the hulls of their labelled points."""
    points = np.asarray(target["keypoints"], np.float64)
    boxes = np.asarray(target["boxes"], np.float64) if "boxes" in target else np.zeros((len(points), 4))
    empty = ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    for row in np.flatnonzero(empty).tolist():
        seen = points[row, points[row, :, 2] > 0, :2]
        if len(seen):
            boxes[row] = boxes_of_points(seen[None])[0]
    return boxes


def _shift(top: int, left: int) -> NDArray[np.float64]:
    return np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]])


def _no_pixels(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
    raise AssertionError("keypoints come without maps of pixels")
