"""ShuffleNet: grouped 1x1 convolutions whose groups exchange channels.

Paper: Xiangyu Zhang, Xinyu Zhou, Mengxiao Lin, Jian Sun, "ShuffleNet: An Extremely Efficient Convolutional Neural
Network for Mobile Devices", CVPR 2018, arXiv 1707.01083.

In small networks most of the work is in 1x1 convolutions. Done in g groups they cost 1/g, which pays for more channels;
but then each group would only ever see its own channels. So after the first of two grouped 1x1 convolutions the
channels are shuffled: every group of the second gets a share of every group of the first.

    unit, stride 1 (figure 2b):  x -> 1x1 g, BN, ReLU -> shuffle -> depthwise 3x3, BN -> 1x1 g, BN -> + x -> ReLU
    unit, stride 2 (figure 2c):  the same, 3x3 / 2, concatenated with a 3x3 / 2 average pooling of x, ReLU

    image             3 x 224 x 224        output channels by g (table 1)
    3x3 / 2          24 x 112 x 112        1    2    3    4    8
    max pool 3x3 / 2 24 x  56 x  56
    stage 2, 1 + 3    . x  28 x  28      144  200  240  272  384
    stage 3, 1 + 7    . x  14 x  14      288  400  480  544  768
    stage 4, 1 + 3    . x   7 x   7      576  800  960 1088 1536
    mean over space, fc 1000

Differences from the paper: none in the layers. The first 1x1 of stage 2 is not grouped (its input has 24 channels
only), and a unit's 3x3 has a quarter of its output's channels. Weights start from He's initialisation (the paper prints
none).

Published weights: none under this layout.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.channel_shuffle import channel_shuffle
from saccade.blocks.conv_norm_act import ConvNormActSequence
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "ShuffleNetV1", "ShuffleUnit", "shufflenet_v1_g1", "shufflenet_v1_g2", "shufflenet_v1_g3", "shufflenet_v1_g4",
    "shufflenet_v1_g8",
]  # fmt: skip

PAPER = "Zhang et al., CVPR 2018, arXiv 1707.01083"

# Table 1: output channels of stage 2 by groups; each later stage doubles them.
STAGE_2: Final = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
DEPTHS = (4, 8, 4)

_Linear = partial(ConvNormActSequence, activation=None)


class ShuffleUnit(nn.Module):
    """ShuffleNet unit: grouped 1x1, channel shuffle, depthwise 3x3, grouped 1x1 (figure 2b and c).

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        groups: Groups of the 1x1 convolutions.
        stride: 1 with a shortcut that is added, 2 with one that is pooled and concatenated.
        first_groups: Groups of the first 1x1, where they differ.

    Example:
        >>> ShuffleUnit(24, 240, groups=3, stride=2, first_groups=1)(torch.zeros(1, 24, 16, 16)).shape
        torch.Size([1, 240, 8, 8])
    """

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, stride: int = 1, first_groups: int | None = None
    ) -> None:
        super().__init__()
        hidden = out_channels // 4
        self.groups = groups
        self.stride = stride
        own = out_channels - in_channels if stride == 2 else out_channels  # the pooled shortcut brings the rest
        self.compress = ConvNormActSequence(in_channels, hidden, groups=first_groups or groups)
        self.depthwise = _Linear(hidden, hidden, 3, stride, groups=hidden)
        self.expand = _Linear(hidden, own, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        y = channel_shuffle(self.compress(x), self.groups)
        y = self.expand(self.depthwise(y))
        if self.stride == 2:
            return F.relu(torch.cat((F.avg_pool2d(x, 3, 2, padding=1), y), dim=1))
        return F.relu(x + y)


class ShuffleNetV1(Classifier):
    """ShuffleNet classifier: stem, three stages, global mean, fc (table 1).

    Args:
        groups: Groups of the 1x1 convolutions (g): 1, 2, 3, 4 or 8.
        num_classes: Outputs of the fc layer.

    Example:
        >>> model = ShuffleNetV1(groups=3, num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(24, 32, 32), (24, 16, 16), (240, 8, 8), (480, 4, 4), (960, 2, 2)]
    """

    stage_names = ("conv1", "stage2", "stage3", "stage4")
    head_names = ("fc",)
    class_rows = linear_rows("fc")
    input_spec = IMAGENET_SPEC
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(self, groups: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels = 24
        self.conv1 = ConvNormActSequence(3, channels, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        widths = [STAGE_2[groups] * 2**number for number in range(3)]
        stages = []
        for number, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            first = ShuffleUnit(channels, width, groups, 2, first_groups=1 if number == 0 else None)
            stages.append(nn.Sequential(first, *(ShuffleUnit(width, width, groups) for _ in range(depth - 1))))
            channels = width
        self.stage2, self.stage3, self.stage4 = stages
        self.fc = nn.Linear(channels, num_classes)
        self.feature_channels = (24, 24, *widths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the stem, the pooled stem and the three stages, at strides 2 to 32; images (B, 3, H, W)."""
        x = self.conv1(images)
        maps = [x]
        x = self.maxpool(x)
        maps.append(x)
        for stage in (self.stage2, self.stage3, self.stage4):
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.fc(self.features(images)[-1].mean((2, 3)))}


@register_model("classification", PAPER, Reported(macs=143e6, top1=66.4, source="tables 1 and 2"))
def shufflenet_v1_g1(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV1:
    """ShuffleNet with 1 group; 1.5 M parameters, 143 M multiply-adds."""
    return ShuffleNetV1(1, num_classes)


@register_model("classification", PAPER, Reported(macs=140e6, top1=67.3, source="tables 1 and 2"))
def shufflenet_v1_g2(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV1:
    """ShuffleNet with 2 groups; 1.7 M parameters, 141 M multiply-adds."""
    return ShuffleNetV1(2, num_classes)


@register_model("classification", PAPER, Reported(macs=137e6, top1=67.4, source="tables 1 and 2"))
def shufflenet_v1_g3(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV1:
    """ShuffleNet with 3 groups; 1.9 M parameters, 137 M multiply-adds.

    Example:
        >>> shufflenet_v1_g3(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return ShuffleNetV1(3, num_classes)


@register_model("classification", PAPER, Reported(macs=133e6, top1=67.2, source="tables 1 and 2"))
def shufflenet_v1_g4(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV1:
    """ShuffleNet with 4 groups; 2.0 M parameters, 134 M multiply-adds."""
    return ShuffleNetV1(4, num_classes)


@register_model("classification", PAPER, Reported(macs=137e6, top1=67.6, source="tables 1 and 2"))
def shufflenet_v1_g8(num_classes: int = 1000, weights: str | None = None) -> ShuffleNetV1:
    """ShuffleNet with 8 groups; 2.4 M parameters, 138 M multiply-adds."""
    return ShuffleNetV1(8, num_classes)
