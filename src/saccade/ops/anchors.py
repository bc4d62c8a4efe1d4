"""Anchor points of anchor-free detectors: one for each grid cell of each feature map."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["grid_points"]


def grid_points(feature_maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Anchor points of all levels: column and row of every grid cell, level by level and row by row.

    The centre of a cell, in pixels, is ``(points + 0.5) * strides[:, None]``. Eager calls share one copy a shape and
    device (do not write into it); a graph that is being compiled or exported computes its own.

    Args:
        feature_maps: Feature maps (B, C, H, W), fine to coarse; only shape and device matter.
        strides: Side of a grid cell of each level, pixels.

    Returns:
        Anchor points (A, 2) and their strides (A,), float32, with A the number of grid cells of all levels.

    Example:
        >>> points, strides = grid_points([torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 2, 2)], (8, 16))
        >>> points.shape, points[-1].tolist(), strides[-1].item()
        (torch.Size([20, 2]), [1.0, 1.0], 16.0)
    """
    sizes = tuple((level.shape[-2], level.shape[-1]) for level in feature_maps)
    device = feature_maps[0].device
    # Fake tensors and traced graphs must not meet, or leave behind, a shared tensor.
    if torch.compiler.is_compiling() or type(feature_maps[0]) is not Tensor:
        return _build(sizes, tuple(strides), device)
    return _shared(sizes, tuple(strides), device)


def _build(sizes: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    points, strides_of_points = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        column = torch.arange(width, dtype=torch.float32, device=device)
        row = torch.arange(height, dtype=torch.float32, device=device)
        grid = torch.stack((column[None, :].expand(height, width), row[:, None].expand(height, width)), dim=-1)
        points.append(grid.reshape(-1, 2))
        strides_of_points.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(points), torch.cat(strides_of_points)


@functools.lru_cache(maxsize=64)
def _shared(
    sizes: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    # A tensor born in inference mode could never be used in training afterwards.
    with torch.inference_mode(False):
        return _build(sizes, strides, device)
