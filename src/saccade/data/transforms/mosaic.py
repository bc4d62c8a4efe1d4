"""Mosaic augmentation: four images (Bochkovskiy et al. 2020, YOLOv4, section 3.4) or nine, joined into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.transforms.affine import RandomAffine
from saccade.data.transforms.move import (
    area_factor,
    clip_objects,
    has_objects,
    join_objects,
    move_target,
    require_finite,
    resize_pixels,
    warp_pixels,
)
from saccade.errors import ConfigError, DataError
from saccade.structures.geometry import Geometry
from saccade.structures.kinds import KINDS, kind_of
from saccade.structures.sample import Sample, Target

__all__ = ["TILES", "Mosaic", "ReadTile"]

TILES = (4, 9)

Window = tuple[int, int, int, int]  # x1, y1, x2, y2


# Reads an image: number of a tile, and the size (height, width) at which it is needed -> that sample.
ReadTile = Callable[[int, tuple[int, int]], Sample]

# Of nine, the image that gives the mosaic its name lies in the middle.
_NINE = ((1, 1), (0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2))  # row, column
_NINE_ZOOM = 2 / 3  # at which, without a further warp, parts of all nine are visible
_NINE_JITTER = 0.25  # of the middle image, +- share of its size


class Mosaic:
    """Mosaic of 4 or 9 images, followed by one random affine warp.

    Each image is first letterboxed to the canvas of the network. *Four* meet at a random point in the middle half of a
    canvas of twice the size. *Nine* lie in three rows of three on a canvas of three times the size, the middle one near
    its centre and the others around that one, and are shown at two thirds of their size. What sticks out of the large
    canvas is cut; the warp takes its centre to the network's canvas. Boxes are clipped to the visible part of their own
    image first, so none reaches into a neighbour.

    The warp is drawn before the images are read: only the part of the large canvas that the warp will show is made, and
    an image outside that part is never read.

    Args:
        affine: The warp; its ``fill`` is also the value of pixels between the images.
        tiles: 4 or 9.

    Raises:
        ConfigError: For any other number.

    Example:
        >>> from saccade.structures.sample import ImageInfo
        >>> def read(number, size):
        ...     target = {"boxes": np.array([[16, 16, 48, 48]], np.float32), "labels": np.array([number])}
        ...     info = ImageInfo(number, "x", Geometry.identity((64, 64)))
        ...     return Sample(np.zeros((64, 64, 3), np.uint8), target, info)
        >>> mosaic = Mosaic(RandomAffine(scale=(0.5, 0.5)))
        >>> joined = mosaic(read, (64, 64), np.random.default_rng(0))
        >>> joined.image.shape, joined.target["labels"].tolist()
        ((64, 64, 3), [0, 1, 2, 3])
    """

    def __init__(self, affine: RandomAffine, tiles: int = 4) -> None:
        if tiles not in TILES:
            raise ConfigError(f"augment.mosaic_tiles is 4 or 9; got {tiles}.")
        self.affine = affine
        self.tiles = tiles

    def __call__(self, read: ReadTile, size: tuple[int, int], rng: np.random.Generator) -> Sample:
        """Join up to ``tiles`` images.

        Args:
            read: Returns the image of a number, no smaller than letterboxed into the size it is given; all of equal
                channels. Number 0 is top left of four and the middle of nine.
            size: Canvas (height, width) of the network.
            rng: Source of the positions and the warp.

        Returns:
            A sample of ``size`` with the image id and path of the first visible image. Its geometry is the identity of
            the canvas, as no single original lies under it.
        """
        height, width = size
        canvas, cells = _four(size, rng) if self.tiles == 4 else _nine(size, rng)
        warp = self.affine.draw(rng, canvas, size)
        if self.tiles == 9:
            x, y = (1 - _NINE_ZOOM) * canvas[1] / 2, (1 - _NINE_ZOOM) * canvas[0] / 2
            warp = warp @ np.array([[_NINE_ZOOM, 0, x], [0, _NINE_ZOOM, y], [0, 0, 1]])
        shown = _shown_part(warp, size, canvas)
        zoom = min(area_factor(warp) ** 0.5, 1.0)
        needed = int(np.ceil(height * zoom)), int(np.ceil(width * zoom))
        seen = [number for number, cell in enumerate(cells) if cell.is_in(shown)] or [0]
        samples = [read(number, needed) for number in seen]

        sheet = _Sheet(samples[0], shown, self.affine.fill)
        targets: list[Target] = []
        for number, sample in zip(seen, samples, strict=True):
            tile = cells[number].align(sample.size, size)
            require_finite(sample.target, sample.info.path)
            sheet.paste(sample, tile)
            if has_objects(sample.target):
                targets.append(_move_objects(sample.target, tile, warp, size))
        target = join_objects(targets) if targets else {}
        image = sheet.warp(warp, size, target)
        return Sample(image, target, replace(samples[0].info, geometry=Geometry.identity(size)))


@dataclass(frozen=True)
class _Cell:
    """A tile's part of the large canvas, and the alignment of an image that does not fill it.

    Args:
        window: Of the large canvas.
        across: 0 at the left edge, 1 at the right edge, 1/2 in the middle.
        down: 0 at the top, 1 at the bottom.
    """

    window: Window
    across: float
    down: float

    def is_in(self, shown: Window) -> bool:
        """Whether any of the cell is in that part of the large canvas."""
        x1, y1, x2, y2 = self.window
        return shown[0] < x2 and shown[2] > x1 and shown[1] < y2 and shown[3] > y1

    def align(self, image: tuple[int, int], size: tuple[int, int]) -> _Tile:
        """Letterbox an image of that (height, width) to ``size``, cut at the edge of the cell."""
        x1, y1, x2, y2 = self.window
        gain = min(size[0] / image[0], size[1] / image[1])
        height, width = max(round(image[0] * gain), 1), max(round(image[1] * gain), 1)
        left, top = x1 + int(self.across * (x2 - x1 - width)), y1 + int(self.down * (y2 - y1 - height))
        matrix = np.array([[width / image[1], 0, left], [0, height / image[0], top], [0, 0, 1]])
        window = max(left, x1), max(top, y1), min(left + width, x2), min(top + height, y2)
        return _Tile(matrix, (height, width), window)


def _four(size: tuple[int, int], rng: np.random.Generator) -> tuple[tuple[int, int], Sequence[_Cell]]:
    """Size (height, width) of the large canvas, and four cells with a common corner."""
    height, width = size
    x, y = int(rng.uniform(0.5, 1.5) * width), int(rng.uniform(0.5, 1.5) * height)
    columns, rows = ((0, x, 1.0), (x, 2 * width, 0.0)), ((0, y, 1.0), (y, 2 * height, 0.0))
    cells = [_Cell((x1, y1, x2, y2), across, down) for y1, y2, down in rows for x1, x2, across in columns]
    return (2 * height, 2 * width), cells


def _nine(size: tuple[int, int], rng: np.random.Generator) -> tuple[tuple[int, int], Sequence[_Cell]]:
    """Size (height, width) of the large canvas, and nine cells, the middle one first."""
    height, width = size
    x = width + int(rng.uniform(-_NINE_JITTER, _NINE_JITTER) * width)
    y = height + int(rng.uniform(-_NINE_JITTER, _NINE_JITTER) * height)
    columns = ((0, x, 1.0), (x, x + width, 0.5), (x + width, 3 * width, 0.0))
    rows = ((0, y, 1.0), (y, y + height, 0.5), (y + height, 3 * height, 0.0))
    cells = []
    for row, column in _NINE:
        (x1, x2, across), (y1, y2, down) = columns[column], rows[row]
        cells.append(_Cell((x1, y1, x2, y2), across, down))
    return (3 * height, 3 * width), cells


def _shown_part(warp: NDArray[np.float64], size: tuple[int, int], canvas: tuple[int, int]) -> Window:
    """Part of the large canvas that ``warp`` brings onto a canvas of ``size``, with a margin of a pixel."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    found = Geometry(canvas, size, warp).invert_points(corners)
    limit = np.array(canvas[::-1])
    x1, y1 = (int(low) for low in np.clip(np.floor(found.min(axis=0)) - 1, 0, limit - 1))
    x2, y2 = (int(high) for high in np.clip(np.ceil(found.max(axis=0)) + 1, 1, limit))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


@dataclass(frozen=True)
class _Tile:
    """Position of an image on the large canvas.

    Args:
        matrix: (3, 3), pixels of the image to pixels of the large canvas.
        resized: (height, width) of the image there.
        window: The part of it that the large canvas holds.
    """

    matrix: NDArray[np.float64]
    resized: tuple[int, int]
    window: Window


class _Sheet:
    """The visible part of the large canvas: pixels, and the maps of the ground truth, such as labels."""

    def __init__(self, first: Sample, shown: Window, fill: int) -> None:
        self.shown = shown
        self.fill = fill
        size = shown[3] - shown[1], shown[2] - shown[0]
        channels = first.image.shape[2]
        # Three channels are kept as four: the warp is much faster on them (move.warp_pixels).
        self.is_rgb = channels == 3
        self.pixels = np.full((*size, 4 if self.is_rgb else channels), fill, first.image.dtype)
        self.maps: Target = {
            key: np.full(size, KINDS[key].outside, first.target[key].dtype) for key in _maps_of(first.target)
        }

    def paste(self, sample: Sample, tile: _Tile) -> None:
        """Draw an image into its tile, as far as it is shown."""
        if sample.image.dtype != self.pixels.dtype:
            raise DataError(
                f"{sample.info.path}: the image is {sample.image.dtype}, others of its mosaic are "
                f"{self.pixels.dtype}. Convert all images to one depth, or set augment.mosaic to 0."
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
        for key, pasted in self.maps.items():
            pasted[window] = resize_pixels(sample.target[key], tile.resized, linear=False)[source]

    def warp(self, matrix: NDArray[np.float64], size: tuple[int, int], target: Target) -> NDArray[Any]:
        """Warp the visible pixels; warped maps go into ``target``."""
        offset = np.eye(3)
        offset[:2, 2] = self.shown[:2]
        matrix = matrix @ offset
        for key, pasted in self.maps.items():
            target[key] = warp_pixels(pasted, matrix, size, KINDS[key].outside, linear=False)
        image = warp_pixels(self.pixels, matrix, size, self.fill, linear=True)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)) if self.is_rgb else image


def _maps_of(target: Target) -> list[str]:
    return [key for key in target if kind_of(key).motion == "map"]


def _move_objects(target: Target, tile: _Tile, warp: NDArray[np.float64], size: tuple[int, int]) -> Target:
    """Move objects of a tile to the final canvas: into the tile's window of the large canvas, then through the warp.

    Masks go straight from the image to the final canvas; what the window hides is cleared in the image first.
    """
    maps = _maps_of(target)
    objects = {key: value for key, value in target.items() if key not in maps}
    # The window in pixels of the tile's own image.
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

    clipped = clip_objects(move_target(objects, tile.matrix, hide), tile.window)
    return clip_objects(move_target(clipped, warp, remap), (0, 0, size[1], size[0]), tight=True)
