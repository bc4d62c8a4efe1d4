"""Pictures made of several: mosaic (Bochkovskiy et al. 2020, YOLOv4, section 3.4) and mixup (Zhang et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.sample import Sample, Target
from saccade.data.targets import (
    IGNORE,
    area_factor,
    clip_objects,
    has_objects,
    join_objects,
    move_sample,
    move_target,
    resize_pixels,
    warp_pixels,
)
from saccade.data.transforms import Pairs, RandomAffine, mirror
from saccade.errors import DataError
from saccade.ops.geometry import Geometry

__all__ = ["MixUp", "Mosaic", "ReadTile", "blend_classes"]

Window = tuple[int, int, int, int]  # x1, y1, x2, y2


# Position 0..3 (top left, top right, bottom left, bottom right) and the size at which a tile is needed -> that picture.
ReadTile = Callable[[int, tuple[int, int]], Sample]


class Mosaic:
    """Four pictures around a random point, then one random affine warp.

    Each picture is letterboxed to the canvas of the network; the four meet at a random point in the middle half of a
    canvas of twice the size, where what sticks out is cut; the warp takes the centre of that to the network's canvas.
    Boxes are clipped to the visible part of their own picture first, so none reaches into a neighbour.

    The warp is drawn before the pictures are read: only that part of the double canvas is made which the warp will
    show, and a picture with no share in it is never read.

    Args:
        affine: The warp; its ``fill`` is also what shows between the pictures.
    """

    def __init__(self, affine: RandomAffine) -> None:
        self.affine = affine

    def __call__(self, read: ReadTile, size: tuple[int, int], rng: np.random.Generator) -> Sample:
        """Join up to four pictures.

        Args:
            read: Gives the picture of a position, no smaller than letterboxed into the size it is told; all of equal
                channels.
            size: Canvas (height, width) of the network.
            rng: Source of the meeting point and the warp.

        Returns:
            A sample of ``size`` that carries the first picture's identity. Its geometry is the identity of the canvas,
            as no single original lies under it.
        """
        height, width = size
        meeting = int(rng.uniform(0.5, 1.5) * width), int(rng.uniform(0.5, 1.5) * height)
        warp = self.affine.draw(rng, (2 * height, 2 * width), size)
        shown = _shown_part(warp, size)
        zoom = min(area_factor(warp) ** 0.5, 1.0)
        needed = int(np.ceil(height * zoom)), int(np.ceil(width * zoom))
        seen = [position for position in range(4) if _has_share(position, meeting, shown)] or [0]
        samples = [read(position, needed) for position in seen]

        canvas = _Canvas(samples[0], shown, self.affine.fill)
        targets: list[Target] = []
        for position, sample in zip(seen, samples, strict=True):
            tile = _Tile.place(position, sample.size, meeting, size)
            canvas.paste(sample, tile)
            if has_objects(sample.target):
                targets.append(_place_objects(sample.target, tile, warp, size))
        target = join_objects(targets) if targets else {}
        image = canvas.warp(warp, size, target)
        return Sample(image, target, replace(samples[0].info, geometry=Geometry.identity(size)))


class MixUp:
    """Two pictures laid over each other in equal parts, with the objects of both (Ge et al. 2021, YOLOX, section 2.1).

    The second picture is letterboxed, zoomed by 0.5 to 1.5, mirrored half of the time, and laid at a random place.

    Args:
        fill: Value of what the second picture does not cover.
        flip_pairs: Keypoints that a mirror exchanges.
    """

    def __init__(self, fill: int = 114, flip_pairs: Pairs = ()) -> None:
        self.fill = fill
        self.flip_pairs = flip_pairs

    def __call__(self, sample: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
        """Blend.

        Args:
            sample: On the network's canvas; gives identity and geometry.
            partner: Of any size.
            rng: Source of zoom, mirror and place.
        """
        height, width = size = sample.size
        gain = min(height / partner.size[0], width / partner.size[1]) * rng.uniform(0.5, 1.5)
        if rng.random() < 0.5:
            partner = mirror(partner, self.flip_pairs)
        slack = np.array([width - partner.size[1] * gain, height - partner.size[0] * gain])
        left, top = rng.random(2) * slack
        matrix = np.array([[gain, 0, left], [0, gain, top], [0, 0, 1.0]])

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            return warp_pixels(pixels, matrix, size, fill, linear)

        second = move_sample(partner, matrix, size, remap, self.fill, tight=True)
        image = cv2.addWeighted(sample.image, 0.5, second.image, 0.5, 0.0).reshape(sample.image.shape)
        return replace(sample, image=image, target=join_objects([sample.target, second.target]))


def blend_classes(
    sample: Sample, partner: Sample | None, alpha: float, num_classes: int, rng: np.random.Generator
) -> Sample:
    """Mixup of classification: ``lam * a + (1 - lam) * b`` for pixels and for labels, lam of Beta(alpha, alpha).

    Args:
        sample: On the network's canvas; its label is a class.
        partner: Likewise, or None for no blend.
        alpha: Of the Beta distribution.
        num_classes: C.
        rng: Source of lam.

    Returns:
        The sample with soft labels, shape (C,), float32, summing to 1: also without a partner, so that a batch can be
        stacked.
    """
    labels = np.zeros(num_classes, np.float32)
    if partner is None:
        labels[int(sample.target["labels"])] = 1.0
        return replace(sample, target={**sample.target, "labels": labels})
    share = float(rng.beta(alpha, alpha))
    labels[int(sample.target["labels"])] += share
    labels[int(partner.target["labels"])] += 1.0 - share
    image = cv2.addWeighted(sample.image, share, partner.image, 1.0 - share, 0.0).reshape(sample.image.shape)
    return replace(sample, image=image, target={**sample.target, "labels": labels})


def _shown_part(warp: NDArray[np.float64], size: tuple[int, int]) -> Window:
    """The part of the double canvas that ``warp`` brings onto a canvas of ``size``, and a pixel to interpolate from."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    found = Geometry((2 * height, 2 * width), size, warp).invert_points(corners)
    limit = np.array([2 * width, 2 * height])
    x1, y1 = (int(low) for low in np.clip(np.floor(found.min(axis=0)) - 1, 0, limit - 1))
    x2, y2 = (int(high) for high in np.clip(np.ceil(found.max(axis=0)) + 1, 1, limit))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _has_share(position: int, meeting: tuple[int, int], shown: Window) -> bool:
    beside = shown[2] > meeting[0] if position % 2 else shown[0] < meeting[0]
    return beside and (shown[3] > meeting[1] if position // 2 else shown[1] < meeting[1])


@dataclass(frozen=True)
class _Tile:
    """Where a picture lies on the double canvas.

    Args:
        matrix: (3, 3), pixels of the picture to pixels of the double canvas.
        resized: (height, width) of the picture there.
        window: What of it the double canvas holds.
    """

    matrix: NDArray[np.float64]
    resized: tuple[int, int]
    window: Window

    @classmethod
    def place(cls, position: int, picture: tuple[int, int], meeting: tuple[int, int], size: tuple[int, int]) -> _Tile:
        """The tile of a picture of that size: letterboxed to ``size``, with a corner at the meeting point."""
        gain = min(size[0] / picture[0], size[1] / picture[1])
        height, width = max(round(picture[0] * gain), 1), max(round(picture[1] * gain), 1)
        left = meeting[0] - (0 if position % 2 else width)
        top = meeting[1] - (0 if position // 2 else height)
        matrix = np.array([[width / picture[1], 0, left], [0, height / picture[0], top], [0, 0, 1]])
        window = max(left, 0), max(top, 0), min(left + width, 2 * size[1]), min(top + height, 2 * size[0])
        return cls(matrix, (height, width), window)


class _Canvas:
    """The part of the double canvas that will be shown: pixels, and labels where there are label maps."""

    def __init__(self, first: Sample, shown: Window, fill: int) -> None:
        self.shown = shown
        self.fill = fill
        size = shown[3] - shown[1], shown[2] - shown[0]
        channels = first.image.shape[2]
        # Three channels are kept as four: the warp is much faster on them (targets.warp_pixels).
        self.is_rgb = channels == 3
        self.pixels = np.full((*size, 4 if self.is_rgb else channels), fill, first.image.dtype)
        self.labels = np.full(size, IGNORE, np.uint8) if "label_map" in first.target else None

    def paste(self, sample: Sample, tile: _Tile) -> None:
        """Draw a picture into its tile, as far as it is shown."""
        if sample.image.dtype != self.pixels.dtype:
            raise DataError(
                f"{sample.info.path}: the picture is {sample.image.dtype}, others of its mosaic are "
                f"{self.pixels.dtype}. Convert all pictures to one depth, or set augment.mosaic to 0."
            )
        x1, y1 = max(tile.window[0], self.shown[0]), max(tile.window[1], self.shown[1])
        x2, y2 = min(tile.window[2], self.shown[2]), min(tile.window[3], self.shown[3])
        if x1 >= x2 or y1 >= y2:
            return
        left, top = int(tile.matrix[0, 2]), int(tile.matrix[1, 2])
        source = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
        window = slice(y1 - self.shown[1], y2 - self.shown[1]), slice(x1 - self.shown[0], x2 - self.shown[0])
        pixels = resize_pixels(sample.image, tile.resized)[source]
        if self.is_rgb:
            cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA, dst=self.pixels[window])
        else:
            self.pixels[window] = pixels
        if self.labels is not None:
            self.labels[window] = resize_pixels(sample.target["label_map"], tile.resized, linear=False)[source]

    def warp(self, matrix: NDArray[np.float64], size: tuple[int, int], target: Target) -> NDArray[Any]:
        """The shown pixels after the warp; warped labels go into ``target``."""
        offset = np.eye(3)
        offset[:2, 2] = self.shown[:2]
        matrix = matrix @ offset
        if self.labels is not None:
            target["label_map"] = warp_pixels(self.labels, matrix, size, IGNORE, linear=False)
        image = warp_pixels(self.pixels, matrix, size, self.fill, linear=True)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)) if self.is_rgb else image


def _place_objects(target: Target, tile: _Tile, warp: NDArray[np.float64], size: tuple[int, int]) -> Target:
    """Objects of a tile on the final canvas: into the tile's window of the double canvas, then through the warp.

    Masks go straight from the picture to the final canvas; what the window hides is cleared in the picture, before.
    """
    objects = {key: value for key, value in target.items() if key != "label_map"}
    # The window in pixels of the tile's own picture.
    x1, y1, x2, y2 = Geometry((0, 0), (0, 0), tile.matrix).invert_boxes(
        np.array([tile.window], np.float32), clip=False
    )[0]
    rows, columns = slice(round(float(y1)), round(float(y2))), slice(round(float(x1)), round(float(x2)))

    def hide(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
        shown = np.full_like(pixels, fill)
        shown[rows, columns] = pixels[rows, columns]
        return shown

    def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
        return warp_pixels(pixels, warp @ tile.matrix, size, fill, linear)

    placed = clip_objects(move_target(objects, tile.matrix, hide), tile.window)
    return clip_objects(move_target(placed, warp, remap), (0, 0, size[1], size[0]), tight=True)
