"""Random affine transforms of training: mirror, quarter turn, crop, warp; the ground truth moves with the image."""

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
    """Mirror an image and its ground truth, left-right or upside down.

    Either makes a left hand a right one, so paired keypoints change names.

    Args:
        sample: Image and ground truth.
        flip_pairs: Pairs of keypoints that change names.
        vertical: Upside down instead of left-right.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((60, 100)))
        >>> eyes = np.array([[[10, 20, 2], [30, 20, 2]]], np.float32)  # left, right
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), {"keypoints": eyes}, info)
        >>> mirror(sample, flip_pairs=[(0, 1)]).target["keypoints"].tolist()
        [[[70.0, 20.0, 2.0], [90.0, 20.0, 2.0]]]
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
    """Random left-right mirror of an image and its ground truth.

    Args:
        probability: How often, 0..1.
        flip_pairs: Keypoints that change names (``DatasetInfo.flip_pairs``).

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> target = {"boxes": np.array([[0, 0, 20, 10]], np.float32), "labels": np.array([3])}
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((60, 100)))
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, info)
        >>> Flip(probability=1.0)(sample, np.random.default_rng(0)).target["boxes"].tolist()
        [[80.0, 0.0, 100.0, 10.0]]
    """

    vertical = False

    def __init__(self, probability: float, flip_pairs: Pairs = ()) -> None:
        self.probability = probability
        self.flip_pairs = flip_pairs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Mirror the sample, or return it as it is."""
        return mirror(sample, self.flip_pairs, self.vertical) if rng.random() < self.probability else sample


class FlipVertical(Flip):
    """Random upside-down mirror of an image and its ground truth.

    Args:
        probability: How often, 0..1.
        flip_pairs: Keypoints that change names (``DatasetInfo.flip_pairs``).

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> target = {"boxes": np.array([[0, 0, 20, 10]], np.float32), "labels": np.array([3])}
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((60, 100)))
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, info)
        >>> FlipVertical(probability=1.0)(sample, np.random.default_rng(0)).target["boxes"].tolist()
        [[0.0, 50.0, 20.0, 60.0]]
    """

    vertical = True


class Rotate90:
    """Random turn by 90, 180 or 270 degrees; height and width may be exchanged.

    Args:
        probability: How often, 0..1.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> target = {"boxes": np.array([[0, 0, 20, 10]], np.float32), "labels": np.array([3])}
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((60, 100)))
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, info)
        >>> turned = Rotate90(probability=1.0)(sample, np.random.default_rng(1))
        >>> turned.size, turned.target["boxes"].tolist()
        ((100, 60), [[50.0, 0.0, 60.0, 20.0]])
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Turn the sample, or return it as it is."""
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
    """Random crop of a fixed size; an image that is smaller is laid at a random position of a canvas of that size.

    Args:
        size: Window (height, width).
        fill: Value of uncovered pixels.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> target = {"boxes": np.array([[30, 20, 70, 40]], np.float32), "labels": np.array([3])}
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((60, 100)))
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, info)
        >>> cropped = RandomCrop((50, 80))(sample, np.random.default_rng(0))
        >>> cropped.image.shape, cropped.target["boxes"].tolist()
        ((50, 80, 3), [[17.0, 11.0, 57.0, 31.0]])
    """

    def __init__(self, size: tuple[int, int], fill: int = 114) -> None:
        self.size = size
        self.fill = fill

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Cut the window out."""
        top, left = (
            int(rng.integers(0, slack + 1)) if slack >= 0 else -int(rng.integers(0, 1 - slack))
            for slack in (window - side for window, side in zip(self.size, sample.size, strict=True))
        )
        matrix = np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            return shift_pixels(pixels, self.size, top, left, fill)

        return move_sample(sample, matrix, self.size, remap, self.fill, tight=True)


class RandomAffine:
    """Random rotation, zoom, shear and shift about the centre, in one warp.

    Args:
        degrees: Largest rotation, +-.
        translate: Largest shift, +- share of the canvas.
        scale: Range of the zoom.
        shear: Largest shear along either axis, +- degrees.
        fill: Value of uncovered pixels.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> target = {"boxes": np.array([[30, 20, 70, 40]], np.float32), "labels": np.array([3])}
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((60, 100)))
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, info)
        >>> half = RandomAffine(scale=(0.5, 0.5))(sample, np.random.default_rng(0))
        >>> half.size, half.target["boxes"].tolist()
        ((60, 100), [[40.0, 25.0, 60.0, 35.0]])
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
        """Whether all ranges are empty, so that the transform never changes anything."""
        return not (self.degrees or self.translate or self.shear) and tuple(self.scale) == (1.0, 1.0)

    def draw(self, rng: np.random.Generator, source: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
        """Draw a random (3, 3) matrix from the centre of ``source`` to near that of ``size``, both (height, width)."""
        # Plain numbers: on matrices of two by two, numpy would take ten times as long as the warp of a small image.
        drawn = rng.random(6).tolist()
        turn, shear_x, shear_y, right, down = (2.0 * drawn[index] - 1.0 for index in (0, 1, 2, 4, 5))
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
        """Warp the sample onto a canvas of the same size."""
        size = sample.size
        matrix = self.draw(rng, size, size)

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            return warp_pixels(pixels, matrix, size, fill, linear)

        return move_sample(sample, matrix, size, remap, self.fill, tight=True)
