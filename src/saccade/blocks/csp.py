"""Cross-stage partial layers (Wang et al. 2020, CSPNet, arXiv 1911.11929), the Focus stem and pyramid pooling.

YOLOv5 calls the cross-stage partial layer C3, after its three 1x1 convolutions, and the pyramid pooling SPPF.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.conv_norm_act import ConvNormAct, DepthwiseSeparableConv

__all__ = ["Bottleneck", "CSPLayer", "Focus", "SPPBottleneck"]


class Bottleneck(nn.Module):
    """Bottleneck of a CSP layer: 1x1 then 3x3 convolution at constant width, optionally with a shortcut.

    Args:
        channels: Channels in and out.
        shortcut: Add the input.
        depthwise: 3x3 as depthwise separable convolution.

    Example:
        >>> Bottleneck(16)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(self, channels: int, shortcut: bool = True, depthwise: bool = False) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = ConvNormAct(channels, channels)
        self.conv2 = (DepthwiseSeparableConv if depthwise else ConvNormAct)(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out: Tensor = self.conv2(self.conv1(x))
        return x + out if self.shortcut else out


class CSPLayer(nn.Module):
    """Cross-stage partial layer: two paths of half the width, one with bottlenecks, joined by a 1x1 convolution.

    The C3 of YOLOv5 and the CSP layer of YOLOX.

    Args:
        in_channels: Channels in.
        out_channels: Channels out; each path has half of them.
        blocks: Bottlenecks on the first path.
        shortcut: Whether bottlenecks add their input.
        depthwise: 3x3 as depthwise separable convolutions.

    Example:
        >>> CSPLayer(16, 32, blocks=2)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 8, 8])
    """

    def __init__(
        self, in_channels: int, out_channels: int, blocks: int, shortcut: bool = True, depthwise: bool = False
    ) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.conv1 = ConvNormAct(in_channels, hidden)
        self.conv2 = ConvNormAct(in_channels, hidden)
        self.conv3 = ConvNormAct(2 * hidden, out_channels)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut, depthwise) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        out: Tensor = self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), dim=1))
        return out


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling (SPP, SPPF) with 5x5, 9x9 and 13x13 windows at stride 1, between two 1x1 convolutions.

    Two 5x5 maxima in a row cover exactly a 9x9 window and three a 13x13 one, so the larger windows are computed from
    the smaller. YOLOv5 calls this form SPPF, and the one with three poolings side by side SPP; their outputs are equal,
    bit for bit.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        activation: Makes the activations.

    Example:
        >>> SPPBottleneck(16, 32)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, activation: Callable[[], nn.Module] = nn.SiLU) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.conv1 = ConvNormAct(in_channels, hidden, activation=activation)
        self.conv2 = ConvNormAct(4 * hidden, out_channels, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        x1 = self.conv1(x)
        x5 = F.max_pool2d(x1, 5, stride=1, padding=2)
        x9 = F.max_pool2d(x5, 5, stride=1, padding=2)
        x13 = F.max_pool2d(x9, 5, stride=1, padding=2)
        out: Tensor = self.conv2(torch.cat((x1, x5, x9, x13), dim=1))
        return out


class Focus(nn.Module):
    """Focus stem: space-to-depth (each 2x2 square of pixels into four times the channels), then a 3x3 convolution.

    Channel order: top left, bottom left, top right, bottom right. An odd height or width is padded with a row or column
    of zeros.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.

    Example:
        >>> Focus(3, 32)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 32, 32, 32])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(4 * in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / 2, W / 2)."""
        if x.shape[2] % 2 or x.shape[3] % 2:
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        squares = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        out: Tensor = self.conv(torch.cat(squares, dim=1))
        return out
