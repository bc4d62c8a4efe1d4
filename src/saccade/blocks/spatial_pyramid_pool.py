"""Spatial pyramid pooling: a window of a feature map, of any size, becomes a vector of one length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.ops.roi import roi_pool

__all__ = ["SpatialPyramidPool"]


class SpatialPyramidPool(nn.Module):
    """Maxima over the cells of several grids that each cover a window (He et al. 2014, arXiv 1406.4729, section 2.2).

    Cell i of n along a side of w locations covers those from floor(i w / n) to ceil((i + 1) w / n), so that windows
    smaller than the grid are pooled too, with cells that overlap.

    Args:
        levels: Cells along a side of each grid: (6, 3, 2, 1) has the 50 bins of section 2.3 and of the detector,
            (4, 2, 1) is figure 3, (4, 3, 2, 1) has 30 bins.

    Raises:
        ConfigError: If there is no grid, or one without cells.

    Attributes:
        bins: Cells of all grids.

    Example:
        >>> pool = SpatialPyramidPool((4, 2, 1))
        >>> pool.bins, pool(torch.rand(2, 256, 13, 9)).shape
        (21, torch.Size([2, 5376]))
        >>> pool(torch.rand(2, 256, 13, 9), windows=torch.zeros(2, 5, 4)).shape
        torch.Size([2, 5, 5376])
    """

    def __init__(self, levels: Sequence[int] = (6, 3, 2, 1)) -> None:
        super().__init__()
        if not levels or min(levels) < 1:
            raise ConfigError(f"levels {tuple(levels)}: a pyramid has grids of 1 or more cells a side, as (4, 2, 1).")
        self.levels = tuple(levels)
        self.bins = sum(level * level for level in levels)

    def forward(self, features: Tensor, windows: Tensor | None = None) -> Tensor:
        """Vectors of the whole feature map, or of windows of it.

        Args:
            features: (B, C, H, W).
            windows: (B, R, 4): first column, first row, last column and last row, all of them inside the window.

        Returns:
            (B, C * bins), or (B, R, C * bins): grid by grid, each with C x n x n values.
        """
        if windows is None:
            last = features.new_tensor([features.shape[3] - 1, features.shape[2] - 1])
            whole = torch.cat((torch.zeros_like(last), last)).expand(features.shape[0], 1, 4)
            return self(features, whole)[:, 0]
        return torch.cat([roi_pool(features, windows, 1, level).flatten(2) for level in self.levels], dim=2)
