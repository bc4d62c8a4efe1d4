"""HRNet: its branches, their fusion at any size, its start, its maps for dense models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from saccade.engine.train.optim import build_optimizer
from saccade.models.classification.base import build_backbone
from saccade.models.classification.hrnet import HRModule
from saccade.models.registry import create_model
from saccade.recipes import get_recipe
from saccade.weights import load_weights

WIDTHS = (4, 8, 16, 32)
EVEN = ((16, 24), (8, 12), (4, 6), (2, 3))
ODD = ((19, 26), (10, 13), (5, 7), (3, 4))  # of an image of 75 x 101: every strided 3x3 rounds up


def _maps(sizes: tuple[tuple[int, int], ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, width, *size, generator=generator) for width, size in zip(WIDTHS, sizes, strict=True)]


@pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])
@torch.no_grad()
def test_each_branch_is_the_sum_of_all_at_its_size(sizes, scramble) -> None:
    torch.manual_seed(0)
    module = HRModule(WIDTHS, 0).eval()  # no blocks: fusion alone
    scramble(module)
    maps = _maps(sizes)
    for target, found in enumerate(module(maps)):
        total = torch.zeros(2, WIDTHS[target], *sizes[target])
        for source, layer in enumerate(module.fuse_layers[target]):
            if source == target:
                total += maps[source]
            elif source < target:  # one 3x3 / 2 a step, with ReLU between them
                strides = [one.stride for one in layer.modules() if isinstance(one, nn.Conv2d)]
                assert strides == [(2, 2)] * (target - source)
                assert sum(isinstance(one, nn.ReLU) for one in layer.modules()) == target - source - 1
                total += layer(maps[source])
            else:  # a location takes the value of the coarse location over it
                coarse = layer(maps[source])
                for row, column in itertools.product(*map(range, sizes[target])):
                    above = row * sizes[source][0] // sizes[target][0], column * sizes[source][1] // sizes[target][1]
                    total[:, :, row, column] += coarse[:, :, above[0], above[1]]
        torch.testing.assert_close(found, total.relu(), rtol=1e-4, atol=1e-5)


def test_each_branch_hears_of_every_other() -> None:
    torch.manual_seed(0)
    module = HRModule(WIDTHS, 1).eval()
    for target in range(4):
        maps = [one.requires_grad_() for one in _maps(EVEN)]
        gradients = torch.autograd.grad(module(maps)[target].sum(), maps)
        assert all(gradient.any() for gradient in gradients)


def test_it_starts_as_the_authors_code() -> None:
    torch.manual_seed(0)
    model = create_model("hrnet_w18")
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.06), name
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all(), name  # no branch starts at zero here


@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
@torch.no_grad()
def test_four_maps_stay_side_by_side(size: tuple[int, int]) -> None:
    model = create_model("hrnet_w18_small").eval()
    maps = model.features(torch.randn(1, 3, *size))
    assert model.feature_channels == (16, 32, 64, 128)
    assert model.feature_strides == (4, 8, 16, 32)
    assert [tuple(one.shape) for one in maps] == [
        (1, channels, *(-(-side // stride) for side in size))
        for channels, stride in zip(model.feature_channels, model.feature_strides, strict=True)
    ]


def test_a_file_of_timm_gives_the_logits_of_w18(tmp_path: Path, scramble: Callable[[nn.Module], None]) -> None:
    torch.manual_seed(0)
    reference = timm.create_model("hrnet_w18").eval()
    scramble(reference)
    torch.save(reference.state_dict(), tmp_path / "theirs.pth")
    model = create_model("hrnet_w18").eval()
    report = load_weights(model, tmp_path / "theirs.pth")
    assert report.missing == report.unexpected == report.head == ()
    for size in ((64, 64), (96, 64)):
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected, found = reference(images), model(images)["logits"]
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_file_of_timm_fills_a_backbone(tmp_path: Path, scramble: Callable[[nn.Module], None]) -> None:
    torch.manual_seed(0)
    reference = timm.create_model("hrnet_w18_small").eval()
    scramble(reference)
    torch.save(reference.state_dict(), tmp_path / "theirs.pth")
    model = create_model("heatmap_regression", num_classes=3, backbone="hrnet_w18_small").eval()
    report = load_weights(model, tmp_path / "theirs.pth")
    assert not any(name.startswith("backbone.") for name in report.missing)
    parts = tuple(f"backbone.{part}." for part in ("incre_modules", "downsamp_modules", "final_layer", "classifier"))
    assert report.unexpected
    assert all(name.startswith(parts) for name in report.unexpected)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = reference.act1(reference.bn1(reference.conv1(images)))
        expected = reference.stages(reference.act2(reference.bn2(reference.conv2(x))))
        found = model.backbone.features(images)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


def test_a_backbone_has_nothing_that_cannot_learn() -> None:
    backbone = build_backbone("hrnet_w18_small")
    sum(one.sum() for one in backbone.features(torch.randn(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_the_recipe_decays_every_parameter() -> None:
    config = get_recipe("hrnet_w18_imagenet")
    with torch.device("meta"):
        model = create_model(config.model)
    optimizer = build_optimizer(model.named_parameters(), config.optimizer)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in optimizer.param_groups)
