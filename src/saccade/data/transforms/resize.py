"""Resize rules: an image of any size onto a network's canvas, the same in training, evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.transforms.move import move_sample, resize_pixels
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import Sample

__all__ = ["Resize", "resize_geometry", "resize_image"]

# Pixels of a resized image, beyond which only the part that the canvas shows is made.
_MAX_RESIZED = 1 << 25


@dataclass(frozen=True)
class _Plan:
    """Resize to ``resized``, then lay that at ``top``, ``left`` of ``canvas``; negative offsets crop.

    All sizes are (height, width).
    """

    resized: tuple[int, int]
    canvas: tuple[int, int]
    top: int
    left: int

    def matrix(self, original: tuple[int, int]) -> NDArray[np.float64]:
        """Matrix (3, 3) from original to canvas pixels, with the rounded sizes rather than the nominal gain."""
        return np.array(
            [[self.resized[1] / original[1], 0, self.left], [0, self.resized[0] / original[0], self.top], [0, 0, 1]]
        )

    def apply(self, pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
        """Resize and shift an image or a label map."""
        resized, here = self.resized[0] * self.resized[1], pixels.shape[0] * pixels.shape[1]
        if resized > max(here, _MAX_RESIZED) and not (self.top > 0 or self.left > 0):
            return self._cut(pixels, linear)
        return shift_pixels(resize_pixels(pixels, self.resized, linear), self.canvas, self.top, self.left, fill)

    def _cut(self, pixels: NDArray[Any], linear: bool) -> NDArray[Any]:
        """What the canvas shows of an image that would be enlarged beyond all measure: one row of 5,000 pixels."""
        part, where = [], []
        for axis in (0, 1):
            gain = self.resized[axis] / pixels.shape[axis]
            first = int(-(self.top, self.left)[axis] / gain)
            last = min(int(first + self.canvas[axis] / gain) + 2, pixels.shape[axis])
            part.append(slice(max(first - 1, 0), last))
            where.append((last - part[-1].start, gain))
        enlarged = tuple(max(round(count * gain), self.canvas[axis]) for axis, (count, gain) in enumerate(where))
        top, left = (round(part[axis].start * where[axis][1]) + (self.top, self.left)[axis] for axis in (0, 1))
        top = min(max(top, self.canvas[0] - enlarged[0]), 0)
        left = min(max(left, self.canvas[1] - enlarged[1]), 0)
        window = resize_pixels(np.ascontiguousarray(pixels[tuple(part)]), (enlarged[0], enlarged[1]), linear)
        return shift_pixels(window, self.canvas, top, left, 0)


def resize_image(
    image: NDArray[Any], spec: InputSpec, size: tuple[int, int] | None = None
) -> tuple[NDArray[Any], Geometry]:
    """Resize, pad or crop an image to a network's canvas.

    Args:
        image: Pixels, shape (H, W, C).
        spec: Gives the rule.
        size: Canvas (height, width) instead of the spec's own; rounded up to its ``pad_multiple``. The rules ``none``
            and ``multiple`` have no use for it.

    Returns:
        The canvas, shape (H', W', C), and the geometry record of where the pixels went.

    Example:
        >>> image = np.zeros((300, 400, 3), np.uint8)
        >>> canvas, geometry = resize_image(image, InputSpec(size=(640, 640), resize="letterbox"))
        >>> canvas.shape, geometry.matrix.tolist()
        ((640, 640, 3), [[1.6, 0.0, 0.0], [0.0, 1.6, 80.0], [0.0, 0.0, 1.0]])
    """
    original = (image.shape[0], image.shape[1])
    plan = _plan(original, spec if size is None else spec.with_size(size))
    geometry = Geometry(original, original).then(plan.matrix(original), plan.canvas)
    return plan.apply(image, spec.pad_value, True), geometry


def resize_geometry(original: tuple[int, int], spec: InputSpec) -> Geometry:
    """Where the pixels of an image of a size go, without one.

    Args:
        original: (height, width).
        spec: Gives the rule and the canvas.

    Example:
        >>> resize_geometry((300, 400), InputSpec(size=(640, 640), resize="letterbox")).matrix.tolist()
        [[1.6, 0.0, 0.0], [0.0, 1.6, 80.0], [0.0, 0.0, 1.0]]
    """
    plan = _plan(original, spec)
    return Geometry(original, original).then(plan.matrix(original), plan.canvas)


class Resize:
    """Resize a sample to a network's canvas, the ground truth with the image (:func:`resize_image`).

    Args:
        spec: Gives the rule and the canvas.

    Example:
        >>> from saccade.structures.sample import ImageInfo
        >>> target = {"boxes": np.array([[100, 50, 200, 150]], np.float32), "labels": np.array([3])}
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((300, 400)))
        >>> sample = Sample(np.zeros((300, 400, 3), np.uint8), target, info)
        >>> resized = Resize(InputSpec(size=(640, 640), resize="letterbox"))(sample)
        >>> resized.size, resized.target["boxes"].tolist()
        ((640, 640), [[160.0, 160.0, 320.0, 320.0]])
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec

    def __call__(self, sample: Sample, rng: np.random.Generator | None = None) -> Sample:
        """Resize the sample; nothing is random. An image of another domain that is no partner is resized by itself."""
        plan = _plan(sample.size, self.spec)
        resized = move_sample(sample, plan.matrix(sample.size), plan.canvas, plan.apply, self.spec.pad_value)
        if not sample.target.get("paired", True):
            resized.target["target_image"] = resize_image(sample.target["target_image"], self.spec)[0]
        return resized


def shift_pixels(pixels: NDArray[Any], size: tuple[int, int], top: int, left: int, fill: int) -> NDArray[Any]:
    """Lay pixels (H, W[, C]) at ``top``, ``left`` of a canvas; the outside is cut, uncovered pixels get ``fill``."""
    kept = pixels[max(-top, 0) : size[0] - top, max(-left, 0) : size[1] - left]
    if kept.shape[:2] == size:
        return np.ascontiguousarray(kept)
    above, before = max(top, 0), max(left, 0)
    below, after = size[0] - above - kept.shape[0], size[1] - before - kept.shape[1]
    border = (above, below, before, after)
    padded = cv2.copyMakeBorder(np.ascontiguousarray(kept), *border, cv2.BORDER_CONSTANT, value=(fill,) * 4)
    return np.asarray(padded).reshape(*size, *pixels.shape[2:])


def _plan(original: tuple[int, int], spec: InputSpec) -> _Plan:
    height, width = original
    multiple = spec.pad_multiple
    canvas = spec.canvas
    if spec.resize == "multiple":
        canvas = (_nearest_multiple(height, multiple), _nearest_multiple(width, multiple))
    if spec.resize in ("stretch", "multiple"):
        return _Plan(canvas, canvas, 0, 0)
    if spec.resize == "center_crop":
        # The shorter side becomes canvas / crop_fraction, the longer follows, rounded down as torchvision's Resize
        # does.
        wanted = (round(canvas[0] / spec.crop_fraction), round(canvas[1] / spec.crop_fraction))
        if wanted[0] * width >= wanted[1] * height:
            resized = (wanted[0], max(wanted[0] * width // height, canvas[1]))
        else:
            resized = (max(wanted[1] * height // width, canvas[0]), wanted[1])
        return _Plan(resized, canvas, -round((resized[0] - canvas[0]) / 2), -round((resized[1] - canvas[1]) / 2))
    if spec.resize in ("letterbox", "rectangle"):
        gain = min(canvas[0] / height, canvas[1] / width)
        resized = (max(round(height * gain), 1), max(round(width * gain), 1))
    else:
        resized = _shorter_side(original, spec.size) if spec.resize == "shorter_side" else original
    if spec.resize != "letterbox":
        canvas = (-(-resized[0] // multiple) * multiple, -(-resized[1] // multiple) * multiple)
    if spec.align == "top_left":
        return _Plan(resized, canvas, 0, 0)
    return _Plan(resized, canvas, (canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2)


def _shorter_side(original: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """Size by torchvision's detectors: gain = min(smaller / shorter side, larger / longer side), rounded down."""
    shorter, longer = sorted(original)
    smallest, largest = sorted(limits)
    # In whole numbers: a floating gain would lose a pixel where the product is whole.
    above, below = (smallest, shorter) if smallest * longer <= largest * shorter else (largest, longer)
    return max(original[0] * above // below, 1), max(original[1] * above // below, 1)


def _nearest_multiple(side: int, multiple: int) -> int:
    return max((side + multiple // 2) // multiple, 1) * multiple
