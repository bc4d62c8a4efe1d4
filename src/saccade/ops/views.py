"""Mirrored and resized views of a canvas, and the way back from each to the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from saccade.errors import ConfigError

__all__ = ["View", "flip_order", "mean_of_views"]


@dataclass(frozen=True)
class View:
    """View of a canvas for test-time augmentation: resized, then perhaps mirrored left to right.

    Args:
        canvas: (height, width) of the canvas.
        size: (height, width) of the view.
        mirrored: Whether left and right are exchanged.

    Example:
        >>> View(canvas=(10, 20), size=(20, 40), mirrored=True).boxes_back(np.array([[0, 0, 10, 10]])).tolist()
        [[15.0, 0.0, 20.0, 5.0]]
    """

    canvas: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool = False

    def points_back(self, points_xy: NDArray[Any]) -> NDArray[np.float32]:
        """Points of the view, (..., 2), in pixels of the canvas."""
        points = np.asarray(points_xy, np.float64) * [
            self.canvas[1] / self.size[1],
            self.canvas[0] / self.size[0],
        ]
        if self.mirrored:
            points[..., 0] = self.canvas[1] - points[..., 0]
        return points.astype(np.float32)

    def boxes_back(self, boxes_xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Boxes of the view, (N, 4), in pixels of the canvas."""
        corners = self.points_back(np.asarray(boxes_xyxy).reshape(-1, 2, 2))
        if self.mirrored:
            corners[..., 0] = corners[:, ::-1, 0].copy()
        return corners.reshape(-1, 4)

    def maps_back(self, maps: Tensor) -> Tensor:
        """Maps of the view, (B, C, h, w), at the size of the canvas, (B, C, H, W)."""
        maps = maps.flip(-1) if self.mirrored else maps
        if self.size == self.canvas:
            return maps
        return F.interpolate(maps, self.canvas, mode="bilinear", align_corners=False)


def flip_order(pairs: Sequence[tuple[int, int]], number: int) -> NDArray[np.int64]:
    """Where each of ``number`` points is found in the mirror, (K,) int64.

    Raises:
        ConfigError: If a pair names a point that there is not.

    Example:
        >>> flip_order([(0, 1)], number=3).tolist()
        [1, 0, 2]
    """
    order = np.arange(number)
    for left, right in pairs:
        if not (0 <= left < number and 0 <= right < number):
            raise ConfigError(f"flip_pairs: ({left}, {right}) names a point outside of 0..{number - 1}.")
        order[left], order[right] = right, left
    return order


def mean_of_views(values: Sequence[Tensor], views: Sequence[View]) -> Tensor:
    """Mean of probabilities (B, C), or of maps (B, C, h, w) brought back to the canvas.

    Example:
        >>> views = [View((4, 4), (4, 4)), View((4, 4), (4, 4), mirrored=True)]
        >>> mean_of_views([torch.tensor([[0.75, 0.25]]), torch.tensor([[0.25, 0.75]])], views).tolist()
        [[0.5, 0.5]]
    """
    total = torch.zeros(())
    for value, view in zip(values, views, strict=True):
        total = total + (view.maps_back(value.float()) if value.ndim == 4 else value.float())
    return total / len(views)
