"""ConvNeXt: its norm, its block, its start, its layers for a falling rate."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor

from saccade.engine.train.optim import build_optimizer, layers_of
from saccade.models.classification.convnext import ConvNeXt, ConvNeXtBlock, LayerNorm2d
from saccade.models.registry import create_model
from saccade.recipes import get_recipe
from saccade.weights import load_weights

HEAD = ("norm.weight", "norm.bias", "fc.weight", "fc.bias")


def _normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise each location of a feature map (C, H, W) by itself, with the paper's eps."""
    out = torch.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            channels = x[:, row, column]
            variance = ((channels - channels.mean()) ** 2).mean()
            out[:, row, column] = (channels - channels.mean()) / (variance + 1e-6).sqrt() * weight + bias
    return out


def _random(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)


@torch.no_grad()
def test_norm_is_over_the_channels_of_each_location() -> None:
    norm = LayerNorm2d(6, 1e-6)
    _random(norm)
    x = torch.randn(1, 6, 3, 4) * 1e-3  # so small that eps counts
    torch.testing.assert_close(norm(x)[0], _normed(x[0], norm.weight, norm.bias))


@torch.no_grad()
def test_block_is_figure_4() -> None:
    block = ConvNeXtBlock(6, 0.0)
    _random(block)
    x = torch.randn(1, 6, 5, 8)
    # Depthwise: every channel at every location has its own 7x7 window and kernel.
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3))[0]
    mixed = torch.empty(6, 5, 8)
    for channel in range(6):
        for row in range(5):
            for column in range(8):
                window = padded[channel, row : row + 7, column : column + 7]
                mixed[channel, row, column] = (window * block.conv_dw.weight[channel, 0]).sum()
    mixed = mixed + block.conv_dw.bias[:, None, None]
    normed = _normed(mixed, block.norm.weight, block.norm.bias)
    assert block.mlp.fc1.weight.shape == (24, 6)  # four times as wide inside
    wide = torch.einsum("oc,chw->ohw", block.mlp.fc1.weight, normed) + block.mlp.fc1.bias[:, None, None]
    wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))  # GELU, exact
    narrow = torch.einsum("oc,chw->ohw", block.mlp.fc2.weight, wide) + block.mlp.fc2.bias[:, None, None]
    expected = x[0] + block.gamma[:, None, None] * narrow
    torch.testing.assert_close(block(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_it_has_the_papers_initialisation() -> None:
    torch.manual_seed(0)
    model = create_model("convnext_tiny")
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:  # appendix A.1: truncated normal, 0.02
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
            assert abs(parameter.mean().item()) < 1e-3, name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        elif name.endswith("gamma"):
            assert (parameter == 1e-6).all(), name
        else:
            assert (parameter == 1).all(), name
    x = torch.randn(1, 96, 8, 8)
    torch.testing.assert_close(model.stages[0].blocks(x), x)  # layer scale: blocks begin as the identity


@pytest.mark.parametrize(
    ("name", "rate"),
    [("tiny", 0.1), ("small", 0.4), ("base", 0.5), ("large", 0.5), ("xlarge", 0.2)],  # table 5
)
def test_stochastic_depth_is_each_variants_own(name: str, rate: float) -> None:
    with torch.device("meta"):
        model = create_model(f"convnext_{name}")
    rates = [block.drop_path.p for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([rate * block / (len(rates) - 1) for block in range(len(rates))])


@torch.no_grad()
def test_patches_leave_out_what_fills_none() -> None:
    torch.manual_seed(0)
    model = create_model("convnext_tiny").eval()
    images = torch.randn(1, 3, 75, 101)
    maps = model.features(images)
    assert [tuple(one.shape[2:]) for one in maps] == [(18, 25), (9, 12), (4, 6), (2, 3)]
    for one, cut in zip(maps, model.features(images[..., :72, :100]), strict=True):
        torch.testing.assert_close(one, cut)


@pytest.mark.parametrize("name", ["convnext_small", "convnext_base", "convnext_large", "convnext_xlarge"])
def test_there_are_twelve_layers_above_the_stem(name: str) -> None:
    """The stem is layer 0; appendix A.1's groups follow, and the head has the full rate."""
    with torch.device("meta"):
        model = create_model(name)
    stem, *groups, head = layers_of(model)
    assert stem == ("stem",)
    assert len(groups) == 12
    assert groups[10] == tuple(f"stages.2.blocks.{block}" for block in (24, 25, 26))
    assert head == ("head.fc", "head.norm")


def test_fine_tuning_slows_down_the_lower_layers() -> None:
    config = get_recipe("convnext_base_finetune_384")
    with torch.device("meta"):
        model = create_model(config.model, **config.model_args)
    optimizer = build_optimizer(model.named_parameters(), config.optimizer, layers_of(model))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(one)]: group["lr"] for group in optimizer.param_groups for one in group["params"]}
    above = {
        "head.fc.weight": 0,
        "head.norm.weight": 0,
        "stages.3.downsample.1.weight": 1,
        "stages.2.blocks.26.gamma": 2,
        "stages.2.blocks.23.gamma": 3,
        "stages.2.blocks.2.norm.bias": 10,
        "stages.2.downsample.0.weight": 10,
        "stages.1.downsample.1.weight": 11,
        "stages.0.blocks.0.conv_dw.weight": 12,
        "stem.0.weight": 13,
    }
    assert {name: rates[name] for name in above} == pytest.approx(
        {name: 5e-5 * 0.7**count for name, count in above.items()}
    )


def test_a_third_stage_of_any_depth_has_its_layers() -> None:
    model = ConvNeXt(8, (1, 1, 4, 1), num_classes=2)
    layers = layers_of(model)
    assert layers[3:5] == (
        ("stages.2.blocks.0", "stages.2.blocks.1", "stages.2.blocks.2", "stages.2.downsample"),
        ("stages.2.blocks.3",),
    )


@pytest.mark.parametrize("publisher", ["torchvision", "timm"])
def test_a_publishers_file_fills_a_backbone(publisher: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build = torchvision.models.convnext_tiny if publisher == "torchvision" else timm.models.convnext_tiny
    reference = build().eval()
    for name, parameter in reference.named_parameters():
        if name.endswith(("gamma", "layer_scale")):
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    torch.save(reference.state_dict(), tmp_path / "theirs.pth")
    model = create_model("heatmap_regression", num_classes=3, backbone="convnext_tiny").eval()
    report = load_weights(model, tmp_path / "theirs.pth")
    assert not any(name.startswith("backbone.") for name in report.missing)
    assert set(report.unexpected) == {f"backbone.head.{name}" for name in HEAD}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = model.backbone.features(images)[-1]
        expected = (
            reference.features(images) if publisher == "torchvision" else reference.stages(reference.stem(images))
        )
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
