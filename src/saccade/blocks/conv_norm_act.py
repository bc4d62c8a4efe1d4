"""Convolution, batch normalisation, activation: the basic unit of most networks after 2015."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from saccade.blocks.depthwise_conv import DepthwiseConv2d

__all__ = ["ConvNormAct", "ConvNormActSequence", "DepthwiseSeparableConv"]


class ConvNormAct(nn.Module):
    """Convolution without bias, BatchNorm and an activation; the output's side is ceil(size / stride).

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Side of the square kernel; the padding is half of what it has beyond 1, rounded down. An even one
            has an output of size / stride, rounded down.
        stride: Stride of the kernel.
        groups: Groups of the convolution.
        activation: Makes the activation, such as ``nn.SiLU``.

    Example:
        >>> ConvNormAct(3, 8, 3, stride=2)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        convolution = DepthwiseConv2d if groups == in_channels == out_channels else nn.Conv2d
        self.conv = convolution(
            in_channels, out_channels, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class ConvNormActSequence(nn.Sequential):
    """Convolution, normalisation and activation as a sequence, for networks whose published weights number them.

    Same as :class:`ConvNormAct`, with parts named 0, 1, 2 and a choice of dilation and normalisation.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Odd side of the square kernel; at any dilation the output's side is ceil(size / stride).
        stride: Stride of the kernel.
        groups: Groups of the convolution.
        dilation: Dilation of the kernel.
        norm: Makes the normalisation from a number of channels.
        activation: Makes the activation; None for a linear output.

    Example:
        >>> ConvNormActSequence(3, 8, 3, stride=2, activation=None)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        padding = kernel_size // 2 * dilation
        convolution = DepthwiseConv2d if groups == in_channels == out_channels else nn.Conv2d
        super().__init__(
            convolution(
                in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
            ),
            norm(out_channels),
            *(() if activation is None else (activation(),)),
        )


class DepthwiseSeparableConv(nn.Module):
    """Depthwise separable convolution: a depthwise one, then a 1x1 one, each with BatchNorm and activation.

    Howard et al. 2017, MobileNets, section 3.1.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Odd side of the depthwise kernel.
        stride: Stride of the depthwise kernel.
        activation: Makes the activations.

    Example:
        >>> DepthwiseSeparableConv(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.dconv = ConvNormAct(
            in_channels, in_channels, kernel_size, stride, groups=in_channels, activation=activation
        )
        self.pconv = ConvNormAct(in_channels, out_channels, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out: Tensor = self.pconv(self.dconv(x))
        return out
