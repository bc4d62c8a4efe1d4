"""Anchors of detectors: boxes, or points, tiled over the grid cells of each feature map.

Anchor boxes follow torchvision's generators, with which the published networks were trained. Those of RetinaNet and
Faster R-CNN have sides in whole pixels, no shift by half a cell, and as stride the canvas divided by the grid; SSD's
default boxes sit on the centres of the cells, with sides as shares of the canvas.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "canvas_size",
    "cell_anchors",
    "default_boxes",
    "default_shapes",
    "grid_anchors",
    "grid_points",
    "grid_strides",
]

# Sides of the anchors of each level, pixels.
AnchorSizes = tuple[tuple[float, ...], ...]
# Widths and heights of the default boxes of each level, shares of the canvas.
BoxShapes = tuple[tuple[tuple[float, float], ...], ...]


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
    build = _build if _is_traced(feature_maps[0]) else _shared
    return build(sizes, tuple(strides), device)


def canvas_size(images: Tensor) -> Tensor:
    """Height and width of a batch's canvas as a tensor, which ``forward`` hands on so that ``decode`` can clip boxes.

    Args:
        images: (B, C, H, W).

    Returns:
        (2,) float32.

    Example:
        >>> canvas_size(torch.zeros(1, 3, 48, 64))
        tensor([48., 64.])
    """
    # No float(side), which would make a constant of it in an exported graph.
    return torch.stack([torch.full((), side, dtype=torch.float32, device=images.device) for side in images.shape[-2:]])


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """Anchors of one grid cell around the origin: every aspect ratio with every size, sides rounded to pixels.

    Args:
        sizes: Square roots of the areas, pixels.
        aspect_ratios: Height over width.

    Returns:
        (R * S, 4) xyxy for R ratios and S sizes; the size changes fastest.

    Example:
        >>> cell_anchors((32,), (0.5, 1.0, 2.0)).tolist()
        [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0]]
    """
    scales, ratios = torch.tensor(sizes, dtype=torch.float32), torch.tensor(aspect_ratios, dtype=torch.float32)
    heights = ratios.sqrt()
    widths = 1 / heights
    sides = torch.stack(((widths[:, None] * scales).flatten(), (heights[:, None] * scales).flatten()), dim=1)
    return (torch.cat((-sides, sides), dim=1) / 2).round()


def grid_strides(images: Tensor, feature_maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Vertical and horizontal stride of each feature map: the canvas divided by the grid, rounded down.

    Args:
        images: (B, C, H, W).
        feature_maps: Feature maps (B, C, H, W), fine to coarse.

    Example:
        >>> grid_strides(torch.zeros(1, 3, 96, 128), [torch.zeros(1, 8, 12, 16), torch.zeros(1, 8, 1, 1)])
        [(8, 8), (96, 128)]
    """
    height, width = images.shape[-2:]
    return [(height // level.shape[-2], width // level.shape[-1]) for level in feature_maps]


def grid_anchors(
    images: Tensor, feature_maps: Sequence[Tensor], sizes: AnchorSizes, aspect_ratios: Sequence[float]
) -> Tensor:
    """Anchors of all levels, level by level, row by row, cell by cell.

    The anchors of a cell are those of :func:`cell_anchors`, moved to the cell's upper left corner. Eager calls share
    one copy a shape and device (do not write into it); a graph that is being compiled or exported computes its own.

    Args:
        images: (B, C, H, W); only shape and device matter.
        feature_maps: Feature maps (B, C, H, W), fine to coarse; only their shapes matter.
        sizes: Of each level, pixels.
        aspect_ratios: Height over width, the same at every level.

    Returns:
        (A, 4) xyxy float32, pixels.

    Example:
        >>> images, maps = torch.zeros(1, 3, 64, 64), [torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 4, 4)]
        >>> anchors = grid_anchors(images, maps, sizes=((16,), (32,)), aspect_ratios=(1.0,))
        >>> anchors.shape, anchors[1].tolist()
        (torch.Size([80, 4]), [0.0, -8.0, 16.0, 8.0])
    """
    grids = tuple((level.shape[-2], level.shape[-1]) for level in feature_maps)
    strides = tuple(grid_strides(images, feature_maps))
    build = _build_anchors if _is_traced(images) else _shared_anchors
    return build(grids, strides, tuple(map(tuple, sizes)), tuple(aspect_ratios), images.device)


def default_shapes(scales: Sequence[float], aspect_ratios: Sequence[Sequence[float]]) -> BoxShapes:
    """Widths and heights of SSD's default boxes, a level at a time (Liu et al. 2016, section 2.2, below equation 4).

    Level k has a square of scale s_k, a square of scale ``sqrt(s_k s_k+1)``, and for each ratio a a box
    ``(s_k sqrt(a), s_k / sqrt(a))`` and the same upright.

    Args:
        scales: Of each level, and one more for the last extra square; shares of the canvas.
        aspect_ratios: Of each level, above 1.

    Returns:
        Of each level, (width, height) of its ``2 + 2 * ratios`` boxes, at most 1.

    Example:
        >>> default_shapes((0.25, 1.0), ((4.0,),))
        (((0.25, 0.25), (0.5, 0.5), (0.5, 0.125), (0.125, 0.5)),)
    """
    levels = []
    for scale, following, ratios in zip(scales[:-1], scales[1:], aspect_ratios, strict=True):
        between = math.sqrt(scale * following)
        shapes = [(scale, scale), (between, between)]
        for ratio in ratios:
            longer, shorter = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            shapes += [(longer, shorter), (shorter, longer)]
        levels.append(tuple((min(width, 1.0), min(height, 1.0)) for width, height in shapes))
    return tuple(levels)


def default_boxes(
    images: Tensor, feature_maps: Sequence[Tensor], shapes: BoxShapes, strides: Sequence[int | None]
) -> Tensor:
    """Default boxes of SSD of all levels, level by level, row by row, cell by cell (Liu et al. 2016, section 2.2).

    They may reach beyond the canvas. Eager calls share one copy a shape and device (do not write into it); a graph that
    is being compiled or exported computes its own.

    Args:
        images: (B, C, H, W); only shape and device matter.
        feature_maps: Feature maps (B, C, H, W), fine to coarse; only their shapes matter.
        shapes: Of :func:`default_shapes`.
        strides: Distance of neighbouring centres of each level, pixels; None divides the canvas evenly.

    Returns:
        (A, 4) xyxy float32, pixels.

    Example:
        >>> images, maps = torch.zeros(1, 3, 64, 64), [torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 1, 1)]
        >>> boxes = default_boxes(images, maps, default_shapes((0.25, 0.5, 1.0), ((), ())), strides=(8, None))
        >>> boxes.shape, boxes[0].tolist(), boxes[-2].tolist()
        (torch.Size([130, 4]), [-4.0, -4.0, 12.0, 12.0], [16.0, 16.0, 48.0, 48.0])
    """
    grids = tuple((level.shape[-2], level.shape[-1]) for level in feature_maps)
    build = _build_defaults if _is_traced(images) else _shared_defaults
    return build(grids, (images.shape[-2], images.shape[-1]), shapes, tuple(strides), images.device)


def _is_traced(tensor: Tensor) -> bool:
    """Whether a graph is being made: fake tensors must not meet, or leave behind, a shared tensor."""
    return torch.compiler.is_compiling() or type(tensor) is not Tensor


def _build_anchors(
    grids: tuple[tuple[int, int], ...],
    strides: tuple[tuple[int, int], ...],
    sizes: AnchorSizes,
    aspect_ratios: tuple[float, ...],
    device: torch.device,
) -> Tensor:
    levels = []
    for (rows, columns), (down, across), own in zip(grids, strides, sizes, strict=True):
        y = torch.arange(rows, dtype=torch.float32, device=device)[:, None].expand(rows, columns) * down
        x = torch.arange(columns, dtype=torch.float32, device=device)[None, :].expand(rows, columns) * across
        corners = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
        levels.append((corners + cell_anchors(own, aspect_ratios).to(device)).reshape(-1, 4))
    return torch.cat(levels)


@functools.lru_cache(maxsize=64)
def _shared_anchors(
    grids: tuple[tuple[int, int], ...],
    strides: tuple[tuple[int, int], ...],
    sizes: AnchorSizes,
    aspect_ratios: tuple[float, ...],
    device: torch.device,
) -> Tensor:
    # A tensor born in inference mode could never be used in training afterwards.
    with torch.inference_mode(False):
        return _build_anchors(grids, strides, sizes, aspect_ratios, device)


def _build_defaults(
    grids: tuple[tuple[int, int], ...],
    canvas: tuple[int, int],
    shapes: BoxShapes,
    strides: tuple[int | None, ...],
    device: torch.device,
) -> Tensor:
    height, width = canvas
    sides = torch.tensor([width, height], device=device)
    levels = []
    for (rows, columns), own, stride in zip(grids, shapes, strides, strict=True):
        down, across = (rows, columns) if stride is None else (height / stride, width / stride)
        y = ((torch.arange(rows, device=device) + 0.5) / down)[:, None].expand(rows, columns)
        x = ((torch.arange(columns, device=device) + 0.5) / across)[None, :].expand(rows, columns)
        centres = torch.stack((x, y), dim=-1).reshape(-1, 1, 2)  # shares of the canvas, as the sizes are
        half = 0.5 * torch.tensor(own, dtype=torch.float32, device=device)
        levels.append(torch.cat(((centres - half) * sides, (centres + half) * sides), dim=-1).reshape(-1, 4))
    return torch.cat(levels)


@functools.lru_cache(maxsize=64)
def _shared_defaults(
    grids: tuple[tuple[int, int], ...],
    canvas: tuple[int, int],
    shapes: BoxShapes,
    strides: tuple[int | None, ...],
    device: torch.device,
) -> Tensor:
    # A tensor born in inference mode could never be used in training afterwards.
    with torch.inference_mode(False):
        return _build_defaults(grids, canvas, shapes, strides, device)


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
