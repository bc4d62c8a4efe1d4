"""Spatial pyramid pooling: the cells of the paper for windows of every size, and of the whole map."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from saccade.blocks.spatial_pyramid_pool import SpatialPyramidPool
from saccade.errors import ConfigError


@pytest.mark.parametrize("levels", [(6, 3, 2, 1), (4, 2, 1)])
def test_windows_of_every_width_have_the_cells_of_the_paper(levels: tuple[int, ...]) -> None:
    ramp = torch.arange(80.0).expand(1, 1, 2, 80)  # the maximum of a cell is its last column
    widths = range(1, 70)
    windows = torch.tensor([[[5.0, 0.0, 5.0 + width - 1, 1.0] for width in widths]])
    pool = SpatialPyramidPool(levels)
    found = pool(ramp, windows)[0]
    for row, width in zip(found, widths, strict=True):
        expected = [
            5.0 + math.ceil((column + 1) * width / level) - 1
            for level in levels
            for _ in range(level)
            for column in range(level)
        ]
        assert row.tolist() == expected


def test_the_whole_map_is_pooled_adaptively() -> None:
    features = torch.randn(2, 5, 13, 9)
    pool = SpatialPyramidPool((6, 3, 2, 1))
    expected = torch.cat([F.adaptive_max_pool2d(features, level).flatten(1) for level in (6, 3, 2, 1)], dim=1)
    assert pool.bins == 50
    assert torch.equal(pool(features), expected)
    assert torch.equal(pool(features, torch.tensor([[[0.0, 0.0, 8.0, 12.0]]]).repeat(2, 1, 1))[:, 0], expected)


def test_a_pyramid_without_cells_is_named() -> None:
    for levels in ((), (2, 0)):
        with pytest.raises(ConfigError, match="grids of 1 or more cells"):
            SpatialPyramidPool(levels)
