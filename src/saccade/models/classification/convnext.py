"""ConvNeXt: a ResNet modernised choice by choice after Swin, without attention.

Paper: Zhuang Liu, Hanzi Mao, Chao-Yuan Wu, Christoph Feichtenhofer, Trevor Darrell, Saining Xie, "A ConvNet for the
2020s", CVPR 2022, arXiv 2201.03545.

Starting from ResNet-50, one choice of Swin's after the other is taken over: its training, the stages' proportions
(1:1:3:1), a stem of patches, depthwise convolutions in place of attention, an inverted bottleneck as the MLP is, 7x7
kernels, fewer activations and norms, LayerNorm and GELU. The result is a plain convolutional network that keeps up with
Swin at equal work.

    image            3 x 224 x 224              C            blocks (section 3)
    4x4 / 4, LN      C  x 56 x 56          T    96           3 3  9 3
    stage 1          C  x 56 x 56          S    96           3 3 27 3
    LN, 2x2 / 2      2C x 28 x 28          B   128           3 3 27 3
    LN, 2x2 / 2      4C x 14 x 14          L   192           3 3 27 3
    LN, 2x2 / 2      8C x  7 x  7          XL  256           3 3 27 3
    mean over space, LN, fc 1000

    block:  x + gamma * 1x1(GELU(1x1(LN(depthwise 7x7(x))))), the MLP four times as wide inside

Differences from the paper: none in the layers. Names of modules are timm's.

Published weights: torchvision (T to L) and timm (XL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.depthwise_conv import DepthwiseConv2d
from saccade.blocks.stochastic_depth import StochasticDepth, linear_rates
from saccade.blocks.transformer import Mlp
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "ConvNeXt", "ConvNeXtBlock", "LayerNorm2d", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny",
    "convnext_xlarge",
]  # fmt: skip

PAPER = "Liu et al., CVPR 2022, arXiv 2201.03545"


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels at each location of a feature map.

    Example:
        >>> x = LayerNorm2d(8)(torch.randn(1, 8, 4, 4))
        >>> bool(x.mean(dim=1).abs().max() < 1e-5)
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return out.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block: depthwise 7x7, LayerNorm, MLP, layer scale, shortcut (figure 4).

    Args:
        channels: Channels in and out.
        stochastic_depth: Rate at which the branch is left out.
        layer_scale: Initial value of gamma (Touvron et al. 2021, CaiT, equation 4).

    Example:
        >>> ConvNeXtBlock(16, stochastic_depth=0.0)(torch.zeros(1, 16, 14, 14)).shape
        torch.Size([1, 16, 14, 14])
    """

    def __init__(self, channels: int, stochastic_depth: float, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.conv_dw = DepthwiseConv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, 1e-6)
        self.mlp = Mlp(channels, 4 * channels)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale))
        self.drop_path = StochasticDepth(stochastic_depth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y = self.conv_dw(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = self.gamma * self.mlp(self.norm(y))
        out: Tensor = x + self.drop_path(y.permute(0, 3, 1, 2))
        return out


class ConvNeXtStage(nn.Module):
    """ConvNeXt stage: LayerNorm and a strided 2x2 convolution (except in the first stage), then blocks."""

    def __init__(self, in_channels: int, channels: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.downsample = (
            nn.Identity()
            if in_channels == channels
            else nn.Sequential(LayerNorm2d(in_channels, 1e-6), nn.Conv2d(in_channels, channels, 2, 2))
        )
        self.blocks = nn.Sequential(*(ConvNeXtBlock(channels, rate) for rate in rates))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x))
        return out


class ConvNeXt(Classifier):
    """ConvNeXt classifier: patch stem, four stages, global mean, LayerNorm, fc.

    Args:
        channels: Channels of the first stage (C); each later stage doubles them.
        depths: Blocks of the four stages.
        num_classes: Outputs of the fc layer.
        stochastic_depth: Rate of the last block; lower ones have proportionally less (table 5).

    Example:
        >>> model = ConvNeXt(16, (1, 1, 1, 1), num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2)]
    """

    stage_names = ("stem", *(f"stages.{number}" for number in range(4)), "head.norm")
    head_names = ("head.fc",)
    class_rows = linear_rows("head.fc")
    unused_by_features = ("head",)
    feature_strides = (4, 8, 16, 32)

    def __init__(
        self, channels: int, depths: Sequence[int], num_classes: int = 1000, stochastic_depth: float = 0.1
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.input_spec = IMAGENET_SPEC
        widths = [channels * 2**number for number in range(len(depths))]
        rates = linear_rates(stochastic_depth, sum(depths))
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 4, 4), LayerNorm2d(channels, 1e-6))
        stages, done, before = [], 0, channels
        for width, depth in zip(widths, depths, strict=True):
            stages.append(ConvNeXtStage(before, width, rates[done : done + depth]))
            before, done = width, done + depth
        self.stages = nn.Sequential(*stages)
        self.head = nn.ModuleDict({"norm": nn.LayerNorm(before, 1e-6), "fc": nn.Linear(before, num_classes)})
        self.feature_channels = tuple(widths)
        # Appendix A.1 (after BEiT): stages 1, 2 and 4 are a layer each, of stage 3 every three blocks are one.
        third = [f"stages.2.blocks.{block}" for block in range(depths[2])]
        threes = [tuple(third[block : block + 3]) for block in range(0, depths[2], 3)]
        threes[0] += ("stages.2.downsample",)
        self.layer_names = (("stem",), ("stages.0",), ("stages.1",), *threes, ("stages.3",), ("head.norm",))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the four stages, at strides 4 to 32; images (B, 3, H, W)."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        pooled = self.stages(self.stem(images)).mean((2, 3))
        return {"logits": self.head["fc"](self.head["norm"](pooled))}


def _convnext(
    channels: int, depths: tuple[int, ...], num_classes: int, stochastic_depth: float, resize: int
) -> ConvNeXt:
    model = ConvNeXt(channels, depths, num_classes, stochastic_depth)
    model.input_spec = replace(IMAGENET_SPEC, crop_fraction=224 / resize)
    return model


@register_model("classification", PAPER, Reported(params=29e6, macs=4.5e9, top1=82.1, source="table 1"))
def convnext_tiny(num_classes: int = 1000, stochastic_depth: float = 0.1, weights: str | None = None) -> ConvNeXt:
    """ConvNeXt-T; 28.6 M parameters, 4.5 G multiply-adds.

    Example:
        >>> with torch.device("meta"):  # shapes alone, without memory
        ...     model = convnext_tiny()
        >>> sum(parameter.numel() for parameter in model.parameters())
        28589128
    """
    return _convnext(96, (3, 3, 9, 3), num_classes, stochastic_depth, 236)


@register_model("classification", PAPER, Reported(params=50e6, macs=8.7e9, top1=83.1, source="table 1"))
def convnext_small(num_classes: int = 1000, stochastic_depth: float = 0.4, weights: str | None = None) -> ConvNeXt:
    """ConvNeXt-S; 50.2 M parameters, 8.7 G multiply-adds."""
    return _convnext(96, (3, 3, 27, 3), num_classes, stochastic_depth, 230)


@register_model("classification", PAPER, Reported(params=89e6, macs=15.4e9, top1=83.8, source="table 1"))
def convnext_base(num_classes: int = 1000, stochastic_depth: float = 0.5, weights: str | None = None) -> ConvNeXt:
    """ConvNeXt-B; 88.6 M parameters, 15.4 G multiply-adds."""
    return _convnext(128, (3, 3, 27, 3), num_classes, stochastic_depth, 232)


@register_model("classification", PAPER, Reported(params=198e6, macs=34.4e9, top1=84.3, source="table 1"))
def convnext_large(num_classes: int = 1000, stochastic_depth: float = 0.5, weights: str | None = None) -> ConvNeXt:
    """ConvNeXt-L; 197.8 M parameters, 34.4 G multiply-adds."""
    return _convnext(192, (3, 3, 27, 3), num_classes, stochastic_depth, 232)


@register_model(
    "classification", PAPER, Reported(params=350e6, macs=60.9e9, top1=87.0, source="table 1, ImageNet-22K first")
)
def convnext_xlarge(num_classes: int = 1000, stochastic_depth: float = 0.2, weights: str | None = None) -> ConvNeXt:
    """ConvNeXt-XL; 350.2 M parameters, 60.9 G multiply-adds.

    Example:
        >>> with torch.device("meta"):  # no memory for 350 million parameters
        ...     model = convnext_xlarge()
        >>> model.feature_channels
        (256, 512, 1024, 2048)
    """
    return _convnext(256, (3, 3, 27, 3), num_classes, stochastic_depth, 256)
