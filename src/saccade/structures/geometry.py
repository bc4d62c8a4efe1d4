"""Affine map from an image to a canvas, applied to boxes and points, and inverted for them and for maps of pixels.

Coordinates are continuous with half-pixel centres: the image covers [0, W] x [0, H] and the centre of its first pixel
is (0.5, 0.5). A resize of w to w' pixels therefore maps x to x * w' / w exactly, with the *rounded* w' (not the nominal
gain), which is what keeps letterboxed boxes from drifting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Geometry"]

Array = NDArray[np.float32]

_CARRIERS = {"?": np.uint8, "l": np.int32, "q": np.int32, "e": np.float32}


_LAST_ROW = np.array([[0.0, 0.0, 1.0]])
_EYE = np.eye(3)


def _identity() -> NDArray[np.float64]:
    return _EYE.copy()


@dataclass(frozen=True, eq=False)
class Geometry:
    """Affine map from an original image to a canvas, with the sizes of both.

    Args:
        original_size: (height, width) of the image as read (EXIF orientation applied).
        size: (height, width) of the canvas that the network sees.
        matrix: (3, 3) float64, maps homogeneous original (x, y, 1) to canvas pixels.

    Example:
        >>> geometry = Geometry.identity((100, 200)).then(np.diag([0.5, 0.5, 1.0]), (50, 100))
        >>> geometry.map_boxes(np.array([[20.0, 20, 60, 80]]))
        array([[10., 10., 30., 40.]], dtype=float32)
        >>> geometry.invert_points(np.array([[10.0, 10.0]]))
        array([[20., 20.]], dtype=float32)
    """

    original_size: tuple[int, int]
    size: tuple[int, int]
    matrix: NDArray[np.float64] = field(default_factory=_identity)

    def __reduce__(self) -> tuple[Any, ...]:
        """Nine numbers as bytes: batches bring many of these from workers, and arrays take long to pickle."""
        return _geometry, (self.original_size, self.size, np.asarray(self.matrix, np.float64).tobytes())

    @classmethod
    def identity(cls, size: tuple[int, int]) -> Geometry:
        """Geometry of an image that has not been transformed."""
        return cls(size, size)

    def then(self, matrix: NDArray[np.float64], size: tuple[int, int]) -> Geometry:
        """Geometry after one more affine transform.

        Args:
            matrix: (3, 3) or (2, 3), maps the current canvas to the next.
            size: (height, width) of the next canvas.
        """
        if matrix.shape[0] == 2:
            matrix = np.concatenate([matrix, _LAST_ROW])
        return Geometry(self.original_size, size, matrix @ self.matrix)

    def map_points(self, points_xy: Array) -> Array:
        """Map points from the original to the canvas; shape (..., 2) in pixels."""
        return _apply(self.matrix, points_xy)

    def invert_points(self, points_xy: Array) -> Array:
        """Map points from the canvas to the original; shape (..., 2) in pixels."""
        return _apply(np.linalg.inv(self.matrix), points_xy)

    def map_boxes(self, boxes_xyxy: Array) -> Array:
        """Map boxes from the original to the canvas; (N, 4), the upright hull of the mapped corners, not clipped."""
        return _apply_to_boxes(self.matrix, boxes_xyxy)

    def invert_boxes(self, boxes_xyxy: Array, clip: bool = True) -> Array:
        """Map boxes from the canvas to the original; (N, 4), clipped to the original image unless ``clip`` is False."""
        boxes = _apply_to_boxes(np.linalg.inv(self.matrix), boxes_xyxy)
        if clip:
            height, width = self.original_size
            np.clip(boxes[:, 0::2], 0, width, out=boxes[:, 0::2])
            np.clip(boxes[:, 1::2], 0, height, out=boxes[:, 1::2])
        return boxes

    def invert_map(self, values: NDArray[np.generic], linear: bool = False) -> NDArray[np.generic]:
        """Warp a map of the canvas, (H, W) or (H, W, C), back to the original size.

        Args:
            values: Label map (nearest), any dtype; or floating scores (linear).
            linear: Interpolate; never use it on labels.
        """
        import cv2

        height, width = self.original_size
        if self.size == self.original_size and np.array_equal(self.matrix, np.eye(3)):
            return values
        # OpenCV counts pixel centres from 0, this record from 0.5.
        to_centres, from_centres = _translation(-0.5), _translation(0.5)
        matrix = to_centres @ np.linalg.inv(self.matrix) @ from_centres
        flags = cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST
        # OpenCV warps no booleans, and 64-bit integers and halves only from its version 5 on.
        carrier = values.astype(_CARRIERS.get(values.dtype.char, values.dtype), copy=False)
        border = cv2.BORDER_REPLICATE
        warped: NDArray[np.generic] = cv2.warpAffine(
            carrier, matrix[:2], (width, height), flags=flags, borderMode=border
        )
        return warped.reshape(height, width, *values.shape[2:]).astype(values.dtype, copy=False)


def _geometry(original_size: tuple[int, int], size: tuple[int, int], matrix: bytes) -> Geometry:
    return Geometry(original_size, size, np.frombuffer(matrix, np.float64).reshape(3, 3).copy())


def _translation(offset: float) -> NDArray[np.float64]:
    matrix = np.eye(3)
    matrix[:2, 2] = offset
    return matrix


def _apply(matrix: NDArray[np.floating[Any]], points_xy: Array) -> Array:
    mapped = np.asarray(points_xy, np.float64) @ matrix[:2, :2].T + matrix[:2, 2]
    return mapped.astype(np.float32)


def _apply_to_boxes(matrix: NDArray[np.floating[Any]], boxes_xyxy: Array) -> Array:
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    corners = _apply(matrix, boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
