"""Mobile inverted bottlenecks (MBConv, Fused-MBConv): the units of the EfficientNets.

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
    """Settings of one stage of MBConv units: a row of the paper's table.

    Args:
        fused: One regular convolution in place of the 1x1 and the depthwise one ("Fused-MBConv"), without
            squeeze-and-excitation.
        expansion: Channels inside a unit, as a multiple of those that enter it.
        kernel_size: Side of the depthwise (or regular) kernel.
        stride: Stride of the first unit; the others have 1.
        out_channels: Channels out.
        depth: Number of units.

    Example:
        >>> MBRow(fused=False, expansion=6, kernel_size=5, stride=2, out_channels=40, depth=2).out_channels
        40
    """

    fused: bool
    expansion: int
    kernel_size: int
    stride: int
    out_channels: int
    depth: int


class MBConv(nn.Module):
    """Inverted bottleneck: 1x1 expansion, depthwise convolution, squeeze-and-excitation, 1x1 projection.

    A shortcut is added where input and output have the same shape.

    Args:
        in_channels: Channels in.
        row: Settings of its stage.
        stride: Stride of this unit.
        stochastic_depth: Rate at which the unit is dropped in training.
        norm: Makes BatchNorms.

    Example:
        >>> row = MBRow(fused=False, expansion=6, kernel_size=5, stride=2, out_channels=40, depth=2)
        >>> MBConv(24, row, stride=2, stochastic_depth=0.0)(torch.zeros(1, 24, 16, 16)).shape
        torch.Size([1, 40, 8, 8])
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
