"""Grid points of anchor-free detectors: one for each place of each feature map."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["grid_points"]


def grid_points(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Column and row of every place of every level, level by level and row by row.

    The pixel in the middle of a place is ``(points + 0.5) * strides[:, None]``. Eager calls share one copy a shape and
    device (do not write into it); a graph that is being compiled or exported computes its own.

    Args:
        maps: Feature maps (B, C, H, W), fine to coarse; only shape and device matter.
        strides: Pixels per step of each map.

    Returns:
        Points (A, 2) and strides (A,), float32, with A the number of places of all maps.

    Example:
        >>> points, strides = grid_points([torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 2, 2)], (8, 16))
        >>> points.shape, strides.tolist()[-1]
        (torch.Size([20, 2]), 16.0)
    """
    sizes = tuple((level.shape[-2], level.shape[-1]) for level in maps)
    # Fake tensors and traced graphs must not meet, or leave behind, a shared tensor.
    if torch.compiler.is_compiling() or type(maps[0]) is not Tensor:
        return _build(sizes, tuple(strides), maps[0].device)
    return _shared(sizes, tuple(strides), maps[0].device)


def _build(sizes: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    points, steps = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        column = torch.arange(width, dtype=torch.float32, device=device)
        row = torch.arange(height, dtype=torch.float32, device=device)
        grid = torch.stack((column[None, :].expand(height, width), row[:, None].expand(height, width)), dim=-1)
        points.append(grid.reshape(-1, 2))
        steps.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(points), torch.cat(steps)


@functools.lru_cache(maxsize=64)
def _shared(
    sizes: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    # A tensor born in inference mode could never be used in training afterwards.
    with torch.inference_mode(False):
        return _build(sizes, strides, device)
