"""Mobile inverted bottlenecks: the units of the EfficientNets.

Papers: Mingxing Tan, Quoc V. Le, "EfficientNet", ICML 2019, arXiv 1905.11946, section 4; Mingxing Tan, Quoc V. Le,
"EfficientNetV2", ICML 2021, arXiv 2104.00298, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormActSequence
from saccade.blocks.squeeze_excite import SqueezeExcite
from saccade.blocks.stochastic_depth import StochasticDepth

__all__ = ["MBConv", "MBRow"]

_SiLU = partial(nn.SiLU, inplace=True)


class MBRow(NamedTuple):
    """A stage of units.

    Args:
        fused: One whole 3x3 in place of the 1x1 and the depthwise convolution ("Fused-MBConv"), without
            squeeze-and-excitation.
        expansion: Factor on the channels inside.
        kernel_size: Of the depthwise (or whole) convolution.
        stride: Of the first unit.
        out_channels: Channels out.
        depth: Units.
    """

    fused: bool
    expansion: int
    kernel_size: int
    stride: int
    out_channels: int
    depth: int


class MBConv(nn.Module):
    """Expand, filter, weigh the channels, project; beside a shortcut where shapes agree.

    Args:
        in_channels: Channels in.
        row: Its stage.
        stride: Of this unit.
        stochastic_depth: Rate at which the unit is left out.
        norm: Makes BatchNorms.
    """

    def __init__(
        self,
        in_channels: int,
        row: MBRow,
        stride: int,
        stochastic_depth: float,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        hidden, out_channels = in_channels * row.expansion, row.out_channels
        convolution = partial(ConvNormActSequence, norm=norm, activation=_SiLU)
        layers: list[nn.Module] = []
        if row.fused:
            first = out_channels if row.expansion == 1 else hidden
            layers.append(convolution(in_channels, first, row.kernel_size, stride))
        else:
            if row.expansion != 1:
                layers.append(convolution(in_channels, hidden))
            layers.append(convolution(hidden, hidden, row.kernel_size, stride, groups=hidden))
            # A quarter of the unit's input, not of its expanded channels.
            layers.append(SqueezeExcite(hidden, max(1, in_channels // 4), _SiLU))
        if not row.fused or row.expansion != 1:
            layers.append(ConvNormActSequence(hidden, out_channels, norm=norm, activation=None))
        self.block = nn.Sequential(*layers)
        self.drop_path = StochasticDepth(stochastic_depth)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out: Tensor = self.block(x)
        return x + self.drop_path(out) if self.has_shortcut else out
