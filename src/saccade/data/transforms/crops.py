"""Random crops: Inception's crop for classification, SSD's crop around objects and its expansion.

Windows lie on whole pixels, so the geometry record is exact. Objects of which too little is left are dropped
(:func:`saccade.data.transforms.move.clip_objects`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.transforms.move import move_sample, resize_pixels, select_objects
from saccade.errors import ConfigError
from saccade.ops.boxes_numpy import box_intersection
from saccade.structures.sample import Sample

__all__ = ["Expand", "IoUCrop", "RandomResizedCrop"]

# Pixels of an expanded canvas, beyond which the image on it is made smaller instead.
_MAX_CANVAS = 4096 * 4096


class RandomResizedCrop:
    """Inception crop: a window of random area and aspect, stretched to one size (Szegedy et al. 2015, section 6).

    Paper: "Going Deeper with Convolutions". Ten windows are tried; if all exceed the image, the largest centred window
    of an allowed aspect is taken.

    Args:
        size: Result (height, width).
        area: Range of the window's share of the image's area.
        aspect: Range of width / height, from which the logarithm is drawn evenly.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((375, 500)))
        >>> sample = Sample(np.zeros((375, 500, 3), np.uint8), {"labels": np.int64(3)}, info)
        >>> RandomResizedCrop((224, 224))(sample, np.random.default_rng(0)).image.shape
        (224, 224, 3)
    """

    def __init__(
        self,
        size: tuple[int, int],
        area: tuple[float, float] = (0.08, 1.0),
        aspect: tuple[float, float] = (0.75, 4 / 3),
    ) -> None:
        self.size = size
        self.area = area
        self.aspect = aspect

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Cut a window out and resize it to ``size``."""
        top, left, height, width = self._window(sample.size, rng)
        gain_y, gain_x = self.size[0] / height, self.size[1] / width
        matrix = np.array([[gain_x, 0, -left * gain_x], [0, gain_y, -top * gain_y], [0, 0, 1.0]])

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            window = pixels[top : top + height, left : left + width]
            return np.ascontiguousarray(resize_pixels(window, self.size, linear))

        return move_sample(sample, matrix, self.size, remap, fill=0, tight=True)

    def _window(self, image: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """(top, left, height, width) in an image of (height, width)."""
        rows, columns = image
        low, high = math.log(self.aspect[0]), math.log(self.aspect[1])
        for _ in range(10):
            area = rows * columns * rng.uniform(*self.area)
            aspect = math.exp(rng.uniform(low, high))
            height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < height <= rows and 0 < width <= columns:
                return int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width
        height = min(rows, max(round(columns / self.aspect[0]), 1)) if columns / rows < self.aspect[0] else rows
        width = min(columns, max(round(rows * self.aspect[1]), 1)) if columns / rows > self.aspect[1] else columns
        return (rows - height) // 2, (columns - width) // 2, height, width


class IoUCrop:
    """SSD crop: a random window that overlaps an object by a drawn IoU (Liu et al. 2016, section 2.2).

    One of these is chosen: the whole image; any window; a window whose intersection over union with some object is at
    least 0.1, 0.3, 0.5, 0.7 or 0.9. Windows have 0.3 to 1 of the image's size and 1/2 to 2 of its aspect. Objects
    stay if their centre is inside, as in the paper, and are cut at the edge; crowd regions stay if enough of them is
    visible. A window without the centre of any object is rejected. Where fifty windows are rejected, the choice is made
    anew.

    Args:
        probability: How often anything is done, 0..1.
        min_overlaps: Intersections over union to choose from.
        scale: Range of the square root of the window's share of the area.
        aspect: Range of the window's aspect relative to the image's.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> boxes = np.array([[20, 20, 60, 50], [100, 70, 150, 110]], np.float32)
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((120, 160)))
        >>> sample = Sample(np.zeros((120, 160, 3), np.uint8), {"boxes": boxes, "labels": np.array([3, 7])}, info)
        >>> crop = IoUCrop()(sample, np.random.default_rng(0))
        >>> crop.size, crop.target["labels"].tolist(), crop.target["boxes"].tolist()
        ((54, 38), [7], [[0.0, 9.0, 38.0, 49.0]])
    """

    _TRIALS = 50
    _ROUNDS = 50

    def __init__(
        self,
        probability: float = 1.0,
        min_overlaps: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        scale: tuple[float, float] = (0.3, 1.0),
        aspect: tuple[float, float] = (0.5, 2.0),
    ) -> None:
        self.probability = probability
        self.min_overlaps = tuple(min_overlaps)
        self.scale = scale
        self.aspect = aspect

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Cut a window out, or return the sample as it is.

        Raises:
            ConfigError: If the ground truth has no boxes.
        """
        if rng.random() >= self.probability:
            return sample
        if "boxes" not in sample.target:
            raise ConfigError("augment.iou_crop crops around boxes, and the ground truth has none. Set it to 0.")
        boxes = np.asarray(sample.target["boxes"], np.float64)
        crowd = sample.target.get("iscrowd", np.zeros(len(boxes), bool))
        for _ in range(self._ROUNDS):
            choice = int(rng.integers(2 + len(self.min_overlaps)))
            if choice == 0:
                return sample
            wanted = 0.0 if choice == 1 else self.min_overlaps[choice - 2]
            windows = self._draw(sample.size, rng)
            accepted = _accepted(windows, boxes[~crowd], wanted)
            if accepted.any():
                return _cut(sample, windows[int(np.argmax(accepted))], crowd)
        return sample

    def _draw(self, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw windows (T, 4), xyxy on whole pixels, of an image of (height, width)."""
        drawn = rng.random((self._TRIALS, 4))
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[:, 0]
        # No side may be longer than the image's.
        low, high = np.maximum(self.aspect[0], scale**2), np.minimum(self.aspect[1], 1 / scale**2)
        root = np.sqrt(low + (high - low) * drawn[:, 1])
        image = np.array(size[::-1])
        sides = np.clip(image * np.stack([scale * root, scale / root], axis=1), 1, image).astype(np.int64)
        corner = (drawn[:, 2:] * (image - sides + 1)).astype(np.int64)
        return np.concatenate([corner, corner + sides], axis=1)


class Expand:
    """SSD expansion: the image at a random position of a larger canvas, which makes objects small (section 3.6).

    Paper: Liu et al., ECCV 2016. A canvas has at most 16.8 million pixels: beyond that the image on it is reduced
    instead.

    Args:
        probability: How often, 0..1.
        largest: The canvas is 1 to this many times as wide and high.
        fill: Value of the canvas, one for all channels or one for each; the paper takes the mean of the training set.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> target = {"boxes": np.array([[10, 10, 40, 30]], np.float32), "labels": np.array([3])}
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((60, 100)))
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, info)
        >>> expanded = Expand(probability=1.0, largest=4.0)(sample, np.random.default_rng(0))
        >>> expanded.size, expanded.target["boxes"].tolist()
        ((108, 180), [[13.0, 25.0, 43.0, 45.0]])
    """

    def __init__(self, probability: float, largest: float = 4.0, fill: float | Sequence[float] = 114) -> None:
        self.probability = probability
        self.largest = largest
        self.fill = np.asarray(fill)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Lay the sample on a larger canvas, or return it as it is."""
        if rng.random() >= self.probability:
            return sample
        height, width = sample.size
        ratio = rng.uniform(1.0, self.largest)
        shrink = min(1.0, math.sqrt(_MAX_CANVAS / (height * width)) / ratio)
        image = max(round(height * shrink), 1), max(round(width * shrink), 1)
        size = int(image[0] * ratio), int(image[1] * ratio)
        top, left = (int(rng.integers(free - side + 1)) for free, side in zip(size, image, strict=True))
        matrix = np.array([[image[1] / width, 0, left], [0, image[0] / height, top], [0, 0, 1.0]])

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            canvas = np.empty((*size, *pixels.shape[2:]), pixels.dtype)
            canvas[...] = self.fill if linear else fill
            canvas[top : top + image[0], left : left + image[1]] = resize_pixels(pixels, image, linear)
            return canvas

        return move_sample(sample, matrix, size, remap, fill=0)


def _accepted(windows: NDArray[np.int64], boxes: NDArray[np.float64], wanted: float) -> NDArray[np.bool_]:
    """Whether each window (T, 4) holds the centre of a box (N, 4) with an IoU of at least ``wanted``, (T,).

    Without boxes, every window is accepted if ``wanted`` is 0, and none otherwise.
    """
    if not len(boxes):
        return np.full(len(windows), wanted == 0)
    inside = _holds_centres(windows, boxes)
    shared = box_intersection(windows[:, None], boxes)
    areas = (windows[:, 2:] - windows[:, :2]).prod(axis=1)[:, None] + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray((inside & (shared >= wanted * (areas - shared))).any(axis=1))


def _holds_centres(windows: NDArray[np.int64], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each window (T, 4) holds the centre of each box (N, 4), (T, N)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(((centres > windows[:, None, :2]) & (centres < windows[:, None, 2:])).all(axis=2))


def _cut(sample: Sample, window: NDArray[np.int64], crowd: NDArray[np.bool_]) -> Sample:
    """Crop to a window (4,), with the objects whose centre it holds, and crowds."""
    x1, y1, x2, y2 = window.tolist()
    boxes = np.asarray(sample.target["boxes"], np.float64)
    held = _holds_centres(window[None], boxes)[0] | crowd
    kept = replace(sample, target=select_objects(sample.target, held))

    def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
        return np.ascontiguousarray(pixels[y1:y2, x1:x2])

    matrix = np.array([[1, 0, -x1], [0, 1, -y1], [0, 0, 1.0]])
    return move_sample(kept, matrix, (y2 - y1, x2 - x1), remap, fill=0, tight=True)
