"""MobileNetV3: MobileNetV2's units, arranged by search and finished by hand.

Paper: Andrew Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244.

A search over kernel sizes, expansions and widths found the rows of tables 1 and 2. A cheaper beginning and end came by
hand: half the filters in the stem, and the last 1x1 moved behind the mean over space, where it costs nothing. Some
units weigh their channels by squeeze-and-excitation; the deeper half uses h-swish, x ReLU6(x + 3) / 6, a swish without
a sigmoid.

    unit:  x -> 1x1 -> depthwise k x k / s -> squeeze-excite (some) -> 1x1, linear -> + x where shapes agree

    large: 3 x 224 x 224 -> 16 @ 112 -> 24 @ 56 -> 40 @ 28 -> 80, 112 @ 14 -> 160 @ 7 -> 1x1 960 -> mean -> 1280 -> 1000
    small: 3 x 224 x 224 -> 16 @ 112 -> 16 @ 56 -> 24 @ 28 -> 40, 48 @ 14 -> 96 @ 7 -> 1x1 576 -> mean -> 1024 -> 1000

Differences from the paper: none in the layers. BatchNorm has eps 1e-3 and momentum 0.01 as published; squeezed channels
are a quarter of the expanded ones, rounded as all widths are. ``output_stride=16`` keeps the last strided unit at
stride 1 and dilates the depthwise convolutions from it on by 2, which is the form below the paper's segmentation heads
(section 6.4); 8 does so from the strided unit before it on.

Published weights: torchvision; its names, with ``features`` called ``trunk``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from torch import Tensor, nn

from saccade.blocks.collect_features import collect_features
from saccade.blocks.conv_norm_act import ConvNormActSequence
from saccade.blocks.make_divisible import make_divisible
from saccade.blocks.squeeze_excite import SqueezeExcite
from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["MobileNetV3", "Unit", "UnitRow", "mobilenet_v3_large", "mobilenet_v3_small"]

PAPER = "Howard et al., ICCV 2019, arXiv 1905.02244"


class UnitRow(NamedTuple):
    """Row of table 1 or 2, one unit: kernel, expanded channels, channels out, squeeze-excite, h-swish, stride.

    Example:
        >>> LARGE[3]
        UnitRow(kernel_size=5, expanded=72, out_channels=40, squeeze_excite=True, h_swish=False, stride=2)
    """

    kernel_size: int
    expanded: int
    out_channels: int
    squeeze_excite: bool
    h_swish: bool
    stride: int


LARGE: Final = (
    UnitRow(3, 16, 16, False, False, 1),
    UnitRow(3, 64, 24, False, False, 2),
    UnitRow(3, 72, 24, False, False, 1),
    UnitRow(5, 72, 40, True, False, 2),
    UnitRow(5, 120, 40, True, False, 1),
    UnitRow(5, 120, 40, True, False, 1),
    UnitRow(3, 240, 80, False, True, 2),
    UnitRow(3, 200, 80, False, True, 1),
    UnitRow(3, 184, 80, False, True, 1),
    UnitRow(3, 184, 80, False, True, 1),
    UnitRow(3, 480, 112, True, True, 1),
    UnitRow(3, 672, 112, True, True, 1),
    UnitRow(5, 672, 160, True, True, 2),
    UnitRow(5, 960, 160, True, True, 1),
    UnitRow(5, 960, 160, True, True, 1),
)

SMALL: Final = (
    UnitRow(3, 16, 16, True, False, 2),
    UnitRow(3, 72, 24, False, False, 2),
    UnitRow(3, 88, 24, False, False, 1),
    UnitRow(5, 96, 40, True, True, 2),
    UnitRow(5, 240, 40, True, True, 1),
    UnitRow(5, 240, 40, True, True, 1),
    UnitRow(5, 120, 48, True, True, 1),
    UnitRow(5, 144, 48, True, True, 1),
    UnitRow(5, 288, 96, True, True, 2),
    UnitRow(5, 576, 96, True, True, 1),
    UnitRow(5, 576, 96, True, True, 1),
)

_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
_HSwish = partial(nn.Hardswish, inplace=True)
_ReLU = partial(nn.ReLU, inplace=True)
_Convolution = partial(ConvNormActSequence, norm=_norm)


class Unit(nn.Module):
    """Inverted residual with squeeze-and-excitation: the unit of MobileNetV3 (figure 4).

    Args:
        in_channels: Channels in.
        row: Row of the table.
        stride: Stride of the depthwise convolution, in place of the row's.
        dilation: Dilation of the depthwise convolution.

    Example:
        >>> Unit(24, LARGE[3], stride=2)(torch.zeros(1, 24, 16, 16)).shape
        torch.Size([1, 40, 8, 8])
    """

    def __init__(self, in_channels: int, row: UnitRow, stride: int, dilation: int = 1) -> None:
        super().__init__()
        activation = _HSwish if row.h_swish else _ReLU
        hidden, out_channels = row.expanded, row.out_channels
        layers: list[nn.Module] = []
        if hidden != in_channels:
            layers.append(_Convolution(in_channels, hidden, activation=activation))
        layers.append(
            _Convolution(
                hidden, hidden, row.kernel_size, stride, groups=hidden, dilation=dilation, activation=activation
            )
        )
        if row.squeeze_excite:
            layers.append(SqueezeExcite(hidden, make_divisible(hidden / 4), gate=nn.Hardsigmoid))
        layers.append(_Convolution(hidden, out_channels, activation=None))
        self.block = nn.Sequential(*layers)
        # The row's stride decides: where it is traded for dilation, the unit still has no shortcut.
        self.has_shortcut = row.stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out: Tensor = self.block(x)
        return x + out if self.has_shortcut else out


class MobileNetV3(Classifier):
    """MobileNetV3 classifier: stem, units, a last 1x1 convolution, two fc layers (tables 1 and 2).

    Args:
        rows: ``LARGE`` or ``SMALL``.
        hidden: Outputs of the first fc layer.
        num_classes: Outputs of the second fc layer.
        dropout: Dropout rate between the two.
        output_stride: Stride of the last feature map: 32, or 16 or 8 with dilation.

    Raises:
        ConfigError: If ``output_stride`` is none of these.

    Example:
        >>> model = MobileNetV3(SMALL, hidden=1024, num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(16, 32, 32), (16, 16, 16), (24, 8, 8), (48, 4, 4), (576, 2, 2)]
    """

    head_names = ("classifier.3",)
    class_rows = linear_rows("classifier.3")
    unused_by_features = ("classifier",)
    input_spec = IMAGENET_SPEC

    def __init__(
        self,
        rows: Sequence[UnitRow],
        hidden: int,
        num_classes: int = 1000,
        dropout: float = 0.2,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"MobileNetV3 has no output_stride {output_stride}; choose 8, 16 or 32.")
        self.num_classes, self.rows = num_classes, tuple(rows)
        channels = 16
        layers: list[nn.Module] = [_Convolution(3, channels, 3, 2, activation=_HSwish)]
        ends, widths, strides = [], [], []  # last unit, its channels and its stride, before each halving
        stride, dilation = 2, 1
        for row in rows:
            step = row.stride if stride * row.stride <= output_stride else 1
            if row.stride == 2:
                ends.append(len(layers) - 1)
                widths.append(channels)
                strides.append(stride)
            stride, dilation = stride * step, dilation * row.stride // step
            layers.append(Unit(channels, row, step, dilation))
            channels = row.out_channels
        last = 6 * channels
        layers.append(_Convolution(channels, last, activation=_HSwish))
        self.trunk = nn.Sequential(*layers)
        self.stage_names = (*(f"trunk.{number}" for number in range(len(layers))), "classifier.0")
        self.feature_ends = (*ends, len(layers) - 1)
        self.feature_channels = (*widths, last)
        self.feature_strides = (*strides, stride)
        self.classifier = nn.Sequential(
            nn.Linear(last, hidden), _HSwish(), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """The last feature map at each stride from 2 on, the last after the 1x1; images (B, 3, H, W)."""
        return collect_features(self.trunk, images, self.feature_ends)

    def read_strided_units(self) -> None:
        """Let ``features`` give the strided unit that begins a stride instead of the last unit that has it.

        Published segmenters read the feature map of stride 8 there.

        Example:
            >>> model = mobilenet_v3_large(output_stride=16)
            >>> model.read_strided_units()
            >>> model.feature_channels, model.feature_strides
            ((16, 24, 40, 80, 960), (2, 4, 8, 16, 16))
        """
        strided = [number for number, row in enumerate(self.rows, start=1) if row.stride == 2]
        starts = strided[: len(self.feature_ends) - 2]  # the last stride ends in the 1x1
        self.feature_ends = (0, *starts, self.feature_ends[-1])
        widths = [self.rows[number - 1].out_channels for number in starts]
        self.feature_channels = (16, *widths, self.feature_channels[-1])

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.classifier(self.trunk(images).mean((2, 3)))}


@register_model("classification", PAPER, Reported(params=5.4e6, macs=219e6, top1=75.2, source="table 3"))
def mobilenet_v3_large(
    num_classes: int = 1000, dropout: float = 0.2, output_stride: int = 32, weights: str | None = None
) -> MobileNetV3:
    """MobileNetV3-Large (table 1); 5.5 M parameters, 217 M multiply-adds.

    Example:
        >>> model = mobilenet_v3_large(output_stride=16)  # as below the paper's segmentation heads
        >>> model.feature_strides
        (2, 4, 8, 16, 16)
    """
    return MobileNetV3(LARGE, 1280, num_classes, dropout, output_stride)


@register_model("classification", PAPER, Reported(params=2.5e6, macs=56e6, top1=67.4, source="table 3"))
def mobilenet_v3_small(
    num_classes: int = 1000, dropout: float = 0.2, output_stride: int = 32, weights: str | None = None
) -> MobileNetV3:
    """MobileNetV3-Small (table 2); 2.5 M parameters, 57 M multiply-adds.

    Example:
        >>> mobilenet_v3_small(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return MobileNetV3(SMALL, 1024, num_classes, dropout, output_stride)
