"""Small networks: widths, dilation, shuffling, compound scaling."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf

from saccade.blocks.channel_shuffle import channel_shuffle
from saccade.blocks.make_divisible import make_divisible
from saccade.blocks.stochastic_depth import StochasticDepth
from saccade.errors import ConfigError
from saccade.models.classification.efficientnet import B0, SCALES, scale_rows
from saccade.models.registry import create_model
from saccade.weights.layouts import layouts


@pytest.mark.parametrize(
    ("value", "expected"),
    [(32 * 0.35, 16), (24 * 1.4, 32), (16 * 0.25, 8), (32 * 1.1, 32), (40 * 1.2, 48), (320 * 1.1, 352)],
)
def test_widths_are_rounded_as_published(value: float, expected: int) -> None:
    assert make_divisible(value) == expected


def test_rounding_never_takes_more_than_a_tenth() -> None:
    for tenths in range(80, 4000):
        value = tenths / 10
        assert make_divisible(value) % 8 == 0
        assert make_divisible(value) >= 0.9 * value
        assert abs(make_divisible(value) - value) <= 8
    assert make_divisible(16 * 1.2) == 24
    assert make_divisible(16 * 1.2, at_least=0.0) == 16


def test_channels_are_dealt_out_as_cards() -> None:
    x = torch.arange(12.0).view(1, 12, 1, 1)
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    # Each of three following groups hears of all three groups before it.
    assert {tuple(sorted(int(c) // 4 for c in group)) for group in channel_shuffle(x, 3).flatten().view(3, 4)} == {
        (0, 0, 1, 2), (0, 1, 1, 2), (0, 1, 2, 2),
    }  # fmt: skip


def test_shuffle_unit_is_the_figures() -> None:
    """Figure 2b and c written out with indices in place of reshapes."""
    torch.manual_seed(0)
    model = create_model("shufflenet_v1_g3").eval()
    for unit, channels in ((model.stage3[0], 240), (model.stage3[1], 480)):
        x = torch.randn(2, channels, 8, 8).relu()
        y = F.relu(unit.compress[1](unit.compress[0](x)))
        width = y.shape[1]
        order = [group * (width // 3) + index for index in range(width // 3) for group in range(3)]
        y = unit.expand[1](unit.expand[0](unit.depthwise[1](unit.depthwise[0](y[:, order]))))
        expected = torch.cat((F.avg_pool2d(x, 3, 2, padding=1), y), 1) if unit.stride == 2 else x + y
        torch.testing.assert_close(unit(x), F.relu(expected))
    assert model.stage2[0].compress[0].groups == 1  # 24 channels are too few to group
    assert model.stage2[1].compress[0].groups == 3


@pytest.mark.parametrize("size", ["large", "small"])
def test_dilated_mobilenet_v3_is_torchvisions(size: str) -> None:
    torch.manual_seed(0)
    rows, last = _mobilenet_v3_conf(f"mobilenet_v3_{size}", dilated=True)
    reference = MobileNetV3(rows, last, num_classes=5).eval()
    model = create_model(f"mobilenet_v3_{size}", num_classes=5, output_stride=16).eval()
    (layout,) = [one for one in layouts() if one.matches(set(reference.state_dict()))]
    model.load_state_dict(layout.convert(reference.state_dict(), model))
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        torch.testing.assert_close(model(images)["logits"], reference(images), rtol=1e-4, atol=1e-5)
        assert model.features(images)[-1].shape[2:] == (6, 8)
    assert model.feature_strides[-1] == 16


@pytest.mark.parametrize("stride", [16, 8])
def test_dilated_mobilenet_v2_is_timms(stride: int) -> None:
    torch.manual_seed(0)
    reference = timm.create_model("mobilenetv2_100", output_stride=stride)
    for module in reference.modules():  # signals that live, so that a wrong dilation shows
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        reference.train()(images)
        reference.eval()
        model = create_model("mobilenet_v2", output_stride=stride).eval()
        (layout,) = [one for one in layouts() if one.matches(set(reference.state_dict()))]
        model.load_state_dict(layout.convert(reference.state_dict(), model))
        maps, expected = model.features(images), reference.forward_features(images)
    assert expected.shape[2:] == (96 // stride, 128 // stride)
    assert (maps[-1] - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert model.feature_strides == tuple(min(value, stride) for value in (2, 4, 8, 16, 32))
    # At every so many locations it is the strided network with the same weights, exactly: that is what dilation is for.
    plain = create_model("mobilenet_v2").eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        strided = plain.features(images)[-1]
    step = 32 // stride
    torch.testing.assert_close(maps[-1][..., ::step, ::step], strided, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="8, 16 or 32"):
        create_model("mobilenet_v2", output_stride=4)


def test_inverted_residuals_expand_and_end_linearly() -> None:
    unit = create_model("mobilenet_v2").trunk[3]
    assert [type(part).__name__ for part in unit.conv] == [
        "ConvNormActSequence",
        "ConvNormActSequence",
        "Conv2d",
        "BatchNorm2d",
    ]
    assert unit.conv[1][0].groups == unit.conv[1][0].in_channels == 6 * 24
    assert unit.has_shortcut
    assert not create_model("mobilenet_v2").trunk[2].has_shortcut  # it strides


def test_resolution_multiplier_is_the_input() -> None:
    assert [create_model("mobilenet_v1_0_25", rho=rho).input_spec.size[0] for rho in (1, 6 / 7, 5 / 7, 4 / 7)] == [
        224,
        192,
        160,
        128,
    ]
    with pytest.raises(ConfigError, match="'relu' or 'relu6'"):
        create_model("mobilenet_v1", activation="gelu")


def test_scales_come_from_one_rule() -> None:
    """Table 1 grown by hand for B3: depth 1.4, width 1.2."""
    rows = scale_rows(B0, 1.4, 1.2)
    assert [row.depth for row in rows] == [2, 3, 3, 5, 5, 6, 2]
    assert [row.out_channels for row in rows] == [24, 32, 48, 96, 136, 232, 384]
    # Equation 3 with alpha 1.2, beta 1.1: phi doubles the work; the published factors follow it, rounded.
    for name, phi in (("b1", 0.5), ("b2", 1.0), ("b3", 2.0), ("b4", 3.0)):
        assert SCALES[name].depth == pytest.approx(1.2**phi, rel=0.06)
        assert SCALES[name].width == pytest.approx(1.1**phi, rel=0.06)


def test_squeezed_channels_are_a_quarter_of_the_input() -> None:
    model = create_model("efficientnet_b0")
    unit = model.trunk[2][0]  # 16 channels in, 96 inside
    squeeze: Any = unit.block[2]
    assert (squeeze.fc1.in_channels, squeeze.fc1.out_channels) == (96, 4)


def test_stochastic_depth_rises_with_depth() -> None:
    model = create_model("efficientnet_b0", stochastic_depth=0.2)
    rates = [module.drop_path.p for module in model.modules() if hasattr(module, "drop_path")]
    assert rates == pytest.approx([0.2 * index / 16 for index in range(16)])
    swin = create_model("convnext_tiny", stochastic_depth=0.1)
    rates = [module.drop_path.p for module in swin.modules() if hasattr(module, "drop_path")]
    assert rates[0] == 0.0
    assert rates[-1] == pytest.approx(0.1)


def test_left_out_branches_keep_the_mean() -> None:
    torch.manual_seed(0)
    drop = StochasticDepth(0.25).train()
    kept = drop(torch.ones(4000, 3, 2))
    assert kept.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert kept.mean().item() == pytest.approx(1.0, abs=0.05)
    assert (kept == kept[:, :1, :1]).all()  # image by image
    assert torch.equal(drop.eval()(torch.ones(4, 3)), torch.ones(4, 3))
