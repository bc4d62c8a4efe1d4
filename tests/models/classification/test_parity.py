"""Equal weights, equal outputs: every family against torchvision or timm, read from their files unedited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision.models as tv
from torch import nn

from saccade.models.base import Model
from saccade.models.registry import create_model
from saccade.weights import load_weights
from saccade.weights.layouts import layouts


@dataclass(frozen=True)
class Pair:
    """One of our builders and an independent network that computes the same.

    Args:
        builder: Ours.
        reference: Makes theirs.
        options: Of ours.
        sizes: Sides of the images at which both are compared; the second is another than the weights were made at.
        layout: What the loader should call the file.
    """

    builder: str
    reference: Callable[[], nn.Module]
    layout: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    sizes: tuple[tuple[int, int], ...] = ((64, 64), (75, 101))


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, **options)


def _mish() -> nn.Module:
    """timm's network with the activation of Darknet's configuration."""
    model = timm.create_model("cspdarknet53")
    for module in model.modules():
        if isinstance(getattr(module, "act", None), nn.LeakyReLU):
            module.act = nn.Mish()
    return model


def _leaky() -> nn.Module:
    model = timm.create_model("darknet53")
    for module in model.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.1
    return model


TV, NAMED, TIMM = "torchvision", "torchvision, as named here", "timm, as named here"

PAIRS = (
    Pair("alexnet", tv.alexnet, TV, sizes=((224, 224), (75, 101))),
    Pair("vgg11", tv.vgg11, TV, sizes=((64, 64),)),
    Pair("vgg11_bn", tv.vgg11_bn, TV, sizes=((75, 101),)),
    Pair("vgg11_bn", _timm("vgg11_bn"), "timm, in order", sizes=((224, 224),)),
    Pair("mobilenet_v2", _timm("mobilenetv2_100"), "timm, in order"),
    Pair("efficientnet_b0", _timm("efficientnet_b0"), "timm, in order"),
    Pair("googlenet_bn", lambda: tv.googlenet(transform_input=False, init_weights=False), NAMED),
    Pair("resnext50_32x4d", tv.resnext50_32x4d, "torchvision ResNet"),
    Pair("mobilenet_v1", _timm("mobilenetv1_100"), "timm MobileNetV1", {"activation": "relu6"}),
    Pair("mobilenet_v2", tv.mobilenet_v2, TV),
    Pair("mobilenet_v3_large", tv.mobilenet_v3_large, TV),
    Pair("mobilenet_v3_small", tv.mobilenet_v3_small, TV),
    Pair("shufflenet_v2_x0_5", tv.shufflenet_v2_x0_5, NAMED),
    Pair("shufflenet_v2_x1_5", tv.shufflenet_v2_x1_5, NAMED),
    Pair("efficientnet_b0", tv.efficientnet_b0, TV),
    Pair("efficientnet_b5", tv.efficientnet_b5, TV, sizes=((64, 64),)),
    Pair("efficientnet_v2_s", tv.efficientnet_v2_s, TV),
    Pair(
        "vit_b_32",
        lambda: tv.VisionTransformer(64, 32, 2, 12, 768, 3072),
        "torchvision ViT",
        {"image_size": 64},
        sizes=((64, 64),),
    ),
    Pair(
        "vit_ti_16",
        _timm("vit_tiny_patch16_224", img_size=64, dynamic_img_size=True),
        TIMM,
        {"image_size": 64},
        sizes=((64, 64), (96, 160), (32, 48)),
    ),
    Pair(
        "vit_r50_b_16",
        _timm("vit_base_r50_s16_224", img_size=64, num_classes=1000),
        TIMM,
        {"image_size": 64},
        sizes=((64, 64),),
    ),
    # Torchvision drops pixels beyond the last whole patch, we fill the patch up: sides are multiples of 4.
    Pair("swin_t", tv.swin_t, "torchvision Swin", sizes=((64, 64), (76, 100), (256, 224))),
    Pair("swin_t", _timm("swin_tiny_patch4_window7_224"), TIMM, sizes=((224, 224),)),
    Pair("convnext_tiny", tv.convnext_tiny, "torchvision ConvNeXt"),
    Pair("convnext_tiny", _timm("convnext_tiny"), TIMM),
    Pair("mobilevit_xxs", _timm("mobilevit_xxs"), TIMM, sizes=((64, 64), (96, 160), (75, 101))),
    Pair("darknet53", _leaky, TIMM, sizes=((64, 64),)),
    Pair("cspdarknet53", _mish, TIMM, sizes=((64, 64), (75, 101))),
    Pair("cspdarknet53", _timm("cspdarknet53"), TIMM, {"negative_slope": 0.01}, sizes=((64, 64),)),
    Pair("hrnet_w18_small", _timm("hrnet_w18_small"), TIMM, sizes=((64, 64), (96, 160))),
)


@torch.no_grad()
def _enliven(model: nn.Module) -> None:
    """No norm, no scale, no statistic and no head at its starting value, so that no branch is silent."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.ndim == 1 and name.endswith("weight"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5)
        elif tensor.ndim == 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
        elif name.endswith(("layer_scale", "gamma")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5)
        elif not tensor.any() or "relative_position_bias" in name or "pos_" in name:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.builder}-{pair.layout}")
def test_their_file_gives_their_logits(pair: Pair, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = pair.reference().eval()
    _enliven(reference)
    file = tmp_path / "theirs.pth"
    torch.save(reference.state_dict(), file)
    model = _ours(pair)
    report = load_weights(model, file)
    file.unlink()
    assert report.recognised == pair.layout
    assert report.missing == report.unexpected == report.head == ()
    for size in pair.sizes:
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected, found = reference(images), model.eval()(images)["logits"]
        assert expected.std() > 1e-3
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max(), size


def _ours(pair: Pair) -> Model:
    if pair.builder != "vit_b_32":
        return create_model(pair.builder, **pair.options)
    # Two blocks are enough to compare; the published depth is compared by name and shape below.
    model = create_model(pair.builder, **pair.options)
    model.blocks = model.blocks[:2]
    return model


# All other variants: every name and shape of the publisher's file has its counterpart.
VARIANTS: dict[str, Callable[[], nn.Module]] = {
    **{
        name: getattr(tv, name)
        for name in (
            "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "resnext101_32x8d", "resnext101_64x4d",
            "shufflenet_v2_x1_0", "shufflenet_v2_x2_0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
            "efficientnet_b4", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_m", "efficientnet_v2_l",
            "vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14", "swin_s", "swin_b", "convnext_small",
            "convnext_base", "convnext_large",
        )
    },
    "vit_s_16": _timm("vit_small_patch16_224"),
    "vit_s_32": _timm("vit_small_patch32_224"),
    "vit_r50_l_32": _timm("vit_large_r50_s32_224"),
    "swin_l": _timm("swin_large_patch4_window7_224"),
    "convnext_xlarge": _timm("convnext_xlarge"),
    "mobilevit_xs": _timm("mobilevit_xs"),
    "mobilevit_s": _timm("mobilevit_s"),
    **{f"hrnet_w{width}": _timm(f"hrnet_w{width}") for width in (18, 30, 32, 40, 44, 48, 64)},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_every_name_and_shape_has_its_counterpart(name: str) -> None:
    with torch.device("meta"):
        reference, model = VARIANTS[name](), create_model(name)
    state = reference.state_dict()
    (layout,) = [one for one in layouts() if one.matches(set(state))]
    found = {key: tuple(value.shape) for key, value in layout.convert(state, model).items()}
    assert found == {key: tuple(value.shape) for key, value in model.state_dict().items()}


def test_one_layout_recognises_each_file() -> None:
    """Of all publishers' files of this library's tests, none is claimed by two layouts."""
    references = {f"{pair.builder} {pair.layout}": pair.reference for pair in PAIRS}
    for name, build in references.items():
        with torch.device("meta"):
            keys = set(build().state_dict())
        matching = [layout.NAME for layout in layouts() if layout.matches(keys)]
        assert len(matching) == 1, f"{name}: {matching}"
