"""Passthrough against the definition of Darknet's reorg layer, number by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from saccade.blocks.passthrough import passthrough


def reorg(x: NDArray[np.float32], stride: int = 2) -> NDArray[np.float32]:
    """Where each number of the output comes from, counted through both arrays as flat memory."""
    batch, channels, height, width = x.shape
    quarter = channels // stride**2
    source, found = x.ravel(), np.empty(x.size, np.float32)
    for image in range(batch):
        for channel in range(channels):
            offset, inner = divmod(channel, quarter)
            for row in range(height):
                for column in range(width):
                    y, z = row * stride + offset // stride, column * stride + offset % stride
                    here = column + width * (row + height * (channel + channels * image))
                    found[here] = source[z + width * stride * (y + height * stride * (inner + quarter * image))]
    return found.reshape(batch, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize("shape", [(1, 4, 2, 2), (2, 8, 4, 6), (1, 64, 6, 4)])
def test_equals_reorg(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = reorg(x)
    assert np.array_equal(passthrough(torch.from_numpy(x)).numpy(), expected)
    last = torch.from_numpy(x).to(memory_format=torch.channels_last)
    assert np.array_equal(passthrough(last).numpy(), expected)


def test_it_is_not_plain_space_to_depth() -> None:
    x = torch.arange(64.0).view(1, 4, 4, 4)
    assert not torch.equal(passthrough(x), torch.nn.functional.pixel_unshuffle(x, 2))
    assert sorted(passthrough(x).flatten().tolist()) == x.flatten().tolist()
