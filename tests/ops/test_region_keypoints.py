"""Keypoints of regions are those of torchvision: cells of targets, and pixels of heatmaps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypoints_to_heatmap

from saccade.ops.region_keypoints import keypoint_cells, keypoint_pixels


def regions(count: int, seed: int, smallest: float = 4.0, largest: float = 700.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 100
    share = torch.rand(count, 2, generator=generator)
    return torch.cat((low, low + smallest * (largest / smallest) ** share), dim=1)


def test_cells_of_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = regions(50, 0, largest=150.0)
    points = torch.rand(50, 17, 3, generator=generator) * 200
    points[..., 2] = (points[..., 2] > 60) * 2
    points[:, 0] = torch.cat((boxes[:, 2:], torch.full((50, 1), 2.0)), dim=1)  # the far corner is of the last cell
    expected, real = keypoints_to_heatmap(points, boxes, 56)
    cells, found = keypoint_cells(points, boxes, 56)
    assert torch.equal(found, real.bool())
    assert torch.equal(cells, expected)
    assert found[:, 1:].any()
    assert not found[:, 1:].all()
    assert (cells[:, 0] == 56 * 56 - 1).all()


def test_pixels_of_smooth_maps_are_those_of_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(12, 17, 14, 14, generator=generator)
    maps = F.interpolate(coarse, scale_factor=4.0, mode="bicubic")  # as smooth as those of a network
    boxes = regions(12, 1)
    expected, _ = heatmaps_to_keypoints(maps, boxes)
    assert (keypoint_pixels(maps, boxes) - expected[..., :2]).abs().max() < 1e-2


def test_every_pixel_of_small_regions_is_looked_at() -> None:
    noise = torch.randn(12, 17, 56, 56, generator=torch.Generator().manual_seed(0))
    boxes = regions(12, 2, smallest=0.5, largest=112.0)
    expected, _ = heatmaps_to_keypoints(noise, boxes)
    assert (keypoint_pixels(noise, boxes) - expected[..., :2]).abs().max() < 1e-3


def test_regions_without_area_have_finite_points() -> None:
    points = keypoint_pixels(torch.randn(2, 3, 56, 56), torch.tensor([[0.0, 0, 0, 0], [5, 5, 5, 60]]))
    assert torch.isfinite(points).all()
    assert torch.equal(points[0], torch.full((3, 2), 0.5))
