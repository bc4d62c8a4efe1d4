"""Regions of interest: a box of any size becomes a map of one size, by interpolation (RoIAlign) or by maxima (RoIPool).

Letters: B images, C channels, R boxes an image (padded), P cells along a side of what comes out, S samples along a side
of such a cell.

RoIAlign is a weighted sum of values of a feature map for each cell, 4 S^2 of them with fixed weights. That is what
``embedding_bag`` computes, with rows of channels that lie together in memory, for boxes of all images and all levels of
a pyramid at once. On two cores of a Xeon (2.5 GHz, float32) that is 9.4 times as fast as torchvision's operator forward
and 12.4 times backward (4 x 512 boxes, 256 channels, 7 x 7 cells: ``python -m benchmarks roi_align``). Graphs for other
runtimes get torchvision's operator, which they know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import ConfigError
from saccade.ops.operators import torchvision_operators

__all__ = ["pyramid_levels", "roi_align", "roi_pool"]


def pyramid_levels(boxes_xyxy: Tensor, count: int, canonical_level: int = 2, canonical_size: float = 224.0) -> Tensor:
    """Level of a feature pyramid that boxes are taken from (Lin et al. 2017, FPN, arXiv 1612.03144, equation 1).

    ``k = floor(k0 + log2(sqrt(w h) / 224))``, limited to the levels that there are.

    Args:
        boxes_xyxy: (..., 4), pixels of the canvas.
        count: Levels.
        canonical_level: k0, the level of a box of ``canonical_size``, counted from the finest as 0 (P4 of P2..P5: 2).
        canonical_size: Side of that box, pixels.

    Returns:
        (...) int64, 0..count-1. Boxes without area belong to the finest.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 224.0, 224.0], [0.0, 0.0, 111.0, 111.0], [0.0, 0.0, 900.0, 900.0]])
        >>> pyramid_levels(boxes, count=4).tolist()
        [2, 0, 3]
    """
    size = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0)
    side = (size[..., 0] * size[..., 1]).sqrt()
    # The small number keeps a side of exactly twice another on its own level, as in torchvision.
    level = (canonical_level + (side / canonical_size).clamp(min=1e-6).log2() + 1e-6).floor()
    return level.clamp(0, count - 1).to(torch.int64)


def roi_align(
    maps: Sequence[Tensor],
    boxes_xyxy: Tensor,
    strides: Sequence[float],
    size: int,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Tensor:
    """RoIAlign: mean of bilinear samples in each cell of a box, nothing rounded.

    He et al. 2017, Mask R-CNN (arXiv 1703.06870), section 3 "RoIAlign".

    Boxes take part with what they select, not with their coordinates: those get no gradient.

    Args:
        maps: Feature maps (B, C, H, W) of one number of channels, fine to coarse. Of several, each box takes the level
            that :func:`pyramid_levels` gives it; in exported graphs, and where S is 0, within the canvas only.
        boxes_xyxy: (B, R, 4), pixels of the canvas.
        strides: Pixels of the canvas for each step of each map.
        size: P.
        sampling_ratio: S; 0 takes as many samples as a cell has steps of the map, rounded up.
        aligned: Whether coordinates are shifted by half a step, so that they name centres of steps; without, a box has
            sides of one step at least (the form of 2017, and of torchvision's published networks).

    Returns:
        (B, R, C, P, P).

    Raises:
        ConfigError: If there are not as many strides as maps.

    Example:
        >>> ramp = torch.arange(8.0).expand(1, 1, 8, 8)
        >>> roi_align([ramp], torch.tensor([[[2.0, 2.0, 6.0, 6.0]]]), strides=(1,), size=2)[0, 0, 0, 0].tolist()
        [3.0, 5.0]
    """
    if len(maps) != len(strides):
        raise ConfigError(f"roi_align: {len(maps)} maps and {len(strides)} strides; each map has one.")
    boxes_xyxy = boxes_xyxy.detach().float()
    levels = pyramid_levels(boxes_xyxy, len(maps)) if len(maps) > 1 else None
    if torch.compiler.is_exporting() or sampling_ratio == 0:
        return _by_operator(maps, boxes_xyxy, levels, strides, (size, sampling_ratio, aligned))
    return _by_bags(maps, boxes_xyxy, levels, strides, (size, sampling_ratio, aligned))


def roi_pool(features: Tensor, boxes_xyxy: Tensor, stride: float, size: int) -> Tensor:
    """RoIPool: maximum of each cell of a box (Girshick 2015, Fast R-CNN, arXiv 1504.08083, section 2.1).

    It rounds twice: the box to whole steps of the map, and each cell outwards to whole steps.

    Args:
        features: Feature map (B, C, H, W).
        boxes_xyxy: (B, R, 4), pixels of the canvas.
        stride: Pixels of the canvas for each step of the map.
        size: P.

    Returns:
        (B, R, C, P, P).

    Example:
        >>> ramp = torch.arange(8.0).expand(1, 1, 8, 8)
        >>> roi_pool(ramp, torch.tensor([[[2.0, 2.0, 5.0, 5.0]]]), stride=1, size=2)[0, 0, 0, 0].tolist()
        [3.0, 5.0]
    """
    B, R = boxes_xyxy.shape[:2]
    pooled = torchvision_operators().roi_pool(
        features.float(), _with_image(boxes_xyxy.detach().float()), size, 1 / stride
    )
    return pooled.view(B, R, features.shape[1], size, size)


def _with_image(boxes_xyxy: Tensor) -> Tensor:
    """Boxes (B, R, 4) as torchvision takes them: (B * R, 5) with the number of the image in front."""
    B, R = boxes_xyxy.shape[:2]
    image = torch.arange(B, dtype=boxes_xyxy.dtype, device=boxes_xyxy.device).view(B, 1, 1).expand(B, R, 1)
    return torch.cat((image, boxes_xyxy), dim=2).flatten(0, 1)


def _by_bags(
    maps: Sequence[Tensor],
    boxes_xyxy: Tensor,
    levels: Tensor | None,
    strides: Sequence[float],
    form: tuple[int, int, bool],
) -> Tensor:
    size, samples, aligned = form
    B, R = boxes_xyxy.shape[:2]
    device = boxes_xyxy.device
    # All locations of all levels as rows of channels: image by image, level by level.
    table = torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in maps], dim=1)  # (B, L, C)
    rows, columns = ([level.shape[axis] for level in maps] for axis in (2, 3))
    starts = [0]
    for level in maps:
        starts.append(starts[-1] + level.shape[2] * level.shape[3])
    if levels is None:
        levels = torch.zeros(B, R, dtype=torch.int64, device=device)
    height, width = (torch.tensor(sides, dtype=torch.float32, device=device)[levels] for sides in (rows, columns))
    start = torch.tensor(starts[:-1], device=device)[levels]
    stride = torch.tensor(strides, dtype=torch.float32, device=device)[levels]

    scaled = boxes_xyxy / stride[..., None] - (0.5 if aligned else 0.0)
    sides = scaled[..., 2:] - scaled[..., :2]
    if not aligned:
        sides = sides.clamp(min=1.0)
    x, x_weights = _along(scaled[..., 0], sides[..., 0], width, size, samples)  # (B, R, P, 2 S)
    y, y_weights = _along(scaled[..., 1], sides[..., 1], height, size, samples)
    # Cell (i, j) sums the 2 S rows of i with the 2 S columns of j.
    bag = (B, R, size, size, 4 * samples * samples)
    row_starts = start[..., None, None] + y * width.long()[..., None, None]
    row_starts = row_starts + torch.arange(B, device=device).view(B, 1, 1, 1) * starts[-1]
    index = row_starts[:, :, :, None, :, None] + x[:, :, None, :, None, :]
    weights = y_weights[:, :, :, None, :, None] * x_weights[:, :, None, :, None, :] / (samples * samples)
    pooled = F.embedding_bag(
        index.reshape(-1, bag[-1]),
        table.flatten(0, 1),
        per_sample_weights=weights.reshape(-1, bag[-1]).to(table.dtype),
        mode="sum",
    )
    return pooled.view(*bag[:-1], table.shape[-1]).permute(0, 1, 4, 2, 3)


def _along(low: Tensor, side: Tensor, steps: Tensor, size: int, samples: int) -> tuple[Tensor, Tensor]:
    """Indices and weights, (B, R, P, 2 S), of the samples of boxes (B, R) along one axis of a map.

    Each sample lies between two steps. Up to one step outside of the map it counts as its border, beyond that as 0.
    """
    offsets = (torch.arange(size * samples, device=low.device) + 0.5) / samples
    position = low[..., None] + side[..., None] / size * offsets  # (B, R, P * S)
    last = steps[..., None] - 1
    outside = (position < -1) | (position > steps[..., None])
    position = torch.minimum(position.clamp(min=0), last)
    before = position.floor()
    share = position - before
    indices = torch.stack((before, torch.minimum(before + 1, last)), dim=-1).to(torch.int64)
    weights = torch.stack((1 - share, share), dim=-1).masked_fill(outside[..., None], 0.0)
    shape = (*low.shape, size, 2 * samples)
    return indices.reshape(shape), weights.reshape(shape)


def _by_operator(
    maps: Sequence[Tensor],
    boxes_xyxy: Tensor,
    levels: Tensor | None,
    strides: Sequence[float],
    form: tuple[int, int, bool],
) -> Tensor:
    size, samples, aligned = form
    B, R = boxes_xyxy.shape[:2]
    if levels is None:
        (level,), (stride,) = maps, strides
        rois, scale, shares = _with_image(boxes_xyxy), 1 / stride, None
    else:
        # One call for all levels: a call a level would sample every box on every level.
        level, scale = _stack(maps), 1.0
        boxes, shares = _in_stack(maps, boxes_xyxy, levels, strides, form)
        rois = _with_image(boxes)
        rois = torch.cat((rois[:, :1] + B * levels.reshape(-1, 1), rois[:, 1:]), dim=1)
    pooled = torchvision_operators().roi_align(level.float(), rois, size, scale, samples, aligned)
    pooled = pooled.view(B, R, level.shape[1], size, size)
    return pooled if shares is None else pooled * shares[:, :, None]


def _stack(maps: Sequence[Tensor]) -> Tensor:
    """Maps as images of one size, (levels * B, C, H + 1, W + 1): right and below their border once more, then zeros."""
    high, wide = maps[0].shape[-2:]
    images = []
    for one in maps:
        image = one.permute(0, 2, 3, 1)  # channels together, from which runtimes pool many times as fast
        image = torch.cat((image, image[:, :, -1:]), dim=2)
        image = torch.cat((image, image[:, -1:]), dim=1)
        images.append(F.pad(image, (0, 0, 0, wide - one.shape[-1], 0, high - one.shape[-2])))
    return torch.cat(images).permute(0, 3, 1, 2)


def _in_stack(
    maps: Sequence[Tensor],
    boxes_xyxy: Tensor,
    levels: Tensor,
    strides: Sequence[float],
    form: tuple[int, int, bool],
) -> tuple[Tensor, Tensor | None]:
    """Boxes (B, R, 4) within the canvas in steps of their map, and factors (B, R, P, P) of what is pooled.

    The repeated border gives samples up to a step outside what the border gives them. Farther out, where they count as
    0, only boxes reach whose sides are below a step and count as one; all of what these see along an axis is the last
    row or column. So they are moved inside, and the share of their samples that lay there is the factor.
    """
    size, samples, aligned = form
    zero = boxes_xyxy.new_zeros(levels.shape)
    stride, sides = zero, [zero, zero]  # of the map of each box: of a step in pixels, and (W, H) in steps
    for number, (one, step) in enumerate(zip(maps, strides, strict=True)):
        own = levels == number
        stride = torch.where(own, float(step), stride)
        sides = [torch.where(own, count, side) for count, side in zip((one.shape[3], one.shape[2]), sides, strict=True)]
    scaled = boxes_xyxy / stride[..., None]
    if aligned:
        return scaled, None
    lows, shares = [], []
    offsets = (torch.arange(size * max(samples, 1), device=levels.device) + 0.5) / (size * max(samples, 1))
    for axis, steps in enumerate(sides):
        low, side = scaled[..., axis], scaled[..., axis + 2] - scaled[..., axis]
        inside = (side[..., None] >= 1) | (low[..., None] + offsets <= steps[..., None])
        shares.append(inside.to(low.dtype).unflatten(-1, (size, -1)).mean(-1))
        lows.append(torch.minimum(low, steps - side.clamp(min=1.0)))
    low = torch.stack(lows, dim=-1)
    across, down = shares
    return torch.cat((low, low + scaled[..., 2:] - scaled[..., :2]), dim=-1), down[..., :, None] * across[..., None, :]
