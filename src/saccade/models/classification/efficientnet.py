"""EfficientNet: depth, width and resolution scaled together.

Paper: Mingxing Tan, Quoc V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv 1905.11946.

A network can be made larger by more layers, more channels or larger images, and each alone soon stops helping. The
paper grows all three at a fixed ratio: depth alpha^phi, width beta^phi, resolution gamma^phi with alpha beta^2 gamma^2
~ 2, so that phi doubles the work (equation 3; a grid search on B0 gave alpha = 1.2, beta = 1.1, gamma = 1.15). B0
itself was found by search: MobileNetV2's inverted residuals with squeeze-and-excitation and swish.

    B0 (table 1)          3 x 224 x 224        units  kernel  expansion
    3x3 / 2              32 x 112 x 112
    MBConv               16 x 112 x 112          1      3        1
    MBConv / 2           24 x  56 x  56          2      3        6
    MBConv / 2           40 x  28 x  28          2      5        6
    MBConv / 2           80 x  14 x  14          3      3        6
    MBConv              112 x  14 x  14          3      5        6
    MBConv / 2          192 x   7 x   7          4      5        6
    MBConv              320 x   7 x   7          1      3        6
    1x1                1280 x   7 x   7
    mean over space, dropout, fc 1000

B1 to B7 are made of that table by two numbers each, ``SCALES``: factors on depth and width as the authors publish them,
which are the powers of alpha and beta rounded; widths are made multiples of 8, depths are rounded up.

Differences from the paper: none in the layers. Resolutions are those at which the published weights were evaluated: B2
takes 288 where the paper has 260. BatchNorm's eps is 1e-3 (momentum 0.01) in the authors' code; published weights of
torchvision have 1e-5 (0.1) for B0 to B4, and so have these. Images are resized by this library's rule, where the
published figures were taken with bicubic interpolation.

Published weights: torchvision; its names, with ``features`` called ``trunk``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from torch import Tensor, nn

from saccade.blocks.collect_features import collect_features
from saccade.blocks.conv_norm_act import ConvNormActSequence
from saccade.blocks.make_divisible import make_divisible
from saccade.blocks.mbconv import MBConv, MBRow
from saccade.blocks.stochastic_depth import linear_rates
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "B0",
    "SCALES",
    "EfficientNet",
    "Scale",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "scale_rows",
]  # fmt: skip

PAPER = "Tan and Le, ICML 2019, arXiv 1905.11946"

# Table 1: fused, expansion, kernel, stride, channels, units.
B0: Final = (
    MBRow(False, 1, 3, 1, 16, 1),
    MBRow(False, 6, 3, 2, 24, 2),
    MBRow(False, 6, 5, 2, 40, 2),
    MBRow(False, 6, 3, 2, 80, 3),
    MBRow(False, 6, 5, 1, 112, 3),
    MBRow(False, 6, 5, 2, 192, 4),
    MBRow(False, 6, 3, 1, 320, 1),
)


class Scale(NamedTuple):
    """Scaling of B0: factors on depth and width, image size, dropout.

    Args:
        depth: Factor on the units of each stage, rounded up.
        width: Factor on the channels, rounded to a multiple of 8.
        size: Side of the images.
        resize: Side they are resized to before the crop.
        dropout: Dropout rate before the fc layer.

    Example:
        >>> SCALES["b3"].size, SCALES["b3"].dropout
        (300, 0.3)
    """

    depth: float
    width: float
    size: int
    resize: int
    dropout: float


SCALES: Final = {
    "b0": Scale(1.0, 1.0, 224, 256, 0.2),
    "b1": Scale(1.1, 1.0, 240, 256, 0.2),
    "b2": Scale(1.2, 1.1, 288, 288, 0.3),
    "b3": Scale(1.4, 1.2, 300, 320, 0.3),
    "b4": Scale(1.8, 1.4, 380, 384, 0.4),
    "b5": Scale(2.2, 1.6, 456, 456, 0.4),
    "b6": Scale(2.6, 1.8, 528, 528, 0.5),
    "b7": Scale(3.1, 2.0, 600, 600, 0.5),
}


def scale_rows(rows: Sequence[MBRow], depth: float, width: float, at_least: float = 0.9) -> tuple[MBRow, ...]:
    """Scale a table of stages: more units and channels by constant factors (section 3.3).

    Args:
        rows: Table of the base network.
        depth: Factor on the units.
        width: Factor on the channels.
        at_least: Rule of rounding, see ``make_divisible``.

    Example:
        >>> [(row.out_channels, row.depth) for row in scale_rows(B0, depth=1.4, width=1.2)][:3]  # B3
        [(24, 2), (32, 3), (48, 3)]
    """
    return tuple(
        row._replace(
            out_channels=make_divisible(row.out_channels * width, at_least=at_least),
            depth=math.ceil(row.depth * depth),
        )
        for row in rows
    )


class EfficientNet(Classifier):
    """EfficientNet classifier: stem, stages of MBConv units, a last 1x1 convolution, fc.

    Args:
        rows: Rows of the table, one a stage.
        stem: Channels of the stem.
        last: Channels of the last 1x1.
        num_classes: Outputs of the fc layer.
        dropout: Dropout rate before the fc layer.
        stochastic_depth: Rate of the last unit; lower ones have proportionally less.
        norm: Makes the normalisation layer of a number of channels.

    Example:
        >>> model = EfficientNet(B0, stem=32, last=1280, num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (1280, 2, 2)]
    """

    head_names = ("classifier.1",)
    class_rows = linear_rows("classifier.1")
    unused_by_features = ("classifier",)
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(
        self,
        rows: Sequence[MBRow],
        stem: int,
        last: int,
        num_classes: int = 1000,
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        convolution = partial(ConvNormActSequence, norm=norm, activation=partial(nn.SiLU, inplace=True))
        rates = iter(linear_rates(stochastic_depth, sum(row.depth for row in rows), from_first=False))
        stages: list[nn.Module] = [convolution(3, stem, 3, 2)]
        channels = stem
        ends, widths = [], []  # last stage at each stride, and its channels
        for row in rows:
            if row.stride == 2:
                ends.append(len(stages) - 1)
                widths.append(channels)
            units = []
            for unit in range(row.depth):
                units.append(MBConv(channels, row, row.stride if unit == 0 else 1, next(rates), norm))
                channels = row.out_channels
            stages.append(nn.Sequential(*units))
        stages.append(convolution(channels, last))
        self.trunk = nn.Sequential(*stages)
        self.stage_names = tuple(f"trunk.{number}" for number in range(len(stages)))
        self.feature_ends = (*ends, len(stages) - 1)
        self.feature_channels = (*widths, last)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):  # as in the authors' code
                bound = 1.0 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """The last feature map at each stride from 2 to 32, the last after the 1x1; images (B, 3, H, W)."""
        return collect_features(self.trunk, images, self.feature_ends)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.classifier(self.trunk(images).mean((2, 3)))}


def _efficientnet(variant: str, num_classes: int, dropout: float | None, stochastic_depth: float) -> EfficientNet:
    scale = SCALES[variant]
    rows = scale_rows(B0, scale.depth, scale.width)
    # B5 to B7 are published with the authors' BatchNorm.
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01) if variant in ("b5", "b6", "b7") else nn.BatchNorm2d
    model = EfficientNet(
        rows,
        stem=make_divisible(32 * scale.width),
        last=4 * rows[-1].out_channels,
        num_classes=num_classes,
        dropout=scale.dropout if dropout is None else dropout,
        stochastic_depth=stochastic_depth,
        norm=norm,
    )
    size = (scale.size, scale.size)
    model.input_spec = replace(IMAGENET_SPEC, size=size, crop_fraction=scale.size / scale.resize)
    return model


@register_model("classification", PAPER, Reported(params=5.3e6, macs=0.39e9, top1=77.1, source="table 2"))
def efficientnet_b0(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B0; 5.3 M parameters, 0.39 G multiply-adds at 224.

    Example:
        >>> efficientnet_b0(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return _efficientnet("b0", num_classes, dropout, stochastic_depth)


@register_model("classification", PAPER, Reported(params=7.8e6, macs=0.7e9, top1=79.1, source="table 2"))
def efficientnet_b1(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B1; 7.8 M parameters, 0.69 G multiply-adds at 240."""
    return _efficientnet("b1", num_classes, dropout, stochastic_depth)


@register_model("classification", PAPER, Reported(params=9.2e6, macs=1.0e9, top1=80.1, source="table 2"))
def efficientnet_b2(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B2; 9.1 M parameters, 1.1 G multiply-adds at 288."""
    return _efficientnet("b2", num_classes, dropout, stochastic_depth)


@register_model("classification", PAPER, Reported(params=12e6, macs=1.8e9, top1=81.6, source="table 2"))
def efficientnet_b3(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B3; 12.2 M parameters, 1.8 G multiply-adds at 300."""
    return _efficientnet("b3", num_classes, dropout, stochastic_depth)


@register_model("classification", PAPER, Reported(params=19e6, macs=4.2e9, top1=82.9, source="table 2"))
def efficientnet_b4(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B4; 19.3 M parameters, 4.4 G multiply-adds at 380."""
    return _efficientnet("b4", num_classes, dropout, stochastic_depth)


@register_model("classification", PAPER, Reported(params=30e6, macs=9.9e9, top1=83.6, source="table 2"))
def efficientnet_b5(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B5; 30.4 M parameters, 10.3 G multiply-adds at 456."""
    return _efficientnet("b5", num_classes, dropout, stochastic_depth)


@register_model("classification", PAPER, Reported(params=43e6, macs=19e9, top1=84.0, source="table 2"))
def efficientnet_b6(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B6; 43.0 M parameters, 19.1 G multiply-adds at 528."""
    return _efficientnet("b6", num_classes, dropout, stochastic_depth)


@register_model("classification", PAPER, Reported(params=66e6, macs=37e9, top1=84.3, source="table 2"))
def efficientnet_b7(
    num_classes: int = 1000, dropout: float | None = None, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNet:
    """EfficientNet-B7; 66.3 M parameters, 37.7 G multiply-adds at 600."""
    return _efficientnet("b7", num_classes, dropout, stochastic_depth)
