"""BiT ResNet, the backbone of ViT's hybrids: GroupNorm and weight standardisation in place of BatchNorm.

Papers: Alexander Kolesnikov et al., "Big Transfer (BiT): General Visual Representation Learning", ECCV 2020, arXiv
1912.11370; Siyuan Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
2019, arXiv 1903.10520; Dosovitskiy et al. 2021 (ViT), section 4.1.

BatchNorm depends on the batch, which suits neither small batches nor transfer. GroupNorm does not, and together with
kernels that are standardised before each use it trains as well.

    image             3 x H    x W
    7x7 / 2          64 x H/2  x W/2      kernels standardised, GroupNorm 32, ReLU; pool 3x3 / 2
    3 bottlenecks   256 x H/4  x W/4
    4 bottlenecks   512 x H/8  x W/8
    9 bottlenecks  1024 x H/16 x W/16     for patches of 16 pixels: ResNet-50's 6 + 3 units in one stage
    (6, then 3     2048 x H/32 x W/32     for patches of 32 pixels)

Padding is that of TensorFlow (as much as keeps ceil(size / stride) locations, the odd pixel right and below), because
the published weights were trained with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BiTBackbone", "StandardizedConv2d"]


def _pad_same(x: Tensor, kernel_size: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad as TensorFlow's SAME does: a sliding window then yields ceil(size / stride) locations."""
    height, width = (
        max((-(-side // stride) - 1) * stride + kernel_size - side, 0) for side in (x.shape[2], x.shape[3])
    )
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2), value=value)


class StandardizedConv2d(nn.Conv2d):
    """Convolution with weight standardisation: kernels have mean 0 and variance 1 over their inputs.

    Qiao et al., equations 10 to 12.

    Example:
        >>> StandardizedConv2d(3, 8, 7, stride=2)(torch.zeros(1, 3, 33, 32)).shape
        torch.Size([1, 8, 17, 16])
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-8)
        return F.conv2d(_pad_same(x, self.kernel_size[0], self.stride[0]), weight, self.bias, self.stride)


class _Normed(nn.Module):
    """Convolution and GroupNorm: the stem, or the projection of a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = StandardizedConv2d(in_channels, out_channels, kernel_size, stride, bias=False)
        self.norm = nn.GroupNorm(32, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out


class _Bottleneck(nn.Module):
    """Bottleneck as in ResNet v1.5: 1x1, 3x3 / stride, 1x1 convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        width = out_channels // 4
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = _Normed(in_channels, out_channels, 1, stride)
        self.conv1 = StandardizedConv2d(in_channels, width, 1, bias=False)
        self.norm1 = nn.GroupNorm(32, width)
        self.conv2 = StandardizedConv2d(width, width, 3, stride, bias=False)
        self.norm2 = nn.GroupNorm(32, width)
        self.conv3 = StandardizedConv2d(width, out_channels, 1, bias=False)
        self.norm3 = nn.GroupNorm(32, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.conv3(y)) + shortcut)


class _Stage(nn.Module):
    """Stage: residual units in sequence, under the published name."""

    def __init__(self, units: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


class BiTBackbone(nn.Module):
    """BiT ResNet without its classifier: stem and stages of GroupNorm bottlenecks.

    Args:
        depths: Units in each stage.

    Example:
        >>> BiTBackbone((1, 1, 1))(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1024, 4, 4])
    """

    def __init__(self, depths: Sequence[int]) -> None:
        super().__init__()
        self.stem = _Normed(3, 64, 7, 2)
        channels = 64
        stages = []
        for number, depth in enumerate(depths):
            out_channels = 256 * 2**number
            units = []
            for unit in range(depth):
                units.append(_Bottleneck(channels, out_channels, 2 if number > 0 and unit == 0 else 1))
                channels = out_channels
            stages.append(_Stage(units))
        self.stages = nn.Sequential(*stages)
        self.out_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, out_channels, H / stride, W / stride), stride 16 with three stages, 32 with four."""
        x = F.relu(self.stem(images))
        x = F.max_pool2d(_pad_same(x, 3, 2, value=-torch.inf), 3, 2)
        out: Tensor = self.stages(x)
        return out
