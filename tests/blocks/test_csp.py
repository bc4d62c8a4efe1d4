"""Blocks against their definition written with plain functions."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from saccade.blocks.conv_norm_act import ConvNormAct, DepthwiseSeparableConv
from saccade.blocks.csp import Bottleneck, CSPLayer, Focus, SPPBottleneck


def test_conv_norm_act_halves_even_and_odd_sizes() -> None:
    block = ConvNormAct(3, 8, 3, stride=2).eval()
    assert block(torch.zeros(1, 3, 32, 31)).shape == (1, 8, 16, 16)
    images = torch.randn(2, 3, 9, 9)
    expected = F.silu(
        F.batch_norm(F.conv2d(images, block.conv.weight, padding=1, stride=2), torch.zeros(8), torch.ones(8))
    )
    torch.testing.assert_close(block(images), expected)


def test_depthwise_separable_has_the_parameters_of_its_name() -> None:
    block = DepthwiseSeparableConv(6, 10, 3)
    assert sum(p.numel() for p in block.parameters()) == 6 * 9 + 2 * 6 + 6 * 10 + 2 * 10


def test_focus_takes_the_pixels_of_each_square_column_by_column() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    focus = Focus(1, 4).eval()
    seen = []
    focus.conv.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    focus(image)
    assert seen[0][0, :, 0, 0].tolist() == [0, 4, 1, 5]
    assert seen[0][0, :, 1, 1].tolist() == [10, 14, 11, 15]
    assert focus(torch.zeros(1, 1, 5, 7)).shape == (1, 4, 3, 4)


def test_pyramid_pools_windows_of_5_9_and_13() -> None:
    block = SPPBottleneck(8, 6).eval()
    images = torch.randn(2, 8, 17, 15)
    x = block.conv1(images)
    pooled = [F.max_pool2d(x, window, 1, window // 2) for window in (5, 9, 13)]
    assert torch.equal(block(images), block.conv2(torch.cat([x, *pooled], dim=1)))


def test_an_even_kernel_halves_the_side() -> None:
    stem = ConvNormAct(3, 4, 6, stride=2).eval()
    images = torch.randn(1, 3, 12, 15)
    expected = F.silu(stem.bn(F.conv2d(images, stem.conv.weight, stride=2, padding=2)))
    torch.testing.assert_close(stem(images), expected)
    assert expected.shape == (1, 4, 6, 7)


def test_csp_layer_is_two_paths_joined() -> None:
    layer = CSPLayer(8, 12, blocks=2).eval()
    images = torch.randn(1, 8, 5, 5)
    x = layer.conv1(images)
    for block in layer.m:
        x = x + block.conv2(block.conv1(x))
    torch.testing.assert_close(layer(images), layer.conv3(torch.cat([x, layer.conv2(images)], dim=1)))


def test_bottleneck_without_shortcut_adds_nothing() -> None:
    block = Bottleneck(4, shortcut=False).eval()
    images = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(block(images), block.conv2(block.conv1(images)))
