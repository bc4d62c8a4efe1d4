"""Random deformations that no affine matrix describes: perspective and elastic.

The geometry record of a sample holds an affine matrix and is left as it was, from before the deformation: nothing
inverts the record of a training image. The ground truth is deformed with the image: points go where their pixels go,
and a box becomes the hull of its moved outline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.transforms.move import Remap, clip_objects, has_objects, require_finite
from saccade.structures.kinds import kind_of
from saccade.structures.sample import Sample, Target

__all__ = ["Elastic", "Perspective"]

Points = NDArray[np.float64]
# Points (M, 2) of the image -> where they are afterwards, and whether they are visible at all, (M,).
MovePoints = Callable[[Points], tuple[Points, NDArray[np.bool_]]]

_OUTLINE = 16  # points along each side of a box
_SETTLED = 0.02  # pixels by which an inverted displacement may miss


class Perspective:
    """Random perspective: every corner of the image moves inwards by a random amount.

    Args:
        distortion: Largest move of a corner, share of half the side, 0..1.
        fill: Value of uncovered pixels.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo
        >>> target = {"boxes": np.array([[30, 20, 70, 40]], np.float32), "labels": np.array([3])}
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, ImageInfo(0, "x", Geometry.identity((60, 100))))
        >>> bent = Perspective(distortion=0.5)(sample, np.random.default_rng(0))
        >>> bent.size, bent.target["boxes"].round().tolist()
        ((60, 100), [[36.0, 19.0, 69.0, 36.0]])
    """

    def __init__(self, distortion: float, fill: int = 114) -> None:
        self.distortion = distortion
        self.fill = fill

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
        """Draw a random homography (3, 3) of pixel coordinates on a canvas of (height, width)."""
        height, width = size
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        moves = rng.random((4, 2)) * self.distortion * np.array([width, height]) / 2
        moved = corners + inwards * moves
        return np.asarray(cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32)))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Warp the sample onto a canvas of the same size."""
        size = sample.size
        matrix = self.draw(rng, size)
        # OpenCV counts pixel centres from 0, coordinates here from 0.5.
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        centred = np.linalg.inv(half) @ matrix @ half

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            flags = cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST
            source = np.ascontiguousarray(pixels)
            warped = cv2.warpPerspective(source, centred, size[::-1], flags=flags, borderValue=(fill,) * 4)
            return np.asarray(warped).reshape(pixels.shape)

        def move(points: Points) -> tuple[Points, NDArray[np.bool_]]:
            mapped = points @ matrix[:, :2].T + matrix[:, 2]
            return mapped[:, :2] / mapped[:, 2:], np.ones(len(points), bool)

        return _bend(sample, move, remap, self.fill)


class Elastic:
    """Elastic deformation: a smooth random displacement field (Ronneberger et al. 2015, U-Net, section 3.1).

    Random vectors on a coarse 3 x 3 grid, Gaussian, are interpolated bicubically to a displacement of every pixel. The
    paper does not say where the nodes lie: here in the middle of 3 x 3 equal parts of the canvas, and beyond the outer
    ones their vectors hold on. Past the edge an image with a label map or a class is continued by reflection; one with
    objects is not, since a mirrored part of an object would be a second object without a label.

    The displacement gives the source of each pixel. The destination of a point is found by fixed-point iteration; where
    the field folds and the iteration does not converge, by a search over all pixels.

    Args:
        sigma: Standard deviation of the vectors, pixels (10 in the paper, on 512 x 512).
        grid: Nodes along each side.
        fill: Value of uncovered pixels of images with objects.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo
        >>> label_map = np.zeros((64, 64), np.uint8)
        >>> label_map[16:48, 16:48] = 1
        >>> image = np.repeat(label_map[..., None] * 200, 3, axis=2)
        >>> sample = Sample(image, {"label_map": label_map}, ImageInfo(0, "cells.png", Geometry.identity((64, 64))))
        >>> bent = Elastic(sigma=6.0)(sample, np.random.default_rng(0))
        >>> bool((bent.target["label_map"] != label_map).any())  # moved with the image
        True
        >>> bool(bent.image[bent.target["label_map"] == 1].mean() > 180)
        True
    """

    def __init__(self, sigma: float, grid: int = 3, fill: int = 114) -> None:
        self.sigma = sigma
        self.grid = grid
        self.fill = fill

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Deform the sample."""
        height, width = sample.size
        vectors = rng.normal(0.0, self.sigma, (self.grid, self.grid, 2)).astype(np.float32)
        shift = cv2.resize(vectors, (width, height), interpolation=cv2.INTER_CUBIC)
        x = shift[..., 0] + np.arange(width, dtype=np.float32)
        y = shift[..., 1] + np.arange(height, dtype=np.float32)[:, None]
        border = cv2.BORDER_CONSTANT if has_objects(sample.target) else cv2.BORDER_REFLECT_101

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            method = cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST
            moved = cv2.remap(pixels, x, y, method, borderMode=border, borderValue=(fill,) * 4)
            return np.asarray(moved).reshape(pixels.shape)

        return _bend(sample, lambda points: _follow(points, shift), remap, self.fill)


def _bend(sample: Sample, move: MovePoints, remap: Remap, fill: int) -> Sample:
    """Apply one deformation to image and ground truth; the canvas keeps its size."""
    height, width = sample.size
    require_finite(sample.target, sample.info.path)
    bent = _bend_target(sample.target, move, remap, fill)
    target = clip_objects(bent, (0, 0, width, height), tight=True)
    return replace(sample, image=remap(sample.image, fill, True), target=target)


def _bend_target(target: Target, move: MovePoints, remap: Remap, fill: int) -> Target:
    bent = dict(target)
    for key, value in target.items():
        kind = kind_of(key)
        if kind.motion == "boxes":
            outlines = _outlines(np.asarray(value, np.float64))
            moved, shown = move(outlines.reshape(-1, 2))
            moved, shown = moved.reshape(outlines.shape), shown.reshape(outlines.shape[:2])
            # Of an outline that is visible only in part, the hull is that of the visible points.
            shown |= ~shown.any(axis=1, keepdims=True)
            low = np.where(shown[..., None], moved, np.inf).min(axis=1)
            high = np.where(shown[..., None], moved, -np.inf).max(axis=1)
            bent[key] = np.concatenate([low, high], axis=1).astype(np.float32)
            if key == "boxes" and "area" in target:
                factor = _polygon_areas(moved) / np.maximum(_polygon_areas(outlines), 1e-9)
                bent["area"] = (target["area"] * factor).astype(np.float32)
        elif kind.motion == "points":
            points = np.asarray(value, np.float32)
            points = np.where(points[..., 2:] > 0, points, np.float32(0))  # others may hold anything
            moved, shown = move(points[..., :2].reshape(-1, 2).astype(np.float64))
            visibility = points[..., 2] * shown.reshape(points.shape[:2])
            bent[key] = np.concatenate(
                [moved.reshape(*points.shape[:2], 2), visibility[..., None]], axis=-1, dtype=np.float32
            )
        elif kind.motion == "masks":
            maps = [remap(mask, kind.outside, False) for mask in value]
            bent[key] = np.stack(maps) if maps else value
        elif kind.motion == "map":
            bent[key] = remap(value, kind.outside, False)
        elif kind.motion == "image" and target.get("paired", True):
            bent[key] = remap(value, fill, True)
    return bent


def _outlines(boxes_xyxy: Points) -> Points:
    """Points along the outline of each box, in order, (N, 4 * _OUTLINE, 2)."""
    x1, y1, x2, y2 = (boxes_xyxy[:, side, None] for side in range(4))
    share = np.arange(_OUTLINE) / _OUTLINE
    along_x, along_y = x1 + (x2 - x1) * share, y1 + (y2 - y1) * share
    back_x, back_y = x2 + (x1 - x2) * share, y2 + (y1 - y2) * share
    flat = np.ones(_OUTLINE)
    x = np.concatenate([along_x, x2 * flat, back_x, x1 * flat], axis=1)
    y = np.concatenate([y1 * flat, along_y, y2 * flat, back_y], axis=1)
    return np.stack([x, y], axis=-1)


def _polygon_areas(outlines: Points) -> NDArray[np.float64]:
    """Areas (N,) of polygons (N, M, 2) by the shoelace formula."""
    x, y = outlines[..., 0], outlines[..., 1]
    areas: NDArray[np.float64] = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
    return areas


def _follow(points: Points, shift: NDArray[np.float32]) -> tuple[Points, NDArray[np.bool_]]:
    """Destinations of points (M, 2), and whether they are visible, if the result shows at q what was at q + shift(q).

    Args:
        points: In pixels of the source.
        shift: (H, W, 2) displacement of every pixel of the result.
    """
    found = points.copy()
    for _ in range(60):
        following = points - _at(shift, found)
        done = np.abs(following - found).max(initial=0.0) < _SETTLED / 4
        found = following
        if done:
            break
    shown = np.ones(len(points), bool)
    missed = np.abs(found + _at(shift, found) - points).max(axis=1, initial=0.0) > _SETTLED
    height, width = shift.shape[:2]
    for index in np.flatnonzero(missed):
        x = shift[..., 0] + (np.arange(width, dtype=np.float32) + 0.5 - np.float32(points[index, 0]))
        y = shift[..., 1] + (np.arange(height, dtype=np.float32) + 0.5 - np.float32(points[index, 1]))[:, None]
        distance = x * x + y * y
        row, column = divmod(int(distance.argmin()), width)
        found[index] = column + 0.5, row + 0.5
        # Squared: where the field stretches, the sources of neighbouring pixels may be that far apart.
        shown[index] = distance[row, column] <= 2.0
    return found, shown


def _at(shift: NDArray[np.float32], points: Points) -> Points:
    """The displacement (H, W, 2) at points (M, 2), bilinear; past the edge it is that of the edge."""
    height, width = shift.shape[:2]
    x = np.clip(points[:, 0] - 0.5, 0, width - 1)
    y = np.clip(points[:, 1] - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(np.int64), max(width - 2, 0)), np.minimum(y.astype(np.int64), max(height - 2, 0))
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[:, None], (y - top)[:, None]
    upper = shift[top, left] * (1 - u) + shift[top, right] * u
    lower = shift[below, left] * (1 - u) + shift[below, right] * u
    mixed: Points = upper * (1 - v) + lower * v
    return mixed
