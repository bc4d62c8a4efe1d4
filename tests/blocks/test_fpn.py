"""Feature pyramid: equal to torchvision's with equal weights, whatever levels follow the coarsest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from saccade.blocks.fpn import FeaturePyramid

CHANNELS = (24, 40, 56)


@pytest.mark.parametrize(
    ("extra", "theirs"),
    [
        ("none", None),
        ("pool", LastLevelMaxPool()),
        ("p5", LastLevelP6P7(32, 32)),
        ("c5", LastLevelP6P7(CHANNELS[-1], 32)),
    ],
)
@pytest.mark.parametrize("size", [(16, 24), (13, 19)], ids=str)
def test_equals_torchvision(extra: Any, theirs: Any, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = FeaturePyramid(CHANNELS, 32, extra)
    reference = FeaturePyramidNetwork(list(CHANNELS), 32, theirs)
    reference.load_state_dict(
        {
            name.replace("_blocks.0.", "_blocks.0.0.")
            .replace("_blocks.1.", "_blocks.1.0.")
            .replace("_blocks.2.", "_blocks.2.0.")
            .replace("p6.", "extra_blocks.p6.")
            .replace("p7.", "extra_blocks.p7."): torch.randn_like(value) * 0.1
            for name, value in ours.state_dict().items()
        }
    )
    ours.load_state_dict(
        {
            name.replace("_blocks.0.0.", "_blocks.0.")
            .replace("_blocks.1.0.", "_blocks.1.")
            .replace("_blocks.2.0.", "_blocks.2.")
            .removeprefix("extra_blocks."): value
            for name, value in reference.state_dict().items()
        }
    )
    # Sides as strided convolutions make them: halves, rounded up.
    sides = [tuple(-(-side // 2**level) for side in size) for level in range(3)]
    maps = [torch.randn(2, channels, *side) for channels, side in zip(CHANNELS, sides, strict=True)]
    with torch.no_grad():
        found, expected = ours(maps), list(reference({str(index): one for index, one in enumerate(maps)}).values())
    assert len(found) == 3 + ours.extra_levels == len(expected)
    for own, their in zip(found, expected, strict=True):
        torch.testing.assert_close(own, their)


def test_a_level_knows_what_coarser_maps_know_and_nothing_of_finer_ones() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid(CHANNELS, 32)
    maps = [torch.randn(1, channels, side, side) for channels, side in zip(CHANNELS, (8, 4, 2), strict=True)]
    before = pyramid(maps)
    changed = pyramid([maps[0], maps[1] + 1, maps[2]])
    assert [torch.equal(one, other) for one, other in zip(before, changed, strict=True)] == [False, False, True]
