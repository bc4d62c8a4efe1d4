"""Heatmaps of keypoints: cell coordinates, soft-argmax, Gaussian targets, concentration of the mass.

Coordinates are normalised: the image covers -1 to 1 in x and in y, and the centre of cell x (counted from 0) of n is at
(2x + 1) / n - 1, so that no cell centre lies on the border. Shapes: B images, K keypoints, H rows and W columns of
cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["expectation", "gaussian", "normalized_cells", "peak_mass"]


def normalized_cells(count: int, like: Tensor) -> Tensor:
    """Normalised centres of a row of cells, ``(2x + 1) / count - 1``.

    Args:
        count: Number of cells.
        like: Tensor whose dtype and device the result has.

    Returns:
        (count,).

    Example:
        >>> normalized_cells(4, torch.zeros(1)).tolist()
        [-0.75, -0.25, 0.25, 0.75]
    """
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1


def expectation(heatmaps: Tensor) -> Tensor:
    """Expected coordinates of each heatmap, or soft-argmax: the differentiable spatial-to-numerical transform (DSNT).

    ``mu = (<Z, X>, <Z, Y>)`` for heatmap Z and the coordinates X, Y of its cells (Nibali et al. 2018, arXiv
    1801.07372).

    Args:
        heatmaps: (B, K, H, W), each of sum one.

    Returns:
        (B, K, 2), x and y, normalised.

    Example:
        >>> heatmaps = torch.zeros(1, 1, 4, 4)
        >>> heatmaps[0, 0, 0, 2] = heatmaps[0, 0, 0, 3] = 0.5
        >>> expectation(heatmaps).tolist()
        [[[0.5, -0.75]]]
    """
    x = (heatmaps.sum(-2) * normalized_cells(heatmaps.shape[-1], heatmaps)).sum(-1)
    y = (heatmaps.sum(-1) * normalized_cells(heatmaps.shape[-2], heatmaps)).sum(-1)
    return torch.stack((x, y), dim=-1)


def gaussian(means: Tensor, size: tuple[int, int], sigma: float, peak_one: bool = False) -> Tensor:
    """Isotropic Gaussians on a grid of cells: the target heatmaps of keypoints.

    Args:
        means: (B, K, 2), x and y, normalised.
        size: (H, W) of the grid.
        sigma: Standard deviation in cells.
        peak_one: Height 1 at the mean, as heatmap matching needs it, instead of sum one.

    Returns:
        (B, K, H, W).

    Example:
        >>> heatmaps = gaussian(torch.tensor([[[0.0, 0.0]]]), (5, 5), sigma=1.0)
        >>> heatmaps.shape, round(heatmaps.sum().item(), 4), heatmaps.argmax().item()
        (torch.Size([1, 1, 5, 5]), 1.0, 12)
    """
    sides = []
    for axis, count in ((1, size[0]), (0, size[1])):
        # distance in cells: the whole range of 2 is `count` cells
        distance = (normalized_cells(count, means) - means[..., axis : axis + 1]) * (count / 2)
        exponent = -0.5 * (distance / sigma) ** 2
        # An isotropic Gaussian is the product of its sides; softmax norms each without dividing by an underflowed sum.
        sides.append(exponent.exp() if peak_one else exponent.softmax(dim=-1))
    return sides[0].unsqueeze(-1) * sides[1].unsqueeze(-2)


def peak_mass(heatmaps: Tensor, radius: int = 2) -> Tensor:
    """Confidence of a keypoint: largest share of a heatmap's mass inside a square of ``2 * radius + 1`` cells.

    It is near one for a single narrow peak, and small where the mass is spread out or has several peaks.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        radius: Cells on every side of the middle one.

    Returns:
        (B, K), 0..1.

    Example:
        >>> narrow, flat = gaussian(torch.zeros(1, 1, 2), (16, 16), sigma=0.5), torch.full((1, 1, 16, 16), 1 / 256)
        >>> peak_mass(torch.cat((narrow, flat), dim=1))
        tensor([[1.0000, 0.0977]])
    """
    side = 2 * radius + 1
    mass = F.avg_pool2d(heatmaps, side, stride=1, padding=radius) * side**2
    return mass.amax((-2, -1)).clamp(max=1.0)
