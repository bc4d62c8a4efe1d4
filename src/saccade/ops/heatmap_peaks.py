"""Keypoints read from heatmaps: the highest cell, moved within it by its neighbours.

Points are in heatmap cells, continuous: a heatmap of W columns covers [0, W], and the centre of its first cell is 0.5.
Shapes: B images, K keypoints, H rows and W columns of cells.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Refinement", "heatmap_peaks", "smooth_heatmaps"]

Refinement = Literal["none", "quarter", "newton"]

_BORDER = 2  # cells by which heatmaps are continued, so that every cell has the neighbours that a refinement asks for
_LEAST = 1e-10  # below it a logarithm says nothing


def smooth_heatmaps(heatmaps: Tensor, sigma: float) -> Tensor:
    """Heatmaps smoothed by a Gaussian, as high as before: the modulation of DARK (Zhang et al. 2020, section 3.1).

    A network's heatmap is no Gaussian; several small peaks around the highest one would mislead the Taylor expansion.

    Args:
        heatmaps: (B, K, H, W).
        sigma: Standard deviation in cells, that of the Gaussians which the network learnt.

    Returns:
        (B, K, H, W), each with the largest value that it had.

    Example:
        >>> heatmaps = torch.zeros(1, 1, 5, 5)
        >>> heatmaps[0, 0, 2, 2] = 0.8
        >>> smooth = smooth_heatmaps(heatmaps, sigma=1.0)
        >>> round(smooth.max().item(), 3), bool(smooth[0, 0, 2, 3] > 0)
        (0.8, True)
    """
    B, K, H, W = heatmaps.shape
    radius = math.ceil(2.5 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=heatmaps.dtype, device=heatmaps.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    maps = heatmaps.reshape(B * K, 1, H, W)
    maps = F.conv2d(maps, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    maps = F.conv2d(maps, kernel.view(1, 1, 1, -1), padding=(0, radius)).view(B, K, H, W)
    before, after = heatmaps.amax((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    # A heatmap without a positive value has no height to keep.
    return maps * torch.where(after > _LEAST, before / after.clamp(min=_LEAST), torch.ones_like(after))


def heatmap_peaks(heatmaps: Tensor, refine: Refinement = "quarter") -> tuple[Tensor, Tensor]:
    """Position of the highest cell of each heatmap, refined by its neighbours, and its value.

    Args:
        heatmaps: (B, K, H, W); for ``newton`` smoothed (:func:`smooth_heatmaps`).
        refine: ``none``: the centre of the cell. ``quarter``: a quarter of a cell towards the higher neighbour, in x
            and in y (Newell et al. 2016, section 3.3). ``newton``: the maximum of the Taylor expansion of the
            logarithm, which is exact for a Gaussian (DARK: Zhang et al. 2020, equation 9); at most one cell, and none
            at the border.

    Returns:
        Points (B, K, 2), x and y in cells, and values (B, K).

    Example:
        >>> heatmaps = torch.tensor([[[[0.0, 0.1, 0.0], [0.2, 0.9, 0.5], [0.0, 0.1, 0.0]]]])
        >>> points, values = heatmap_peaks(heatmaps)
        >>> points.tolist(), round(values.item(), 2)
        ([[[1.75, 1.5]]], 0.9)
    """
    height, width = heatmaps.shape[-2:]
    values, cell = heatmaps.flatten(2).max(dim=-1)
    columns, rows = cell % width, torch.div(cell, width, rounding_mode="floor")
    points = torch.stack((columns, rows), dim=-1).to(values.dtype) + 0.5
    if refine == "none":
        return points, values
    around = _Neighbours(heatmaps, columns, rows)
    if refine == "quarter":
        slopes = torch.stack((around(1, 0) - around(-1, 0), around(0, 1) - around(0, -1)), dim=-1)
        inside = torch.stack(((columns > 0) & (columns < width - 1), (rows > 0) & (rows < height - 1)), dim=-1)
        return points + 0.25 * slopes.sign() * inside, values
    inside = (columns > 1) & (columns < width - 2) & (rows > 1) & (rows < height - 2)
    return points + around.newton_step() * inside.unsqueeze(-1), values


class _Neighbours:
    """Values of the cells around one cell of each heatmap."""

    def __init__(self, heatmaps: Tensor, columns: Tensor, rows: Tensor) -> None:
        padded = F.pad(heatmaps, (_BORDER,) * 4, mode="replicate")
        self.width = padded.shape[-1]
        self.values = padded.flatten(2)
        self.middle = (rows + _BORDER) * self.width + columns + _BORDER

    def __call__(self, dx: int, dy: int) -> Tensor:
        """(B, K) values ``dx`` columns to the right and ``dy`` rows below."""
        index = self.middle + (dy * self.width + dx)
        return self.values.gather(2, index.unsqueeze(-1)).squeeze(-1)

    def _log(self, dx: int, dy: int) -> Tensor:
        return self(dx, dy).clamp(min=_LEAST).log()

    def newton_step(self) -> Tensor:
        """Minus the inverse Hessian times the gradient of the logarithm, (B, K, 2); 0 where it has no maximum."""
        log, middle = self._log, self._log(0, 0)
        dx, dy = (log(1, 0) - log(-1, 0)) / 2, (log(0, 1) - log(0, -1)) / 2
        dxx, dyy = (log(2, 0) - 2 * middle + log(-2, 0)) / 4, (log(0, 2) - 2 * middle + log(0, -2)) / 4
        dxy = (log(1, 1) - log(-1, 1) - log(1, -1) + log(-1, -1)) / 4
        determinant = dxx * dyy - dxy * dxy
        is_maximum = (determinant > _LEAST) & (dxx < 0)
        safe = torch.where(is_maximum, determinant, torch.ones_like(determinant))
        step = torch.stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy), dim=-1) / safe.unsqueeze(-1)
        return step.clamp(-1.0, 1.0) * is_maximum.unsqueeze(-1)
