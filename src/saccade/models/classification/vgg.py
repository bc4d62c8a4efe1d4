"""VGG: depth from nothing but 3x3 convolutions.

Paper: Karen Simonyan, Andrew Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, arXiv 1409.1556.

Two 3x3 convolutions in a row see 5x5 pixels and three see 7x7, with fewer weights than one large kernel and with a ReLU
between them. So the whole network is 3x3 convolutions that keep the size of the feature map, in five stages, after each
of which it is halved and the channels are doubled. From 11 to 19 layers the error falls.

    image     3 x 224 x 224        configuration A   B   D   E      layers 11, 13, 16, 19
    stage 1  64 x 224 x 224        3x3 convolutions  1   2   2   2     then pool 2x2 / 2
    stage 2 128 x 112 x 112                          1   2   2   2
    stage 3 256 x  56 x  56                          2   2   3   4
    stage 4 512 x  28 x  28                          2   2   3   4
    stage 5 512 x  14 x  14                          2   2   3   4     (B, 512, 7, 7) after its pooling
    fc6, fc7 4096, fc8 1000

Differences from the paper: the forms with BatchNorm (``_bn``) are younger than the paper. Weights start from He's
initialisation for convolutions and N(0, 0.01) for fully connected layers; the paper trains A from N(0, 0.01), starts
the deeper ones from it, and remarks that Glorot's initialisation does without that (section 3.1). Configuration C, with
1x1 convolutions, is left out, as nobody uses it. Images of other sizes reach 7 x 7 locations by adaptive
pooling; the paper tests densely instead, which :meth:`VGG.to_fully_convolutional` does.

Published weights: torchvision and timm; the names of their flat row of layers are converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.collect_features import collect_features
from saccade.blocks.fully_convolutional import linear_as_convolution
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]

PAPER = "Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556"

WIDTHS = (64, 128, 256, 512, 512)
# Convolutions in each stage, table 1: configurations A, B, D and E.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _stage(in_channels: int, width: int, depth: int, batch_norm: bool) -> nn.Sequential:
    """``depth`` convolutions of equal width, each with a ReLU, then pooling."""
    layers: list[nn.Module] = []
    for first, second in pairwise((in_channels, *[width] * depth)):
        layers.append(nn.Conv2d(first, second, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(second))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, nn.MaxPool2d(2, 2))


class VGG(Classifier):
    """VGG classifier: five stages of 3x3 convolutions, three fully connected layers (table 1).

    Args:
        depths: Convolutions in each of the five stages.
        batch_norm: Whether a BatchNorm follows each convolution.
        num_classes: Outputs of fc8.
        fc_channels: Outputs of fc6 and fc7; 1024 in DeepLab's LargeFOV form.
        dropout: Dropout rate after fc6 and fc7 (section 3.1).
        widths: Channels of the five stages; fewer make a network for small machines.

    Example:
        >>> model = VGG(DEPTHS[11], num_classes=3, fc_channels=64)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    """

    stage_names = (*(f"trunk.{number}" for number in range(5)), "classifier.0", "classifier.3")
    head_names = ("classifier.6",)
    class_rows = linear_rows("classifier.6")
    unused_by_features = ("classifier",)
    input_spec = IMAGENET_SPEC
    feature_strides: tuple[int, ...] = (2, 4, 8, 16, 32)

    def __init__(
        self,
        depths: Sequence[int],
        batch_norm: bool = False,
        num_classes: int = 1000,
        fc_channels: int = 4096,
        dropout: float = 0.5,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_channels = tuple(widths)
        self.trunk = nn.Sequential(
            *(
                _stage(first, second, depth, batch_norm)
                for (first, second), depth in zip(pairwise((3, *widths)), depths, strict=True)
            )
        )
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * 7 * 7, fc_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(fc_channels, fc_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(fc_channels, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps pool1 to pool5, at strides 2 to 32; images (B, 3, H, W)."""
        return collect_features(self.trunk, images, range(5))  # (B, width, H / 2, W / 2) and so on

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes) of images (B, 3, H, W) with H, W >= 32."""
        x = F.adaptive_avg_pool2d(self.trunk(images), 7)  # (B, 512, 7, 7); nothing to do at 224 x 224
        return {"logits": self.classifier(x.flatten(1))}

    def to_fully_convolutional(self) -> nn.Sequential:
        """Fully convolutional form: (B, 3, H, W) to logits (B, num_classes, h, w), with the same weights (section 3.2).

        FCN, DeepLab, SSD and Fast R-CNN start from its parts: 0 the trunk, 1 fc6 (7x7), 4 fc7 (1x1), 7 the scores. At
        224 x 224 the output has one location, which holds the network's logits.
        """
        fc6, _, _, fc7, _, _, fc8 = self.classifier
        assert isinstance(fc6, nn.Linear)
        assert isinstance(fc7, nn.Linear)
        assert isinstance(fc8, nn.Linear)
        rate = self.dropout_rate
        return nn.Sequential(
            self.trunk,
            linear_as_convolution(fc6, 7), nn.ReLU(inplace=True), nn.Dropout(rate),
            linear_as_convolution(fc7), nn.ReLU(inplace=True), nn.Dropout(rate),
            linear_as_convolution(fc8),
        ).train(self.training)  # fmt: skip


@register_model("classification", PAPER, Reported(params=133e6, top1=70.4, source="tables 2 and 3, configuration A"))
def vgg11(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-11; 132.9 M parameters, 7.6 G multiply-adds.

    Example:
        >>> vgg11(num_classes=3, fc_channels=64)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return VGG(DEPTHS[11], False, num_classes, fc_channels, dropout)


@register_model("classification", PAPER)
def vgg11_bn(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-11 with BatchNorm; 132.9 M parameters, 7.6 G multiply-adds."""
    return VGG(DEPTHS[11], True, num_classes, fc_channels, dropout)


@register_model("classification", PAPER, Reported(params=133e6, top1=71.3, source="tables 2 and 3, configuration B"))
def vgg13(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-13; 133.0 M parameters, 11.3 G multiply-adds."""
    return VGG(DEPTHS[13], False, num_classes, fc_channels, dropout)


@register_model("classification", PAPER)
def vgg13_bn(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-13 with BatchNorm; 133.0 M parameters, 11.3 G multiply-adds."""
    return VGG(DEPTHS[13], True, num_classes, fc_channels, dropout)


@register_model("classification", PAPER, Reported(params=138e6, top1=74.4, source="tables 2 and 3, configuration D"))
def vgg16(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-16; 138.4 M parameters, 15.5 G multiply-adds."""
    return VGG(DEPTHS[16], False, num_classes, fc_channels, dropout)


@register_model("classification", PAPER)
def vgg16_bn(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-16 with BatchNorm; 138.4 M parameters, 15.5 G multiply-adds."""
    return VGG(DEPTHS[16], True, num_classes, fc_channels, dropout)


@register_model("classification", PAPER, Reported(params=144e6, top1=74.5, source="tables 2 and 3, configuration E"))
def vgg19(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-19; 143.7 M parameters, 19.6 G multiply-adds."""
    return VGG(DEPTHS[19], False, num_classes, fc_channels, dropout)


@register_model("classification", PAPER)
def vgg19_bn(num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None) -> VGG:
    """VGG-19 with BatchNorm; 143.7 M parameters, 19.6 G multiply-adds."""
    return VGG(DEPTHS[19], True, num_classes, fc_channels, dropout)
