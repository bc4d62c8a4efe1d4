"""Keypoints inside of regions: as cells of a grid over each region, and back as pixels.

Letters: P regions, K keypoints, m cells along a side of a grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["keypoint_cells", "keypoint_pixels"]

_PEAKS = 4  # that are looked at in the second round
_AROUND = 8  # places on each side of a peak that are looked at there


@torch.no_grad()
def keypoint_cells(keypoints: Tensor, boxes_xyxy: Tensor, size: int = 56) -> tuple[Tensor, Tensor]:
    """Cell of a region that each keypoint lies in: the "one-hot m x m binary mask" of its target.

    He et al. 2017, Mask R-CNN (arXiv 1703.06870), section 5.

    Args:
        keypoints: (P, K, 3) x, y (pixels) and visibility, 0 for one that is not labelled.
        boxes_xyxy: Regions (P, 4), pixels.
        size: m.

    Returns:
        Index of the cell, row by row, (P, K) int64, and whether there is one, (P, K) bool: a keypoint that is not
        labelled, or outside of its region, has none, and index 0.

    Example:
        >>> points = torch.tensor([[[10.0, 10.0, 2.0], [29.0, 10.0, 1.0], [10.0, 50.0, 2.0], [15.0, 15.0, 0.0]]])
        >>> cells, real = keypoint_cells(points, torch.tensor([[10.0, 10.0, 30.0, 30.0]]), size=4)
        >>> cells.tolist(), real.tolist()
        ([[0, 3, 0, 0]], [[True, True, False, False]])
    """
    low, high = boxes_xyxy[:, None, :2], boxes_xyxy[:, None, 2:]
    points = keypoints[..., :2]
    cell = ((points - low) * (size / (high - low).clamp(min=1e-6))).floor()
    cell = torch.where(points == high, float(size - 1), cell)  # the far border belongs to the last cell
    real = ((cell >= 0) & (cell < size)).all(dim=2) & (keypoints[..., 2] > 0)
    column, row = torch.where(real[..., None], cell, 0.0).to(torch.int64).unbind(2)
    return row * size + column, real


def keypoint_pixels(heatmaps: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Pixels where heatmaps over regions, enlarged to the region by cubic interpolation, are highest.

    Every region has its own number of pixels, and one shape is wanted for all. The highest peaks among 2m x 2m pixels,
    evenly over the region, are found first, and then the best pixel around them. Up to 2m pixels a side the first round
    has seen them all.

    Args:
        heatmaps: (P, K, m, m).
        boxes_xyxy: Regions (P, 4), pixels.

    Returns:
        (P, K, 2) x and y, pixels: middles of pixels of the region.

    Example:
        >>> heatmaps = torch.zeros(1, 1, 4, 4)
        >>> heatmaps[0, 0, 1, 2] = 1.0
        >>> keypoint_pixels(heatmaps, torch.tensor([[100.0, 200.0, 112.0, 212.0]])).tolist()  # 3 pixels a cell
        [[[107.5, 204.5]]]
    """
    cells = heatmaps.shape[-1]
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=1)
    pixels = sides.ceil()  # (P, 2) along x and y
    first = 2 * cells
    step = (pixels / first).clamp(min=1)[..., None]  # (P, 2, 1)
    places = torch.arange(first, device=heatmaps.device) + 0.5
    index = torch.minimum((places * step).floor(), pixels[..., None] - 1)  # (P, 2, first)
    x, y = _cubic_weights(index, pixels[..., None], cells).unbind(1)
    values = y[:, None] @ heatmaps @ x[:, None].mT  # (P, K, first, first)
    peaks = torch.where(values == _around(_around(values, 2), 3), values, -torch.inf)
    best = peaks.flatten(2).topk(_PEAKS, dim=2).indices.flatten(1)  # (P, K * _PEAKS)
    best = torch.stack((best % first, best.div(first, rounding_mode="floor")), dim=1)  # (P, 2, K * _PEAKS)
    near = torch.arange(-_AROUND, _AROUND + 1, device=heatmaps.device)
    offsets = (near * (step / _AROUND).clamp(min=1)).round()[:, :, None]  # (P, 2, 1, W) with W = 2 _AROUND + 1
    index = index.gather(2, best)[..., None] + offsets
    index = torch.minimum(index.clamp(min=0), pixels[..., None, None] - 1).unflatten(2, (-1, _PEAKS))
    x, y = _cubic_weights(index, pixels[..., None, None, None], cells).unbind(1)  # (P, K, _PEAKS, W, m)
    rows = (y.flatten(2, 3) @ heatmaps).unflatten(2, y.shape[2:4])
    best = (rows @ x.mT).flatten(2).argmax(dim=2)  # (P, K)
    width = len(near)
    peak, inside = best.div(width * width, rounding_mode="floor"), best % (width * width)
    place = torch.stack((inside % width, inside.div(width, rounding_mode="floor")), dim=1)  # (P, 2, K)
    place = place + width * peak[:, None]
    chosen = index.flatten(3).gather(3, place[..., None]).squeeze(3)
    return ((chosen + 0.5) * (sides / pixels)[..., None] + boxes_xyxy[:, :2, None]).mT


def _around(values: Tensor, dim: int) -> Tensor:
    """Highest of each value and its two neighbours along a dimension."""
    length = values.shape[dim]
    before = torch.cat((values.narrow(dim, 0, 1), values.narrow(dim, 0, length - 1)), dim)
    after = torch.cat((values.narrow(dim, 1, length - 1), values.narrow(dim, length - 1, 1)), dim)
    return torch.maximum(torch.maximum(before, after), values)


def _cubic_weights(index: Tensor, pixels: Tensor, cells: int) -> Tensor:
    """Weights (..., cells) of cubic convolution (Keys 1981, a = -0.75) at pixels of a row of ``pixels`` of them.

    Beyond the border the last cell goes on.
    """
    place = (index + 0.5) * (cells / pixels) - 0.5
    distance = (place[..., None] - torch.arange(-2, cells + 2, device=index.device)).abs()
    near = (1.25 * distance - 2.25) * distance.square() + 1
    far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
    weights = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
    first = weights[..., :3].sum(dim=-1, keepdim=True)
    last = weights[..., -3:].sum(dim=-1, keepdim=True)
    return torch.cat((first, weights[..., 3:-3], last), dim=-1)
