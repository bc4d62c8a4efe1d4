r"""Layers that outline what is in a region: a small fully convolutional network.

    region (C, m, m) --- 3x3 + ReLU, four times --- deconvolution 2x2 / 2 + ReLU --- 1x1: a mask (2m, 2m) a class

He et al. 2017, Mask R-CNN (arXiv 1703.06870), figure 4 (right): m = 14, 256 channels. A mask keeps the layout of the
region, which fully connected layers would lose (section 3, "Mask Representation").
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvHead", "MaskPredictor"]


class ConvHead(nn.Sequential):
    """Row of 3x3 convolutions, each with a ReLU, that keeps the size of a region.

    Args:
        in_channels: C of the regions.
        hidden: Channels of each convolution.
        layers: Convolutions.

    Attributes:
        out_channels: Channels of the last.

    Example:
        >>> ConvHead(8, hidden=16, layers=4)(torch.zeros(5, 8, 14, 14)).shape
        torch.Size([5, 16, 14, 14])
    """

    def __init__(self, in_channels: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.out_channels = hidden
        for number in range(layers):
            self.append(nn.Conv2d(in_channels if number == 0 else hidden, hidden, 3, padding=1))
            self.append(nn.ReLU())
        _start(self)


class MaskPredictor(nn.Module):
    """Mask logits of background and classes at twice the resolution of the features.

    The channel of the background is one that published files have. Sigmoids never look at it, a softmax does.

    Args:
        in_channels: Of the features.
        num_classes: Classes without background.
        hidden: Channels of the deconvolution; ``in_channels`` if not given.

    Example:
        >>> MaskPredictor(16, num_classes=3)(torch.zeros(5, 16, 14, 14)).shape
        torch.Size([5, 4, 28, 28])
    """

    def __init__(self, in_channels: int, num_classes: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = in_channels if hidden is None else hidden
        self.conv5_mask = nn.ConvTranspose2d(in_channels, hidden, 2, stride=2)
        self.mask_fcn_logits = nn.Conv2d(hidden, 1 + num_classes, 1)
        _start(self)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, m, m) to logits (N, 1 + num_classes, 2m, 2m), background first."""
        logits: Tensor = self.mask_fcn_logits(F.relu(self.conv5_mask(features)))
        return logits


def _start(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
