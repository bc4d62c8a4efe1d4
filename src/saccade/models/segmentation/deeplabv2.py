"""DeepLabV2: several dilations side by side, several sizes of the image, and the larger score.

Paper: Liang-Chieh Chen, George Papandreou, Iasonas Kokkinos, Kevin Murphy, Alan L. Yuille, "DeepLab: Semantic Image
Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", TPAMI 2018, arXiv 1606.00915.

The network is DeepLabV1's over ResNet-101. Objects come in all sizes, and two things meet them: *atrous spatial pyramid
pooling* (ASPP, section 3.2, figure 7) scores the last feature map by four 3x3 convolutions of different dilation and
adds the scores; and the image goes through the network in three sizes, with the largest of the three scores at each
location (section 4.1.2, "multi-scale inputs with max fusion").

    image      3 x H    x W      H and W of the form 8 k + 1
    layer1   256 x H/4  x W/4    stride of later stages in their first 1x1
    layer2   512 x H/8  x W/8
    layer3  1024 x H/8  x W/8    dilation 2
    layer4  2048 x H/8  x W/8    dilation 4
    aspp       C x H/8  x W/8    3x3 of rates 6, 12, 18, 24, added; the loss is here
    logits     C x H    x W      bilinear

    scales (0.75, 0.5): the same of smaller images, upsampled to H/8 x W/8; the maximum of the three

Everything is corner on corner, as in DeepLabV1: a smaller image has 8 round(scale k) + 1 pixels where the image has
8 k + 1 (321, 241 and 161), so that every scale's locations lie on its pixels. In training there is a loss for each
size, against the labels of its own locations, and one for the maximum (``cross_entropy_at_100``, ``_at_75``,
``_at_50``, and ``cross_entropy``).

Differences from the paper: the default is one size, as published counts have it; ``scales=(0.75, 0.5)`` is the paper's.
``deeplabv2`` takes any classifier; its dilated stages begin with the dilation of the stage before, as torchvision's do,
where ``deeplabv2_resnet101`` dilates all blocks of a stage alike, as the paper's.

Published weights: the authors' Caffe files as kazuto1011/deeplab-pytorch has them
(:mod:`saccade.weights.layouts.deeplabv2`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.resnet import BottleneckV1, ResNet
from saccade.models.registry import register_model
from saccade.models.segmentation.deeplabv1 import CornerSegmenter
from saccade.models.segmentation.fcn import CAFFE_MEAN
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import linear_rows

__all__ = ["DeepLabV2", "deeplabv2", "deeplabv2_resnet101"]

PAPER = "Chen et al., TPAMI 2018, arXiv 1606.00915"

RATES = (6, 12, 18, 24)  # ASPP-L; ASPP-S has (2, 4, 8, 12)


class DeepLabV2(CornerSegmenter):
    """DeepLabV2: the sum of dilated score layers over the last feature map, the maximum over image sizes.

    Args:
        backbone: Classifier without its head.
        num_classes: Classes.
        rates: Dilations of the score layers.
        scales: Sizes of further, smaller images, as shares of the image.

    Attributes:
        scales: As above; may be changed at any time.

    Raises:
        ConfigError: If a scale is not between 0 and 1.

    Example:
        >>> model = DeepLabV2(build_backbone("resnet18", output_stride=8), num_classes=3, scales=(0.75, 0.5))
        >>> {name: tuple(value.shape[2:]) for name, value in model.supervised(torch.zeros(1, 3, 65, 97)).items()}
        {'logits': (9, 13), 'at_100': (9, 13), 'at_75': (7, 10), 'at_50': (5, 7)}
    """

    head_names = ("aspp",)

    def __init__(
        self, backbone: Classifier, num_classes: int, rates: Sequence[int] = RATES, scales: Sequence[float] = ()
    ) -> None:
        super().__init__(backbone, num_classes)
        if not all(0 < scale < 1 for scale in scales):
            raise ConfigError(f"scales are shares of the image's size, between 0 and 1; got {tuple(scales)}.")
        self.scales = tuple(scales)
        layers = [nn.Conv2d(self.feature_channels[-1], num_classes, 3, padding=rate, dilation=rate) for rate in rates]
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.aspp = nn.ModuleList(layers)
        self.class_rows = linear_rows(*(f"aspp.{index}" for index in range(len(rates))))

    def supervised(self, images: Tensor) -> Mapping[str, Tensor]:
        """``logits`` at the stride of the network, and with ``scales`` those of each size, ``at_75`` for 0.75."""
        each = self._score_sizes(pad_to_multiple(images, self.stride, plus=1))
        named = {f"at_{round(100 * scale)}": one for scale, one in zip((1.0, *self.scales), each, strict=True)}
        return {"logits": _largest(each), **(named if self.scales else {})}

    def score(self, images: Tensor) -> Tensor:
        """Scores (B, C, h + 1, w + 1) of images (B, 3, stride h + 1, stride w + 1), the largest over all sizes."""
        return _largest(self._score_sizes(images))

    def _score_sizes(self, images: Tensor) -> list[Tensor]:
        """Scores of the image and of its smaller copies, each at its own size."""
        height, width = images.shape[-2:]
        each = [self._score_one(images)]
        for scale in self.scales:
            size = [self.stride * round((side - 1) // self.stride * scale) + 1 for side in (height, width)]
            each.append(self._score_one(F.interpolate(images, size, mode="bilinear", align_corners=True)))
        return each

    def _score_one(self, images: Tensor) -> Tensor:
        x = self.features(images)[-1]
        first, *others = self.aspp
        return sum((layer(x) for layer in others), start=first(x))


def _largest(each: Sequence[Tensor]) -> Tensor:
    """Maximum of several maps, corner on corner with the first."""
    size = each[0].shape[-2:]
    others = (F.interpolate(one, size, mode="bilinear", align_corners=True) for one in each[1:])
    return reduce(torch.maximum, others, each[0])


@register_model("segmentation", PAPER)
def deeplabv2_resnet101(
    num_classes: int = 21,
    scales: Sequence[float] = (),
    depths: Sequence[int] = (3, 4, 23, 3),
    weights: str | None = None,
) -> DeepLabV2:
    """DeepLabV2 over ResNet-101 with the stride in the 1x1; 44.0 M parameters, 189 G multiply-adds at 513 x 513.

    Args:
        num_classes: Classes, the background included.
        scales: Sizes of further, smaller images, as shares of the image; (0.75, 0.5) in the paper.
        depths: Blocks of each stage; fewer make a network for small machines.
        weights: Name or path of weights to load, if any.

    Example:
        >>> model = deeplabv2_resnet101(num_classes=3, depths=(1, 1, 1, 1))
        >>> model(torch.zeros(1, 3, 60, 81))["logits"].shape
        torch.Size([1, 3, 60, 81])
    """
    backbone = ResNet(BottleneckV1, depths, output_stride=8)
    backbone.remove_head()
    for stage, dilation in ((backbone.layer3, 2), (backbone.layer4, 4)):
        for block in stage.modules():
            if isinstance(block, BottleneckV1):
                block.conv2.dilation = block.conv2.padding = (dilation, dilation)
    model = DeepLabV2(backbone, num_classes, scales=scales)
    model.input_spec = replace(model.input_spec, size=(513, 513), mean=CAFFE_MEAN)
    return model


@register_model("segmentation", PAPER)
def deeplabv2(
    num_classes: int = 21,
    backbone: str = "resnet18",
    rates: Sequence[int] = RATES,
    scales: Sequence[float] = (),
    weights: str | None = None,
) -> DeepLabV2:
    """DeepLabV2 over any registered classifier that has feature maps.

    Args:
        num_classes: Classes, the background included.
        backbone: Builder name of the classifier; at stride 8 where it can be.
        rates: Dilations of the score layers; (2, 4, 8, 12) suits small images.
        scales: Sizes of further, smaller images, as shares of the image.
        weights: Name or path of weights to load, if any.

    Example:
        >>> deeplabv2(num_classes=11, backbone="resnet50").feature_strides
        (2, 4, 8, 8, 8)
    """
    return DeepLabV2(build_backbone(backbone, output_stride=8), num_classes, rates, scales)
