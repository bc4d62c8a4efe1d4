"""Residual unit of Darknet-53 and its descendants: 1x1 to fewer channels, 3x3 back, added to the input."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormAct

__all__ = ["DarkResidual"]


class DarkResidual(nn.Module):
    """Darknet residual unit, ``x + 3x3(1x1(x))``, each convolution with BatchNorm and activation.

    Redmon and Farhadi 2018, YOLOv3, table 1.

    Args:
        channels: Channels in and out.
        hidden: Channels between the two convolutions.
        activation: Makes the activations.

    Example:
        >>> DarkResidual(64, 32, torch.nn.LeakyReLU)(torch.zeros(1, 64, 8, 8)).shape
        torch.Size([1, 64, 8, 8])
    """

    def __init__(self, channels: int, hidden: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(channels, hidden, activation=activation)
        self.conv2 = ConvNormAct(hidden, channels, 3, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out: Tensor = self.conv2(self.conv1(x))
        return x + out
