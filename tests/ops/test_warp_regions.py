"""Warped regions: equal to a plain loop over pixels in float64, with context and outside of the image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.ops.warp_regions import warp_regions


def warped_plainly(image: Tensor, box: Tensor, size: int, context: int) -> Tensor:
    """Each pixel of the square by bilinear interpolation of the four around it, 0 outside of the image."""
    C, H, W = image.shape
    x1, y1, x2, y2 = box.double().tolist()
    out = torch.zeros(C, size, size, dtype=torch.float64)
    for row in range(size):
        for column in range(size):
            x = x1 + (x2 - x1) * (column + 0.5 - context) / (size - 2 * context) - 0.5
            y = y1 + (y2 - y1) * (row + 0.5 - context) / (size - 2 * context) - 0.5
            for dy in (0, 1):
                for dx in (0, 1):
                    i, j = math.floor(y) + dy, math.floor(x) + dx
                    if 0 <= i < H and 0 <= j < W:
                        out[:, row, column] += (1 - abs(y - i)) * (1 - abs(x - j)) * image[:, i, j].double()
    return out


@pytest.mark.parametrize(("size", "context"), [(7, 0), (9, 2)])
def test_equals_a_plain_loop(size: int, context: int) -> None:
    images = torch.randn(2, 3, 13, 17, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor(
        [
            [[2.0, 3, 11, 9], [-4, 1.5, 6.25, 20], [16, 12, 17, 13]],  # inside, across two borders, one pixel
            [[5, 5, 5, 5], [30, 30, 40, 35], [0, 0, 17, 13]],  # no area, outside, all
        ]
    )
    found = warp_regions(images, boxes, size, context)
    assert found.shape == (2, 3, 3, size, size)
    for image in range(2):
        for row in range(3):
            expected = warped_plainly(images[image], boxes[image, row], size, context)
            assert torch.allclose(found[image, row].double(), expected, atol=1e-5)


def test_a_box_of_the_size_of_the_square_is_cut_out() -> None:
    image = torch.randn(1, 2, 20, 20)
    found = warp_regions(image, torch.tensor([[[6.0, 4.0, 12.0, 10.0]]]), size=10, context=2)
    assert torch.allclose(found[0, 0], image[0, :, 2:12, 4:14], atol=1e-5)  # with two pixels around it


def test_gradients_reach_the_image() -> None:
    image = torch.zeros(1, 1, 8, 8, requires_grad=True)
    warp_regions(image, torch.tensor([[[2.0, 2.0, 4.0, 4.0]]]), size=2).sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad[0, 0, 2:4, 2:4], torch.ones(2, 2))
    assert image.grad.sum() == 4


def test_too_much_context_is_named() -> None:
    with pytest.raises(ConfigError, match="a context of 4 pixels on each side leaves nothing of a square of 8"):
        warp_regions(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 4), size=8, context=4)
