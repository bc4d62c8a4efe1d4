"""ResNeXt: residual networks whose bottlenecks work in many small groups.

Paper: Saining Xie, Ross Girshick, Piotr Dollar, Zhuowen Tu, Kaiming He, "Aggregated Residual Transformations for Deep
Neural Networks", CVPR 2017, arXiv 1611.05431.

A bottleneck is split into many paths of the same shape whose results are added: y = x + sum_i T_i(x) (equation 3).
Their number, the cardinality, is a third measure of size beside depth and width, and raising it helps more than raising
either at equal cost. All paths together are one bottleneck whose 3x3 is a grouped convolution (figure 3c).

    C x d     32 x 4d: 256 -> 1x1 128 -> 3x3 128 in 32 groups of 4 -> 1x1 256, four stages as ResNet's
    50 layers, 32 x 4d    25.0 M parameters, 4.2 G multiply-adds
    101 layers, 32 x 8d   88.8 M, 16.4 G       101 layers, 64 x 4d   83.5 M, 15.5 G

Differences from the paper: those of ``resnet50`` (stride in the 3x3, which is the paper's own choice here, section 5;
gamma of the last BN starts at 0). 101 layers of 32 x 8d are not in the paper; they are of Mahajan et al. 2018.

Published weights: torchvision, under the names of this library's ResNets.
"""

from __future__ import annotations

from saccade.models.classification.resnet import Bottleneck, ResNet
from saccade.models.registry import Reported, register_model

__all__ = [
    "Bottleneck32x4d",
    "Bottleneck32x8d",
    "Bottleneck64x4d",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
]

PAPER = "Xie et al., CVPR 2017, arXiv 1611.05431"


class Bottleneck32x4d(Bottleneck):
    """ResNeXt bottleneck, 32 x 4d: 32 groups of 4 channels in the first stage (table 1).

    Example:
        >>> Bottleneck32x4d(64, 64).conv2
        Conv2d(128, 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False)
    """

    groups, group_width = 32, 4


class Bottleneck32x8d(Bottleneck):
    """ResNeXt bottleneck, 32 x 8d: 32 groups of 8 channels in the first stage.

    Example:
        >>> Bottleneck32x8d(64, 64).conv2
        Conv2d(256, 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False)
    """

    groups, group_width = 32, 8


class Bottleneck64x4d(Bottleneck):
    """ResNeXt bottleneck, 64 x 4d: 64 groups of 4 channels in the first stage.

    Example:
        >>> Bottleneck64x4d(64, 64).conv2
        Conv2d(256, 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=64, bias=False)
    """

    groups, group_width = 64, 4


@register_model("classification", PAPER, Reported(params=25.0e6, macs=4.2e9, top1=77.8, source="tables 1 and 3"))
def resnext50_32x4d(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNeXt-50, 32 x 4d; 25.0 M parameters, 4.2 G multiply-adds.

    Example:
        >>> resnext50_32x4d(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return ResNet(Bottleneck32x4d, (3, 4, 6, 3), num_classes, output_stride)


@register_model("classification", PAPER)
def resnext101_32x8d(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNeXt-101, 32 x 8d; 88.8 M parameters, 16.4 G multiply-adds."""
    return ResNet(Bottleneck32x8d, (3, 4, 23, 3), num_classes, output_stride)


@register_model("classification", PAPER, Reported(macs=15.6e9, top1=79.6, source="table 4"))
def resnext101_64x4d(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNeXt-101, 64 x 4d; 83.5 M parameters, 15.5 G multiply-adds."""
    return ResNet(Bottleneck64x4d, (3, 4, 23, 3), num_classes, output_stride)
