"""Affine transforms of training: each moves the ground truth with the image, by randomness that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.transforms.move import move_sample, warp_pixels
from saccade.data.transforms.resize import shift_pixels
from saccade.structures.sample import Sample

__all__ = ["Flip", "FlipVertical", "RandomAffine", "RandomCrop", "Rotate90", "Transform", "mirror"]

Transform = Callable[[Sample, np.random.Generator], Sample]
Pairs = Sequence[tuple[int, int]]


def mirror(sample: Sample, flip_pairs: Pairs, vertical: bool = False) -> Sample:
    """The sample in a mirror, left-right or upside down.

    Either makes a left hand a right one, so paired keypoints change names.
    """
    height, width = sample.size
    matrix = (
        np.array([[1, 0, 0], [0, -1, height], [0, 0, 1.0]])
        if vertical
        else np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]])
    )

    def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
        # numpy's copy of an image with reversed columns takes thirty times as long.
        return np.asarray(cv2.flip(pixels, 0 if vertical else 1)).reshape(pixels.shape)

    mirrored = move_sample(sample, matrix, sample.size, remap, fill=0)
    if "keypoints" in mirrored.target and flip_pairs:
        order = np.arange(mirrored.target["keypoints"].shape[1])
        for left, right in flip_pairs:
            order[left], order[right] = right, left
        mirrored.target["keypoints"] = mirrored.target["keypoints"][:, order]
    return mirrored


class Flip:
    """Left-right mirror.

    Args:
        probability: How often, 0..1.
        flip_pairs: Keypoints that change names (``DatasetInfo.flip_pairs``).
    """

    vertical = False

    def __init__(self, probability: float, flip_pairs: Pairs = ()) -> None:
        self.probability = probability
        self.flip_pairs = flip_pairs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, mirrored or not."""
        return mirror(sample, self.flip_pairs, self.vertical) if rng.random() < self.probability else sample


class FlipVertical(Flip):
    """Upside-down mirror."""

    vertical = True


class Rotate90:
    """A quarter, half or three-quarter turn; height and width may change places.

    Args:
        probability: How often, 0..1.
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, turned or not."""
        if rng.random() >= self.probability:
            return sample
        height, width = sample.size
        turns = int(rng.integers(1, 4))
        # Counter-clockwise on the screen, as numpy.rot90 turns.
        matrix, size = {
            1: (np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1.0]]), (width, height)),
            2: (np.array([[-1, 0, width], [0, -1, height], [0, 0, 1.0]]), (height, width)),
            3: (np.array([[0, -1, height], [1, 0, 0], [0, 0, 1.0]]), (width, height)),
        }[turns]
        return move_sample(
            sample, matrix, size, lambda pixels, fill, linear: np.ascontiguousarray(np.rot90(pixels, turns)), fill=0
        )


class RandomCrop:
    """Cut a window at a random place; a smaller image is laid at a random place of a canvas of that size.

    Args:
        size: Window (height, width).
        fill: Value of uncovered pixels.
    """

    def __init__(self, size: tuple[int, int], fill: int = 114) -> None:
        self.size = size
        self.fill = fill

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The window."""
        top, left = (
            int(rng.integers(0, slack + 1)) if slack >= 0 else -int(rng.integers(0, 1 - slack))
            for slack in (window - side for window, side in zip(self.size, sample.size, strict=True))
        )
        matrix = np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            return shift_pixels(pixels, self.size, top, left, fill)

        return move_sample(sample, matrix, self.size, remap, self.fill, tight=True)


class RandomAffine:
    """Turn, zoom, shear and shift about the centre, in one warp.

    Args:
        degrees: Largest turn, +-.
        translate: Largest shift, +- share of the canvas.
        scale: Range of the zoom.
        shear: Largest shear along either axis, +- degrees.
        fill: Value of uncovered pixels.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: int = 114,
    ) -> None:
        self.degrees = degrees
        self.translate = translate
        self.scale = scale
        self.shear = shear
        self.fill = fill

    @property
    def is_identity(self) -> bool:
        """Whether it never moves anything."""
        return not (self.degrees or self.translate or self.shear) and tuple(self.scale) == (1.0, 1.0)

    def draw(self, rng: np.random.Generator, source: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
        """A random (3, 3) matrix from the centre of ``source`` to near the centre of ``size``, both (height, width)."""
        # Plain numbers: on matrices of two by two, numpy would take ten times as long as the warp of a small image.
        drawn = rng.random(6).tolist()
        turn, shear_x, shear_y, right, down = (2.0 * drawn[place] - 1.0 for place in (0, 1, 2, 4, 5))
        angle = math.radians(turn * self.degrees)
        tan_x, tan_y = math.tan(math.radians(shear_x * self.shear)), math.tan(math.radians(shear_y * self.shear))
        zoom = self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[3]
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        a, b, c, d = cos - sin * tan_y, cos * tan_x - sin, sin + cos * tan_y, sin * tan_x + cos  # turn @ shear
        centre_x = size[1] / 2 + right * self.translate * size[1]
        centre_y = size[0] / 2 + down * self.translate * size[0]
        shift_x = centre_x - (a * (source[1] / 2) + b * (source[0] / 2))
        shift_y = centre_y - (c * (source[1] / 2) + d * (source[0] / 2))
        return np.array([[a, b, shift_x], [c, d, shift_y], [0.0, 0.0, 1.0]])

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample on a canvas of the same size."""
        size = sample.size
        matrix = self.draw(rng, size, size)

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            return warp_pixels(pixels, matrix, size, fill, linear)

        return move_sample(sample, matrix, size, remap, self.fill, tight=True)
