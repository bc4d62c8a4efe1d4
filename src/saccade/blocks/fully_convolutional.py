"""Fully connected layers as convolutions, so that a classifier outputs a map of scores for a larger image.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 3.1.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["linear_as_convolution"]


def linear_as_convolution(linear: nn.Linear, window: int = 1) -> nn.Conv2d:
    """Convolution equal to a fully connected layer slid over a feature map.

    Args:
        linear: Layer over a flattened (C, window, window) feature map; it is not changed.
        window: Side of that feature map; 1 for a layer that follows another.

    Returns:
        A convolution with copies of the layer's weights, without padding.

    Example:
        >>> linear_as_convolution(nn.Linear(512 * 7 * 7, 4096), 7)
        Conv2d(512, 4096, kernel_size=(7, 7), stride=(1, 1))
    """
    channels = linear.in_features // window**2
    convolution = nn.Conv2d(channels, linear.out_features, window, bias=linear.bias is not None)
    with torch.no_grad():
        convolution.weight.copy_(linear.weight.view(-1, channels, window, window))
        if convolution.bias is not None:
            convolution.bias.copy_(linear.bias)
    return convolution
