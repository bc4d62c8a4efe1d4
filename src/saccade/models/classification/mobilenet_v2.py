"""MobileNetV2: residual units turned inside out.

Paper: Mark Sandler, Andrew Howard, Menglong Zhu, Andrey Zhmoginov, Liang-Chieh Chen, "MobileNetV2: Inverted Residuals
and Linear Bottlenecks", CVPR 2018, arXiv 1801.04381.

The information of a layer fits into few channels, but a ReLU on few channels destroys it. So shortcuts connect the
narrow feature maps, inside a unit the channels are expanded sixfold for a cheap depthwise convolution, and the
projection back to few channels is linear.

    unit:  x -> 1x1 (t times the channels), ReLU6 -> depthwise 3x3 / s, ReLU6 -> 1x1, linear -> + x where shapes agree

    image             3 x 224 x 224          t  c    n  s     (table 2)
    3x3 / 2          32 x 112 x 112
    units            16 x 112 x 112          1  16   1  1
                     24 x  56 x  56          6  24   2  2
                     32 x  28 x  28          6  32   3  2
                     64 x  14 x  14          6  64   4  2
                     96 x  14 x  14          6  96   3  1
                    160 x   7 x   7          6  160  3  2
                    320 x   7 x   7          6  320  1  1
    1x1            1280 x   7 x   7
    mean over space, dropout, fc 1000

Differences from the paper: none in the layers. Weights start from He's initialisation (the paper prints none).
``output_stride`` replaces the stride of the last one or two strided units by dilation of the units after them, for
dense models; the last 1x1 does not widen below 1280 channels for width multipliers below 1 (section 5).

Published weights: torchvision; its names, with ``features`` called ``trunk``.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from saccade.blocks.collect_features import collect_features
from saccade.blocks.conv_norm_act import ConvNormActSequence
from saccade.blocks.make_divisible import make_divisible
from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["InvertedResidual", "MobileNetV2", "mobilenet_v2", "mobilenet_v2_1_4"]

PAPER = "Sandler et al., CVPR 2018, arXiv 1801.04381"

# Table 2: expansion t, channels c, units n, stride s of the first.
UNITS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

_Convolution = partial(ConvNormActSequence, activation=partial(nn.ReLU6, inplace=True))


class InvertedResidual(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise 3x3, linear 1x1 projection (figure 3b, table 1).

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        expansion: Factor on the channels inside (t); at 1 the first 1x1 is left out.
        stride: Stride of the depthwise convolution.
        dilation: Dilation of the depthwise convolution.

    Example:
        >>> InvertedResidual(24, 32, expansion=6, stride=2)(torch.zeros(1, 24, 16, 16)).shape
        torch.Size([1, 32, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_Convolution(in_channels, hidden)]
        self.conv = nn.Sequential(
            *layers,
            _Convolution(hidden, hidden, 3, stride, groups=hidden, dilation=dilation),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out


class MobileNetV2(Classifier):
    """MobileNetV2 classifier: stem, seventeen inverted residuals, a last 1x1 convolution, fc (table 2).

    Args:
        num_classes: Outputs of the fc layer.
        width: Multiplier on all channels.
        dropout: Dropout rate before the fc layer.
        output_stride: Stride of the last feature map: 32, or 16 or 8 with dilation.

    Raises:
        ConfigError: If ``output_stride`` is none of these.

    Example:
        >>> model = MobileNetV2(num_classes=3, output_stride=8)  # for dense models
        >>> model.feature_strides, tuple(model.features(torch.zeros(1, 3, 64, 64))[-1].shape)
        ((2, 4, 8, 8, 8), (1, 1280, 8, 8))
    """

    stage_names = tuple(f"trunk.{number}" for number in range(19))
    head_names = ("classifier.1",)
    class_rows = linear_rows("classifier.1")
    unused_by_features = ("classifier",)
    input_spec = IMAGENET_SPEC

    def __init__(
        self, num_classes: int = 1000, width: float = 1.0, dropout: float = 0.2, output_stride: int = 32
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"MobileNetV2 has no output_stride {output_stride}; choose 8, 16 or 32.")
        self.num_classes = num_classes
        channels = make_divisible(32 * width)
        layers: list[nn.Module] = [_Convolution(3, channels, 3, 2)]
        ends, widths, strides = [], [], []  # last unit, its channels and its stride, before each halving
        stride, dilation = 2, 1
        for expansion, base, depth, first_stride in UNITS:
            out_channels = make_divisible(base * width)
            step = first_stride if stride * first_stride <= output_stride else 1
            if first_stride == 2:
                ends.append(len(layers) - 1)
                widths.append(channels)
                strides.append(stride)
            for unit in range(depth):
                layers.append(InvertedResidual(channels, out_channels, expansion, step if unit == 0 else 1, dilation))
                channels = out_channels
                if unit == 0:  # the stride that the first unit gives up dilates the units after it
                    stride, dilation = stride * step, dilation * first_stride // step
        last = make_divisible(1280 * max(1.0, width))
        layers.append(_Convolution(channels, last))
        self.trunk = nn.Sequential(*layers)
        self.feature_ends = (*ends, len(layers) - 1)
        self.feature_channels = (*widths, last)
        self.feature_strides = (*strides, stride)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """The last feature map at each stride from 2 on, the last of 1280 channels; images (B, 3, H, W)."""
        return collect_features(self.trunk, images, self.feature_ends)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.classifier(self.trunk(images).mean((2, 3)))}


@register_model("classification", PAPER, Reported(params=3.4e6, macs=300e6, top1=72.0, source="table 4"))
def mobilenet_v2(
    num_classes: int = 1000,
    width: float = 1.0,
    dropout: float = 0.2,
    output_stride: int = 32,
    weights: str | None = None,
) -> MobileNetV2:
    """MobileNetV2 of width 1; 3.5 M parameters, 301 M multiply-adds.

    Example:
        >>> mobilenet_v2(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return MobileNetV2(num_classes, width, dropout, output_stride)


@register_model("classification", PAPER, Reported(params=6.9e6, macs=585e6, top1=74.7, source="table 4"))
def mobilenet_v2_1_4(
    num_classes: int = 1000, dropout: float = 0.2, output_stride: int = 32, weights: str | None = None
) -> MobileNetV2:
    """MobileNetV2 of width 1.4; 6.1 M parameters, 583 M multiply-adds."""
    return MobileNetV2(num_classes, 1.4, dropout, output_stride)
