"""Squeeze-and-excitation: channel attention from the mean over the whole feature map."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: each channel times a gate 0..1, computed from all channels' spatial means.

    Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507, section 3.

    Args:
        channels: Channels in and out.
        squeezed: Channels between the two convolutions.
        activation: Makes the activation between them.
        gate: Makes the activation whose output, 0..1, multiplies the channels.

    Example:
        >>> SqueezeExcite(16, 4)(torch.zeros(1, 16, 7, 7)).shape
        torch.Size([1, 16, 7, 7])
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        squeezed = x.mean((2, 3), keepdim=True)  # equation 2
        weights: Tensor = self.gate(self.fc2(self.activation(self.fc1(squeezed))))  # equation 3
        return x * weights  # equation 4
