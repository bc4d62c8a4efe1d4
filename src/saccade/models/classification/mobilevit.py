"""MobileViT: transformers inside a small convolutional network.

Paper: Sachin Mehta, Mohammad Rastegari, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision
Transformer", ICLR 2022, arXiv 2110.02178.

A convolution is unfold, multiply, fold. A MobileViT block puts a transformer where the multiplication is: the feature
map is unfolded into patches of 2 x 2 pixels, pixels at the same position in all patches attend to each other, and the
feature map is folded back. As a 3x3 convolution before has mixed the pixels of each patch, every pixel depends on all
others at a quarter of the attention's cost; and as neither pixels nor patches lose their order, no position embedding
is needed.

    image             3 x 256 x 256        channels  XXS   XS    S      (table 4 of the appendix)
    3x3 / 2          16 x 128 x 128
    MV2               . x 128 x 128                   16    32    32
    MV2 / 2, 2 MV2    . x  64 x  64                   24    48    64
    MV2 / 2, block    . x  32 x  32                   48    64    96    transformer 64 / 96 / 144 wide, 2 layers
    MV2 / 2, block    . x  16 x  16                   64    80   128                80 / 120 / 192, 4 layers
    MV2 / 2, block    . x   8 x   8                   80    96   160                96 / 144 / 240, 3 layers
    1x1               . x   8 x   8                  320   384   640
    mean over space, dropout 0.1, fc 1000

    block: x -> 3x3 -> 1x1 -> unfold -> L x transformer -> fold -> 1x1 -> concatenated with x -> 3x3

Differences from the paper: none in the layers. Feature maps whose sides are no multiple of 2 are resized bilinearly
for the transformer and back, as the authors' code does. Names of modules are timm's.

Published weights: timm, converted from the authors'; pixels of 0..1.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.blocks.transformer import BlockSettings, TransformerBlock
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["InvertedResidual", "MobileViT", "MobileViTBlock", "Widths", "mobilevit_s", "mobilevit_xs", "mobilevit_xxs"]

PAPER = "Mehta and Rastegari, ICLR 2022, arXiv 2110.02178"

PATCH = 2
_SiLU = partial(nn.SiLU, inplace=True)
_Convolution = partial(ConvNormAct, activation=_SiLU)


class Widths(NamedTuple):
    """Widths of a MobileViT: a column of table 4.

    Args:
        stages: Channels out of the five stages.
        transformers: Channels of the tokens in the last three.
        expansion: Expansion factor of the inverted residuals.
        last: Channels of the last 1x1.

    Example:
        >>> XXS.stages, XXS.last
        ((16, 24, 48, 64, 80), 320)
    """

    stages: tuple[int, int, int, int, int]
    transformers: tuple[int, int, int]
    expansion: int
    last: int


XXS = Widths((16, 24, 48, 64, 80), (64, 80, 96), 2, 320)
XS = Widths((32, 48, 64, 80, 96), (96, 120, 144), 4, 384)
S = Widths((32, 64, 96, 128, 160), (144, 192, 240), 4, 640)


class InvertedResidual(nn.Module):
    """Inverted residual with SiLU: MobileNetV2's unit ("MV2").

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        expansion: Factor on the channels inside.
        stride: Stride of the depthwise convolution.

    Example:
        >>> InvertedResidual(16, 24, expansion=2, stride=2)(torch.zeros(1, 16, 16, 16)).shape
        torch.Size([1, 24, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.conv1_1x1 = _Convolution(in_channels, hidden)
        self.conv2_kxk = _Convolution(hidden, hidden, 3, stride, groups=hidden)
        self.conv3_1x1 = ConvNormAct(hidden, out_channels, activation=nn.Identity)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out: Tensor = self.conv3_1x1(self.conv2_kxk(self.conv1_1x1(x)))
        return x + out if self.has_shortcut else out


class MobileViTBlock(nn.Module):
    """MobileViT block: local convolutions, a transformer over patches, fusion with the input (figure 1b).

    Args:
        channels: Channels in and out.
        width: Channels of a token.
        depth: Transformer blocks.

    Example:
        >>> MobileViTBlock(channels=48, width=64, depth=2)(torch.zeros(1, 48, 16, 16)).shape
        torch.Size([1, 48, 16, 16])
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        settings = BlockSettings(width, heads=4, mlp_channels=2 * width, activation=nn.SiLU, eps=1e-5)
        self.conv_kxk = _Convolution(channels, channels, 3)
        self.conv_1x1 = nn.Conv2d(channels, width, 1, bias=False)
        self.transformer = nn.Sequential(*(TransformerBlock(settings) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, 1e-5)
        self.conv_proj = _Convolution(width, channels)
        self.conv_fusion = _Convolution(2 * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y = self.conv_1x1(self.conv_kxk(x))  # (B, d, H, W)
        size = (y.shape[2], y.shape[3])
        rows, columns = (math.ceil(side / PATCH) for side in size)
        whole = (rows * PATCH, columns * PATCH)
        if size != whole:
            y = F.interpolate(y, whole, mode="bilinear", align_corners=False)
        batch, width = y.shape[0], y.shape[1]
        patches = y.view(batch, width, rows, PATCH, columns, PATCH)
        # P = 4 positions in a patch, N patches: pixels at one position are a sequence of their own (equation 1).
        tokens = patches.permute(0, 3, 5, 2, 4, 1).reshape(batch * PATCH**2, rows * columns, width)
        tokens = self.norm(self.transformer(tokens))
        patches = tokens.view(batch, PATCH, PATCH, rows, columns, width).permute(0, 5, 3, 1, 4, 2)
        y = patches.reshape(batch, width, *whole)
        if size != whole:
            y = F.interpolate(y, size, mode="bilinear", align_corners=False)
        out: Tensor = self.conv_fusion(torch.cat((x, self.conv_proj(y)), dim=1))
        return out


class MobileViT(Classifier):
    """MobileViT classifier: stem, five stages, a last 1x1 convolution, global mean, fc (table 4).

    Args:
        widths: ``XXS``, ``XS`` or ``S``.
        num_classes: Outputs of the fc layer.
        dropout: Dropout rate before the fc layer.

    Example:
        >>> model = MobileViT(XXS, num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(16, 32, 32), (24, 16, 16), (48, 8, 8), (64, 4, 4), (320, 2, 2)]
    """

    stage_names = ("stem", *(f"stages.{number}" for number in range(5)), "final_conv")
    head_names = ("head.fc",)
    class_rows = linear_rows("head.fc")
    input_spec = replace(
        IMAGENET_SPEC, size=(256, 256), mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0), crop_fraction=0.9
    )
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(self, widths: Widths, num_classes: int = 1000, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_classes = num_classes
        unit = partial(InvertedResidual, expansion=widths.expansion)
        first, second, third, fourth, fifth = widths.stages
        self.stem = _Convolution(3, 16, 3, 2)
        self.stages = nn.Sequential(
            nn.Sequential(unit(16, first)),
            nn.Sequential(unit(first, second, stride=2), unit(second, second), unit(second, second)),
            nn.Sequential(unit(second, third, stride=2), MobileViTBlock(third, widths.transformers[0], 2)),
            nn.Sequential(unit(third, fourth, stride=2), MobileViTBlock(fourth, widths.transformers[1], 4)),
            nn.Sequential(unit(fourth, fifth, stride=2), MobileViTBlock(fifth, widths.transformers[2], 3)),
        )
        self.final_conv = _Convolution(fifth, widths.last)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.ModuleDict({"fc": nn.Linear(widths.last, num_classes)})
        self.feature_channels = (first, second, third, fourth, widths.last)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of stages 1 to 4 and of the last 1x1, at strides 2 to 32; images (B, 3, H, W)."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [*maps[:-1], self.final_conv(x)]

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        pooled = self.features(images)[-1].mean((2, 3))
        return {"logits": self.head["fc"](self.dropout(pooled))}


@register_model("classification", PAPER, Reported(params=1.3e6, top1=69.0, source="figure 6"))
def mobilevit_xxs(num_classes: int = 1000, dropout: float = 0.1, weights: str | None = None) -> MobileViT:
    """MobileViT-XXS; 1.3 M parameters, 0.41 G multiply-adds at 256 x 256.

    Example:
        >>> mobilevit_xxs(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return MobileViT(XXS, num_classes, dropout)


@register_model("classification", PAPER, Reported(params=2.3e6, top1=74.8, source="figure 6"))
def mobilevit_xs(num_classes: int = 1000, dropout: float = 0.1, weights: str | None = None) -> MobileViT:
    """MobileViT-XS; 2.3 M parameters, 1.0 G multiply-adds at 256 x 256."""
    return MobileViT(XS, num_classes, dropout)


@register_model("classification", PAPER, Reported(params=5.6e6, top1=78.4, source="figure 6"))
def mobilevit_s(num_classes: int = 1000, dropout: float = 0.1, weights: str | None = None) -> MobileViT:
    """MobileViT-S; 5.6 M parameters, 2.0 G multiply-adds at 256 x 256."""
    return MobileViT(S, num_classes, dropout)
