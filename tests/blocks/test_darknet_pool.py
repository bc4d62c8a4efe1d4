"""Darknet's pooling against plain loops; the spatial pyramid against three poolings side by side."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from saccade.blocks.csp import SPPBottleneck
from saccade.blocks.darknet_pool import SpatialPyramidPooling, darknet_max_pool


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_maxima_equal_those_of_plain_loops(size: int, stride: int) -> None:
    x = torch.randn(1, 2, 7, 10, generator=torch.Generator().manual_seed(size))
    found = darknet_max_pool(x, size, stride)
    height, width = -(-7 // stride), -(-10 // stride)
    assert found.shape == (1, 2, height, width)
    first = -((size - 1) // 2)  # Darknet: minus half of the padding, rounded towards 0
    for row in range(height):
        for column in range(width):
            top, left = first + row * stride, first + column * stride
            window = x[..., max(top, 0) : top + size, max(left, 0) : left + size]
            assert torch.equal(found[..., row, column], window.amax(dim=(2, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [1, 4, 13, 19])
def test_the_pyramid_equals_three_poolings_side_by_side(side: int, dtype: torch.dtype) -> None:
    x = torch.randn(2, 8, side, side + 1).to(dtype)
    parallel = [F.max_pool2d(x, window, stride=1, padding=window // 2) for window in (13, 9, 5)]
    assert torch.equal(SpatialPyramidPooling()(x), torch.cat([*parallel, x], dim=1))


def test_the_pyramid_is_that_of_yolov5_with_the_parts_in_reverse() -> None:
    block = SPPBottleneck(16, 8).eval()
    x = torch.randn(1, 16, 9, 9)
    inner = block.conv1(x)
    parts = SpatialPyramidPooling()(inner).chunk(4, dim=1)
    torch.testing.assert_close(block.conv2(torch.cat(parts[::-1], dim=1)), block(x), rtol=0, atol=0)
