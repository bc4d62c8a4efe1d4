"""Predictions as labels to be corrected: objects with a score, and outlines of few points that a person can move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.outlines import ObjectOutline
from saccade.ops.mask_rings import rings_of

__all__ = ["Draft", "outline_of", "points_of"]

_TOLERANCE = 1.0  # pixels by which a polygon may leave the mask
_CLEAR = 0.3  # score below which a point is drawn as hidden


@dataclass(frozen=True)
class Draft:
    """Object of an image as a network sees it, to be corrected by a person.

    Args:
        name: Class.
        score: 0..1; None where the network gives none.
        box_xyxy: Pixels; empty of classes of whole images.
        outline: Polygons, where the network gives a mask.
        keypoints: K times x, y, visibility.
    """

    name: str
    score: float | None
    box_xyxy: tuple[float, ...] = ()
    outline: ObjectOutline | None = None
    keypoints: Sequence[float] = ()


def outline_of(mask: NDArray[Any]) -> ObjectOutline:
    """Polygons around a mask that leave it by at most a pixel, with far fewer points than its edge has.

    Args:
        mask: (H, W), non-zero inside.

    Example:
        >>> rows, columns = np.indices((100, 100))
        >>> disc = (rows - 50) ** 2 + (columns - 50) ** 2 < 40**2
        >>> (ring,) = outline_of(disc).rings
        >>> len(ring) // 2 < len(rings_of(disc)[0][0]) // 4
        True
    """
    rings, holes = rings_of(mask)
    return ObjectOutline(rings=[_simpler(ring).reshape(-1).tolist() for ring in rings], holes=holes)


def _simpler(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    few = cv2.approxPolyDP(ring.astype(np.float32).reshape(-1, 1, 2), _TOLERANCE, closed=True).reshape(-1, 2)
    return few.astype(np.float64) if len(few) >= 3 else ring


def points_of(points: NDArray[Any], scores: NDArray[Any]) -> list[float]:
    """Points (K, 2) with scores (K,) as x, y, visibility: 2, or 1 (hidden) where the score is below 0.3.

    Example:
        >>> points_of(np.array([[4.0, 5.0], [6.0, 7.0]]), np.array([0.9, 0.1]))
        [4.0, 5.0, 2.0, 6.0, 7.0, 1.0]
    """
    seen = np.where(np.asarray(scores) >= _CLEAR, 2.0, 1.0)
    values: list[float] = np.column_stack([points, seen]).reshape(-1).tolist()
    return values
