"""Heatmaps: coordinates of their cells, Gaussians drawn on them, expected and highest locations.

Coordinates are normalised: the image covers -1 to 1 in x and in y, and the centre of cell x (counted from 0) of n is at
(2x + 1) / n - 1, so that no cell centre lies on the border.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["expectation", "gaussian", "normalized_cells", "peak_mass"]


def normalized_cells(count: int, like: Tensor) -> Tensor:
    """Centres of ``count`` cells: (count,), (2x + 1) / count - 1, with dtype and device of ``like``."""
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1


def expectation(heatmaps: Tensor) -> Tensor:
    """Mean position mu = (<Z, X>, <Z, Y>) under each heatmap Z: the transform that gives DSNT its name.

    Args:
        heatmaps: (B, K, H, W), each of sum one.

    Returns:
        (B, K, 2), x and y, normalised.
    """
    x = (heatmaps.sum(-2) * normalized_cells(heatmaps.shape[-1], heatmaps)).sum(-1)
    y = (heatmaps.sum(-1) * normalized_cells(heatmaps.shape[-2], heatmaps)).sum(-1)
    return torch.stack((x, y), dim=-1)


def gaussian(means: Tensor, size: tuple[int, int], sigma: float, peak_one: bool = False) -> Tensor:
    """Round Gaussians on a grid.

    Args:
        means: (B, K, 2), x and y, normalised.
        size: (H, W) of the grid.
        sigma: Standard deviation in cells.
        peak_one: Height 1 at the mean, as heatmap matching wants it, instead of sum one.

    Returns:
        (B, K, H, W).
    """
    sides = []
    for axis, count in ((1, size[0]), (0, size[1])):
        # distance in cells: the whole range of 2 is `count` cells
        distance = (normalized_cells(count, means) - means[..., axis : axis + 1]) * (count / 2)
        exponent = -0.5 * (distance / sigma) ** 2
        # A round Gaussian is the product of its sides; softmax norms each without dividing by an underflowed sum.
        sides.append(exponent.exp() if peak_one else exponent.softmax(dim=-1))
    return sides[0].unsqueeze(-1) * sides[1].unsqueeze(-2)


def peak_mass(heatmaps: Tensor, radius: int = 2) -> Tensor:
    """Largest share of a heatmap's mass inside a square of ``2 * radius + 1`` cells.

    It is near one for a single narrow peak, and small where the mass is spread out or in several places.

    Args:
        heatmaps: (B, K, h, w), each of sum one.
        radius: Cells on every side of the middle one.

    Returns:
        (B, K), 0..1.
    """
    side = 2 * radius + 1
    mass = F.avg_pool2d(heatmaps, side, stride=1, padding=radius) * side**2
    return mass.amax((-2, -1)).clamp(max=1.0)
