"""Networks are built for a file without drawing their weights, and every initialiser comes to its end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import saccade
from saccade.models.unfilled import Unfilled


@pytest.mark.parametrize("bounds", [(0.0, 1.0, -2.0, 2.0), (1.0, 0.2, 1.05, 3.0), (0.0, 1.0, 1.5, 4.0)])
@pytest.mark.parametrize("content", [0.0, 1e9, float("nan")])
def test_truncated_normals_end_whatever_lies_in_memory(bounds: tuple[float, ...], content: float) -> None:
    mean, std, low, high = bounds
    tensor = torch.full((50, 7), content)
    with Unfilled():
        nn.init.trunc_normal_(tensor, mean=mean, std=std, a=low, b=high)
    assert ((tensor >= low) & (tensor <= high)).all()


@pytest.mark.parametrize("name", ["swin_t", "vit_ti_16", "mobilevit_xxs", "convnext_tiny"])
def test_networks_of_truncated_normals_are_built(name: str) -> None:
    before = torch.get_rng_state()
    with Unfilled():
        saccade.create_model(name, num_classes=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_constants_are_kept() -> None:
    with Unfilled():
        norm, layer = nn.BatchNorm2d(3), nn.init.constant_(torch.empty(4), 2.5)
    assert norm.weight.tolist() == [1, 1, 1]
    assert layer.tolist() == [2.5] * 4
