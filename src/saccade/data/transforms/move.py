"""How ground truth moves with its image: boxes, masks, label maps and keypoints together, and what is dropped.

Every geometric transform is one call of :func:`move_sample`: it gives the affine map of the coordinates and a function
that does the same to an image. Nothing is changed in place, since a data set may hand out arrays that it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.ops.mask_boxes import boxes_of_masks
from saccade.structures.geometry import Geometry
from saccade.structures.kinds import kind_of, row_keys
from saccade.structures.sample import Sample, Target

__all__ = [
    "MIN_SIDE",
    "MIN_VISIBLE",
    "OBJECT_KEYS",
    "area_factor",
    "clip_objects",
    "has_objects",
    "join_objects",
    "move_inputs",
    "move_sample",
    "move_target",
    "require_finite",
    "resize_pixels",
    "select_objects",
    "warp_pixels",
]

# A box that a transform pushed over the edge stays if this share of its area is still visible ...
MIN_VISIBLE = 0.1
# ... and both its sides still have this many pixels.
MIN_SIDE = 2.0
# OpenCV warps no image of which a side has more pixels.
_LONGEST = 32_000
# First dimension is the object.
OBJECT_KEYS = row_keys("objects")

Matrix = NDArray[np.float64]
# (H, W) or (H, W, C) pixels, fill value, whether values may be interpolated -> the moved pixels, of the same rank.
Remap = Callable[[NDArray[Any], int, bool], NDArray[Any]]


def has_objects(target: Target) -> bool:
    """Whether the ground truth is a list of objects, rather than a class or a label map alone.

    Example:
        >>> has_objects({"boxes": np.zeros((0, 4))}), has_objects({"label_map": np.zeros((4, 4))})
        (True, False)
    """
    return any(key in target for key in ("boxes", "masks", "keypoints"))


def select_objects(target: Target, keep: NDArray[np.bool_]) -> Target:
    """Select the objects of a target where ``keep`` (N,) is true.

    Example:
        >>> target = {"boxes": np.array([[0.0, 0, 10, 10], [30, 30, 50, 50]], np.float32), "labels": np.array([1, 2])}
        >>> select_objects(target, np.array([False, True]))["labels"]
        array([2])
    """
    return {key: value[keep] if key in OBJECT_KEYS else value for key, value in target.items()}


def join_objects(targets: Sequence[Target]) -> Target:
    """Join the objects of several targets, in order; values of the whole image come from the first.

    Example:
        >>> target = {"boxes": np.array([[0.0, 0, 10, 10], [30, 30, 50, 50]], np.float32), "labels": np.array([1, 2])}
        >>> join_objects([target, target])["labels"]
        array([1, 2, 1, 2])
    """
    return {
        key: np.concatenate([target[key] for target in targets]) if key in OBJECT_KEYS else value
        for key, value in targets[0].items()
    }


def clip_objects(target: Target, window: tuple[float, float, float, float], tight: bool = False) -> Target:
    """Clip boxes to a window and drop the objects that are no longer visible, with all that belongs to them.

    An object stays if more than ``MIN_VISIBLE`` of its box is inside and both sides keep ``MIN_SIDE`` pixels. Keypoints
    outside become unlabelled, (0, 0, 0); an object without a box stays even if it loses all of them. The area of an
    object with a mask is that of the mask; of others it shrinks with the visible share of the box.

    Args:
        target: Ground truth in pixels of the canvas.
        window: x1, y1, x2, y2 in pixels.
        tight: Take boxes from the masks, where there are masks.

    Example:
        >>> target = {"boxes": np.array([[0.0, 0, 10, 10], [30, 30, 50, 50]], np.float32), "labels": np.array([1, 2])}
        >>> clip_objects(target, (5, 5, 25, 25))["boxes"]  # the second box is outside
        array([[ 5.,  5., 10., 10.]], dtype=float32)
    """
    clipped = dict(target)
    if "keypoints" in target:
        clipped["keypoints"] = _hide_outside(target["keypoints"], window)
    if "masks" in target and "area" in target and not (tight and "boxes" in target):
        clipped["area"] = np.array([np.count_nonzero(mask) for mask in target["masks"]], np.float32)
    if "boxes" not in target:
        return clipped
    boxes = target["boxes"]
    x1, y1, x2, y2 = window
    inside = np.clip(boxes, np.array([x1, y1, x1, y1], np.float32), np.array([x2, y2, x2, y2], np.float32))
    sides = inside[:, 2:] - inside[:, :2]
    whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    visible = sides[:, 0] * sides[:, 1] / np.maximum(whole, 1e-9)
    keep = (visible > MIN_VISIBLE) & (sides >= MIN_SIDE).all(axis=1)
    clipped["boxes"] = inside
    if "area" in target and "masks" not in target:
        clipped["area"] = (target["area"] * np.minimum(visible, 1.0)).astype(np.float32)
    if tight and "masks" in target:
        clipped["boxes"], pixels = boxes_of_masks(target["masks"])
        keep &= (clipped["boxes"][:, 2:] - clipped["boxes"][:, :2] >= MIN_SIDE).all(axis=1)
        if "area" in target:
            clipped["area"] = pixels
    return clipped if keep.all() else select_objects(clipped, keep)


def require_finite(target: Target, path: str) -> None:
    """Refuse coordinates that are no number or infinite: nothing of an object with one could be moved or learnt.

    Keypoints that are not labelled may hold anything.

    Args:
        target: Ground truth as it was read.
        path: The image, for the message.

    Raises:
        DataError: With the kind and the number of the first object.

    Example:
        >>> require_finite({"boxes": np.array([[0, 0, np.nan, 5]], np.float32)}, "photo.jpg")
        Traceback (most recent call last):
        saccade.errors.DataError: photo.jpg: boxes of object 0 hold a value that is no number (nan or infinite). ...
    """
    for key, value in target.items():
        motion = kind_of(key).motion
        if motion not in ("boxes", "points", "area"):
            continue
        wrong = ~np.isfinite(np.asarray(value, np.float64))
        if motion == "points":
            labelled = value[..., 2:3] > 0 if value.shape[-1] > 2 else np.ones((*value.shape[:-1], 1), bool)
            wrong &= labelled
        if wrong.any():
            row = int(np.argwhere(wrong)[0, 0])
            raise DataError(
                f"{path}: {key} of object {row} hold a value that is no number (nan or infinite). Correct the "
                "annotation, or remove the object (saccade check DATA lists such faults)."
            )


def area_factor(matrix: Matrix) -> float:
    """Compute the factor by which an affine map enlarges areas: its absolute determinant.

    Example:
        >>> area_factor(np.diag([2.0, 0.5, 1.0])), area_factor(np.diag([2.0, 2.0, 1.0]))
        (1.0, 4.0)
    """
    return abs(float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))


def move_target(target: Target, matrix: Matrix, remap: Remap, fill: int = 0) -> Target:
    """Move a target: coordinates by ``matrix``, maps by ``remap``, nothing is clipped or dropped yet.

    The table of kinds decides which is which. A second image moves with the first unless ``paired`` is false, with
    ``fill`` where it is uncovered.

    Raises:
        DataError: If a key is no known kind.

    Example:
        >>> target = {"boxes": np.array([[0.0, 0, 10, 10], [30, 30, 50, 50]], np.float32), "labels": np.array([1, 2])}
        >>> double = np.diag([2.0, 2.0, 1.0])
        >>> move_target(target, double, lambda pixels, fill, linear: pixels)["boxes"][1]
        array([ 60.,  60., 100., 100.], dtype=float32)
    """
    moved = dict(target)
    if not moved.keys() - {"labels"}:
        return moved  # a class goes wherever its image goes
    transform = Geometry((0, 0), (0, 0)).then(matrix, (0, 0))
    for key, value in target.items():
        kind = kind_of(key)
        if kind.motion == "boxes":
            moved[key] = transform.map_boxes(value)
        elif kind.motion == "area":
            moved[key] = (value * area_factor(matrix)).astype(np.float32)
        elif kind.motion == "points":
            moved[key] = np.concatenate([transform.map_points(value[..., :2]), value[..., 2:]], axis=-1)
        elif kind.motion == "masks":
            maps = [remap(mask, kind.outside, False) for mask in value]
            # An empty stack has no map to learn the new size from.
            empty = np.zeros(value.shape[1:], np.uint8)
            moved[key] = np.stack(maps) if maps else remap(empty, kind.outside, False)[None][:0]
        elif kind.motion == "map":
            moved[key] = remap(value, kind.outside, False)
        elif kind.motion == "image" and target.get("paired", True):
            moved[key] = remap(value, fill, True)
    return moved


def move_inputs(inputs: Target, matrix: Matrix, size: tuple[int, int], remap: Remap, fill: int) -> Target:
    """Move further inputs like a target; proposals are clipped to the new canvas, and dropped where nothing is left.

    An image without any left has one, the whole canvas.

    Example:
        >>> inputs = {"proposals": np.array([[0.0, 0, 10, 10], [90, 90, 99, 99]], np.float32)}
        >>> move_inputs(inputs, np.eye(3), (50, 50), lambda pixels, fill, linear: pixels, fill=114)["proposals"]
        array([[ 0.,  0., 10., 10.]], dtype=float32)
    """
    if not inputs:
        return {}
    moved = move_target(inputs, matrix, remap, fill)
    if "proposals" in moved:
        canvas = np.array([0, 0, size[1], size[0]], np.float32)
        boxes = np.clip(moved["proposals"], 0, canvas[[2, 3, 2, 3]])
        keep = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        rows = {key: value for key, value in moved.items() if key in row_keys("proposals")}
        if keep.any():
            moved |= {key: value[keep] for key, value in rows.items()} | {"proposals": boxes[keep]}
        else:
            whole = {key: np.ones((1, *value.shape[1:]), value.dtype) for key, value in rows.items()}
            moved |= whole | {"proposals": canvas[None]}
    return moved


def move_sample(
    sample: Sample, matrix: Matrix, size: tuple[int, int], remap: Remap, fill: int, tight: bool = False
) -> Sample:
    """Apply one geometric transform to everything that a sample holds.

    Args:
        sample: Image and ground truth.
        matrix: (2, 3) or (3, 3), current to next pixel coordinates (half-pixel centres).
        size: Next (height, width).
        remap: Does to an array of pixels what ``matrix`` does to coordinates.
        fill: Value of uncovered pixels of the image; label maps get 255 and masks 0 there.
        tight: After transforms that turn or cut, boxes of objects with masks are taken anew from the masks.

    Raises:
        DataError: If a coordinate is no number.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> sample = DigitScenes("detection", "train").read(0)
        >>> half = np.diag([0.5, 0.5, 1.0])
        >>> remap = lambda pixels, fill, linear: resize_pixels(pixels, (128, 128), linear)
        >>> moved = move_sample(sample, half, (128, 128), remap, fill=114)
        >>> moved.size, np.allclose(moved.target["boxes"], sample.target["boxes"] / 2)
        ((128, 128), True)
    """
    require_finite(sample.target, sample.info.path)
    target = clip_objects(move_target(sample.target, matrix, remap, fill), (0, 0, size[1], size[0]), tight)
    info = replace(sample.info, geometry=sample.info.geometry.then(matrix, size))
    inputs = move_inputs(sample.inputs, matrix, size, remap, fill)
    return Sample(remap(sample.image, fill, True), target, info, sample.original, inputs)


def warp_pixels(pixels: NDArray[Any], matrix: Matrix, size: tuple[int, int], fill: int, linear: bool) -> NDArray[Any]:
    """Warp an image or map by an affine map.

    Args:
        pixels: (H, W) or (H, W, C).
        matrix: (2, 3) or (3, 3), current to next pixel coordinates (half-pixel centres).
        size: (height, width) of the result.
        fill: Value where nothing lands.
        linear: Interpolate; else the nearest value is taken.

    Example:
        >>> shift = np.array([[1.0, 0, 1], [0, 1, 0]])  # one pixel to the right
        >>> warp_pixels(np.array([[1, 2, 3]], np.uint8), shift, (1, 3), fill=9, linear=False)
        array([[9, 1, 2]], dtype=uint8)
    """
    if max(pixels.shape[:2]) > _LONGEST:
        pixels, matrix = _cut_to_shown(pixels, matrix, size, linear)
    # OpenCV counts pixel centres from 0, coordinates here from 0.5: A(x + 0.5) + b - 0.5.
    centred = np.array(matrix[:2], np.float64)
    centred[:, 2] += 0.5 * (centred[:, 0] + centred[:, 1]) - 0.5
    # OpenCV 5 interpolates four channels more than twice as fast as three (benchmarks/data_pipeline.py).
    rgb = linear and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    source = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA) if rgb else np.ascontiguousarray(pixels)
    flags = cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST
    warped: NDArray[Any] = cv2.warpAffine(source, centred, size[::-1], flags=flags, borderValue=(fill,) * 4)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB) if rgb else warped.reshape(*size, *pixels.shape[2:])


def _cut_to_shown(
    pixels: NDArray[Any], matrix: Matrix, size: tuple[int, int], linear: bool
) -> tuple[NDArray[Any], Matrix]:
    """The part of a very long image that a warp shows, reduced where that is still too long, and the map of it."""
    whole = np.vstack([np.asarray(matrix, np.float64)[:2], [0.0, 0.0, 1.0]])
    corners = np.array([[0, 0, 1], [size[1], 0, 1], [0, size[0], 1], [size[1], size[0], 1]], np.float64)
    found = corners @ np.linalg.inv(whole).T
    sides = np.array(pixels.shape[1::-1])
    low = np.clip(np.floor(found[:, :2].min(axis=0)) - 2, 0, sides - 1).astype(np.int64)
    high = np.maximum(np.clip(np.ceil(found[:, :2].max(axis=0)) + 2, 1, sides).astype(np.int64), low + 1)
    part = pixels[low[1] : high[1], low[0] : high[0]]
    reduced = min(part.shape[0], _LONGEST), min(part.shape[1], _LONGEST)
    back = np.array([[part.shape[1] / reduced[1], 0, low[0]], [0, part.shape[0] / reduced[0], low[1]], [0, 0, 1.0]])
    return resize_pixels(part, reduced, linear), whole @ back


def resize_pixels(pixels: NDArray[Any], size: tuple[int, int], linear: bool = True) -> NDArray[Any]:
    """Resize an image or map to (height, width).

    Interpolated values are means over the covered area from a half downwards, where bilinear sampling would begin to
    skip pixels.

    Example:
        >>> resize_pixels(np.array([[0, 100], [100, 200]], np.uint8), (1, 1))
        array([[100]], dtype=uint8)
    """
    if pixels.shape[:2] == size:
        return pixels
    gains = size[0] / pixels.shape[0], size[1] / pixels.shape[1]
    if linear and min(gains) <= 0.5 and max(gains) > 1:
        # OpenCV takes means only where both sides shrink, so the side that shrinks goes first.
        first = (size[0], pixels.shape[1]) if gains[0] < gains[1] else (pixels.shape[0], size[1])
        return resize_pixels(resize_pixels(pixels, first), size)
    if linear and min(gains) <= 0.5 and pixels.ndim == 3 and pixels.shape[2] > 4:
        # OpenCV takes means of at most four channels at a time.
        groups = [resize_pixels(pixels[..., first : first + 4], size) for first in range(0, pixels.shape[2], 4)]
        return np.concatenate(groups, axis=2)
    smooth = cv2.INTER_AREA if min(gains) <= 0.5 else cv2.INTER_LINEAR
    method = smooth if linear else cv2.INTER_NEAREST_EXACT  # INTER_NEAREST of OpenCV is off by half a pixel
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=method)).reshape(
        *size, *pixels.shape[2:]
    )


def _hide_outside(keypoints: NDArray[np.float32], window: tuple[float, float, float, float]) -> NDArray[np.float32]:
    x1, y1, x2, y2 = window
    x, y = keypoints[..., 0], keypoints[..., 1]
    seen = (keypoints[..., 2] > 0) & (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
    return np.where(seen[..., None], keypoints, np.float32(0))
