"""CSPDarknet-53: Darknet-53 with half of the channels routed past each stage.

Papers: Chien-Yao Wang et al., "CSPNet: A New Backbone that can Enhance Learning Capability of CNN", CVPR Workshops
2020, arXiv 1911.11929; Alexey Bochkovskiy, Chien-Yao Wang, Hong-Yuan Mark Liao, "YOLOv4: Optimal Speed and Accuracy of
Object Detection", 2020, arXiv 2004.10934, section 3.4 (with Mish).

In a residual stage the same gradients are computed again and again in the backward pass. A cross-stage partial stage
splits its channels in two: one half goes through the residual units, the other bypasses them, and both are joined at
the end.
Half of the work is saved in the units and accuracy does not fall.

    image              3 x 256 x 256
    3x3               32 x 256 x 256
    5 stages: 64, 128, 256, 512, 1024 channels, 1, 2, 8, 8, 4 units, each at half the size of the one before
    mean over space, fc 1000

    stage: 3x3 / 2 -> 1x1 -> split -+-------------------------+-> concatenate -> 1x1
                                    +-> units -> 1x1 ---------+

Differences from the paper: Darknet's configuration file makes the two halves by two 1x1 convolutions, which is one 1x1
convolution and a split. In the first stage both halves keep all 64 channels and units halve them in between, as there.
Names of modules are timm's.

Published weights: timm's ``cspdarknet53.ra_in1k`` was trained with a leaky ReLU of slope 0.01; it loads into
``cspdarknet53(negative_slope=0.01)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.blocks.dark_residual import DarkResidual
from saccade.models.classification.darknet53 import DEPTHS, Darknet53
from saccade.models.registry import register_model

__all__ = ["CSPDarknet53", "CrossStage", "cspdarknet53"]

PAPER = "Wang et al., CVPRW 2020, arXiv 1911.11929; Bochkovskiy et al. 2020, arXiv 2004.10934"

MISH = partial(nn.Mish, inplace=True)


class CrossStage(nn.Module):
    """Cross-stage partial stage: residual units on half of the channels, the other half bypasses them.

    CSPNet, figure 3b.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        depth: Residual units.
        first: Whether this is the first stage, whose halves are as wide as the whole and whose units are bottlenecks.
        activation: Makes the activations.

    Example:
        >>> stage = CrossStage(32, 64, depth=2, first=False, activation=MISH)
        >>> stage(torch.zeros(1, 32, 16, 16)).shape
        torch.Size([1, 64, 8, 8])
    """

    def __init__(
        self, in_channels: int, out_channels: int, depth: int, first: bool, activation: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        half = out_channels if first else out_channels // 2
        convolution = partial(ConvNormAct, activation=activation)
        self.conv_down = convolution(in_channels, out_channels, 3, 2)
        self.conv_exp = convolution(out_channels, 2 * half)
        hidden = half // 2 if first else half
        self.blocks = nn.Sequential(*(DarkResidual(half, hidden, activation) for _ in range(depth)))
        self.conv_transition_b = convolution(half, half)
        self.conv_transition = convolution(2 * half, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / 2, W / 2)."""
        past, through = self.conv_exp(self.conv_down(x)).chunk(2, dim=1)
        through = self.conv_transition_b(self.blocks(through))
        out: Tensor = self.conv_transition(torch.cat((past, through), dim=1))
        return out


class CSPDarknet53(Darknet53):
    """CSPDarknet-53 classifier: Darknet-53 with cross-stage partial stages.

    Args:
        num_classes: Outputs of the fc layer.
        activation: Makes the activations; Mish if not given.

    Example:
        >>> model = CSPDarknet53(num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (1024, 2, 2)]
    """

    def __init__(self, num_classes: int = 1000, activation: Callable[[], nn.Module] = MISH) -> None:
        super().__init__(num_classes, activation)

    def _stage(self, in_channels: int, out_channels: int, depth: int, activation: Callable[[], nn.Module]) -> nn.Module:
        return CrossStage(in_channels, out_channels, depth, depth == DEPTHS[0], activation)


@register_model("classification", PAPER)
def cspdarknet53(
    num_classes: int = 1000, negative_slope: float | None = None, weights: str | None = None
) -> CSPDarknet53:
    """CSPDarknet-53, with Mish unless a slope is given; 27.6 M parameters, 6.5 G multiply-adds at 256 x 256.

    Example:
        >>> cspdarknet53(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    if negative_slope is None:
        return CSPDarknet53(num_classes)
    return CSPDarknet53(num_classes, partial(nn.LeakyReLU, negative_slope, inplace=True))
