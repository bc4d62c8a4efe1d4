"""ShuffleNetV2: a network designed by the clock rather than by counting operations.

Paper: Ningning Ma, Xiangyu Zhang, Hai-Tao Zheng, Jian Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN
Architecture Design", ECCV 2018, arXiv 1807.11164.

What takes time on real devices is also memory traffic, so: as many channels out as in, few groups, few branches, few
elementwise operations (guidelines G1 to G4). The unit splits its channels: one half passes untouched, the other
goes through three convolutions without groups, and the two are concatenated and shuffled, so that nothing is added.

    unit, stride 1 (figure 3c):  x -> split -+------------------------------------------------+-> concat -> shuffle
                                             +-> 1x1, ReLU -> depthwise 3x3 -> 1x1, ReLU -----+
    unit, stride 2 (figure 3d):  no split; the other branch is depthwise 3x3 / 2 -> 1x1, ReLU

    image             3 x 224 x 224        channels (table 5)  x0.5   x1   x1.5    x2
    3x3 / 2          24 x 112 x 112
    max pool 3x3 / 2 24 x  56 x  56
    stage 2, 1 + 3    . x  28 x  28                             48   116   176   244
    stage 3, 1 + 7    . x  14 x  14                             96   232   352   488
    stage 4, 1 + 3    . x   7 x   7                            192   464   704   976
    1x1               . x   7 x   7                           1024  1024  1024  2048
    mean over space, fc 1000

Differences from the paper: none in the layers. Weights start from He's initialisation (the paper prints none).

Published weights: torchvision, under its names.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from saccade.blocks.channel_shuffle import channel_shuffle
from saccade.blocks.conv_norm_act import ConvNormActSequence
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "ShuffleNetV2", "SplitUnit", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
]  # fmt: skip

PAPER = "Ma et al., ECCV 2018, arXiv 1807.11164"

DEPTHS = (4, 8, 4)

_Linear = partial(ConvNormActSequence, activation=None)


class SplitUnit(nn.Module):
    """ShuffleNetV2 unit: two branches, concatenated and shuffled (figure 3c and d).

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        stride: 1 with a split of the input, 2 without.

    Example:
        >>> SplitUnit(24, 116, stride=2)(torch.zeros(1, 24, 16, 16)).shape
        torch.Size([1, 116, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        half = out_channels // 2
        own = in_channels if stride == 2 else in_channels // 2
        self.stride = stride
        # Parts are laid out flat, as published: convolution and BN one after the other.
        self.branch1 = (
            nn.Sequential(*_Linear(own, own, 3, 2, groups=own), *ConvNormActSequence(own, half))
            if stride == 2
            else nn.Sequential()
        )
        self.branch2 = nn.Sequential(
            *ConvNormActSequence(own, half),
            *_Linear(half, half, 3, stride, groups=half),
            *ConvNormActSequence(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        if self.stride == 2:
            past, through = self.branch1(x), self.branch2(x)
        else:
            past, through = x.chunk(2, dim=1)
            through = self.branch2(through)
        return channel_shuffle(torch.cat((past, through), dim=1), 2)


class ShuffleNetV2(Classifier):
    """ShuffleNetV2 classifier: stem, three stages, a last 1x1 convolution, global mean, fc (table 5).

    Args:
        widths: Channels of stages 2 to 4 and of the last 1x1.
        num_classes: Outputs of the fc layer.

    Example:
        >>> model = ShuffleNetV2((48, 96, 192, 1024), num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(24, 32, 32), (24, 16, 16), (48, 8, 8), (96, 4, 4), (1024, 2, 2)]
    """

    stage_names = ("conv1", "stage2", "stage3", "stage4", "conv5")
    head_names = ("fc",)
    class_rows = linear_rows("fc")
    input_spec = IMAGENET_SPEC
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels = 24
        self.conv1 = ConvNormActSequence(3, channels, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        stages = []
        for width, depth in zip(widths, DEPTHS, strict=False):
            units = (SplitUnit(width, width) for _ in range(depth - 1))
            stages.append(nn.Sequential(SplitUnit(channels, width, 2), *units))
            channels = width
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = ConvNormActSequence(channels, widths[3])
        self.fc = nn.Linear(widths[3], num_classes)
        self.feature_channels = (24, 24, widths[0], widths[1], widths[3])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the stem, before and after pooling, stages 2 and 3 and the last 1x1; images (B, 3, H, W)."""
        c1 = self.conv1(images)
        c2 = self.maxpool(c1)
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return [c1, c2, c3, c4, self.conv5(self.stage4(c4))]

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.fc(self.features(images)[-1].mean((2, 3)))}


@register_model("classification", PAPER, Reported(params=1.4e6, macs=41e6, top1=60.3, source="tables 5 and 8"))
def shufflenet_v2_x0_5(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV2:
    """ShuffleNetV2 x0.5; 1.4 M parameters, 40 M multiply-adds."""
    return ShuffleNetV2((48, 96, 192, 1024), num_classes)


@register_model("classification", PAPER, Reported(params=2.3e6, macs=146e6, top1=69.4, source="tables 5 and 8"))
def shufflenet_v2_x1_0(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV2:
    """ShuffleNetV2 x1; 2.3 M parameters, 145 M multiply-adds.

    Example:
        >>> shufflenet_v2_x1_0(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return ShuffleNetV2((116, 232, 464, 1024), num_classes)


@register_model("classification", PAPER, Reported(params=3.5e6, macs=299e6, top1=72.6, source="tables 5 and 8"))
def shufflenet_v2_x1_5(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV2:
    """ShuffleNetV2 x1.5; 3.5 M parameters, 296 M multiply-adds."""
    return ShuffleNetV2((176, 352, 704, 1024), num_classes)


@register_model("classification", PAPER, Reported(params=7.4e6, macs=591e6, top1=74.9, source="tables 5 and 8"))
def shufflenet_v2_x2_0(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV2:
    """ShuffleNetV2 x2; 7.4 M parameters, 583 M multiply-adds."""
    return ShuffleNetV2((244, 488, 976, 2048), num_classes)
