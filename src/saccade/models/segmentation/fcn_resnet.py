"""FCN over a dilated ResNet, with an auxiliary head; and over any other classifier.

Papers: Jonathan Long, Evan Shelhamer, Trevor Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
2015, arXiv 1411.4038; the dilated ResNet: Fisher Yu, Vladlen Koltun, Thomas Funkhouser, "Dilated Residual Networks",
CVPR 2017, arXiv 1705.09914; the auxiliary head: Hengshuang Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017,
arXiv 1612.01105.

A classifier's last feature map holds what a pixel belongs to, at a 32nd of the resolution. FCN adds finer feature maps
to it; a dilated ResNet needs none, since its last two stages keep a stride of 8 and widen their kernels instead. A
small head scores the classes at every location, and the scores are upsampled to the image. A second head of the same
form on C4 brings gradients into the middle of the network; it runs in training alone.

    image   3 x H   x W
    C1     64 x H/2 x W/2
    C2    256 x H/4 x W/4
    C3    512 x H/8 x W/8
    C4   1024 x H/8 x W/8   dilation 2  ->  auxiliary head: 3x3 256, BN, ReLU, dropout 0.1, 1x1 -> C x H/8 x W/8
    C5   2048 x H/8 x W/8   dilation 4  ->            head: 3x3 512, BN, ReLU, dropout 0.1, 1x1 -> C x H/8 x W/8
    both upsampled bilinearly to C x H x W

Differences from the papers: this is the network that torchvision publishes, an FCN-32s (one head, no sums of skips) at
stride 8; the networks of Long et al. over VGG-16 are in ``fcn.py``. The auxiliary head's loss has the weight 0.4
(Zhao et al. 2017, whose comparison of weights finds it best); torchvision's reference training has 0.5, which is
``model.output_weights = {"auxiliary": 0.5}``.

Published weights: torchvision, trained on the images of COCO that show VOC's 20 classes; reader in
``saccade.weights.layouts.torchvision_segmentation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.registry import register_model
from saccade.models.segmentation.base import Segmenter
from saccade.structures.class_rows import linear_rows

__all__ = ["AuxiliarySegmenter", "BackboneFCN", "FCNHead", "fcn", "fcn_resnet50", "fcn_resnet101"]

PAPER = "Long et al., CVPR 2015, arXiv 1411.4038"
CANVAS = (520, 520)  # of the published networks


class FCNHead(nn.Sequential):
    """FCN head: 3x3 convolution to a quarter of the channels, BN, ReLU, dropout, 1x1 to the classes.

    Args:
        in_channels: Channels of the feature map.
        num_classes: Channels of the scores.

    Example:
        >>> FCNHead(64, 21)(torch.zeros(2, 64, 9, 9)).shape
        torch.Size([2, 21, 9, 9])
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        channels = max(in_channels // 4, 1)
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv2d(channels, num_classes, 1),
        )


class AuxiliarySegmenter(Segmenter):
    """Base of segmenters over a classifier with an auxiliary head on one of its feature maps.

    A subclass writes ``scores``, which makes class scores of the feature maps at any resolution.

    Args:
        backbone: Classifier without its head.
        num_classes: Output channels.
        auxiliary_map: Index of the feature map below the auxiliary head; the last but one (C4) if not given, and the
            only one where there is one.
    """

    output_weights: Mapping[str, float] = {"auxiliary": 0.4}
    head_names = ("head",)
    auxiliary_heads = ("auxiliary_head",)

    def __init__(self, backbone: Classifier, num_classes: int, auxiliary_map: int | None = None) -> None:
        super().__init__(num_classes)
        self.auxiliary_map = max(len(backbone.feature_channels) - 2, 0) if auxiliary_map is None else auxiliary_map
        self.backbone = backbone
        self.auxiliary_head = FCNHead(backbone.feature_channels[self.auxiliary_map], num_classes)
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.input_spec = replace(backbone.input_spec, size=CANVAS, resize="letterbox")

    def scores(self, maps: list[Tensor]) -> Tensor:
        """Class scores (B, C, h, w) of the backbone's feature maps."""
        raise NotImplementedError

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images (B, 3, H, W) of any size."""
        return {"logits": upsample(self.scores(self.features(images)), images)}

    def supervised(self, images: Tensor) -> Outputs:
        """``logits`` and, of the auxiliary head, ``auxiliary``, both (B, C, H, W)."""
        maps = self.features(images)
        auxiliary = self.auxiliary_head(maps[self.auxiliary_map])
        return {"logits": upsample(self.scores(maps), images), "auxiliary": upsample(auxiliary, images)}


class BackboneFCN(AuxiliarySegmenter):
    """FCN over a classifier: a head on its last feature map, an auxiliary head on the one before it.

    Args:
        backbone: Classifier without its head.
        num_classes: Output channels.

    Example:
        >>> model = BackboneFCN(build_backbone("mobilenet_v3_small", output_stride=8), num_classes=2)
        >>> {name: tuple(one.shape) for name, one in model.supervised(torch.zeros(2, 3, 50, 70)).items()}
        {'logits': (2, 2, 50, 70), 'auxiliary': (2, 2, 50, 70)}
    """

    class_rows = linear_rows("head.4", "auxiliary_head.4")

    def __init__(self, backbone: Classifier, num_classes: int) -> None:
        super().__init__(backbone, num_classes)
        self.head = FCNHead(backbone.feature_channels[-1], num_classes)

    def scores(self, maps: list[Tensor]) -> Tensor:
        """Class scores (B, C, h, w) at the resolution of the last feature map."""
        scores: Tensor = self.head(maps[-1])
        return scores


def upsample(scores: Tensor, images: Tensor) -> Tensor:
    """Class scores (B, C, h, w) upsampled bilinearly to the size of the images."""
    return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


@register_model("segmentation", PAPER)
def fcn_resnet50(num_classes: int = 21, output_stride: int = 8, weights: str | None = None) -> BackboneFCN:
    """FCN over a dilated ResNet-50; 35.3 M parameters, 143 G multiply-adds at 520 x 520.

    Example:
        >>> model = fcn_resnet50().eval()
        >>> model(torch.zeros(1, 3, 65, 97))["logits"].shape, model.feature_strides
        (torch.Size([1, 21, 65, 97]), (2, 4, 8, 8, 8))
    """
    return BackboneFCN(build_backbone("resnet50", output_stride=output_stride), num_classes)


@register_model("segmentation", PAPER)
def fcn_resnet101(num_classes: int = 21, output_stride: int = 8, weights: str | None = None) -> BackboneFCN:
    """FCN over a dilated ResNet-101; 54.3 M parameters, 223 G multiply-adds at 520 x 520."""
    return BackboneFCN(build_backbone("resnet101", output_stride=output_stride), num_classes)


@register_model("segmentation", PAPER)
def fcn(
    num_classes: int = 21, backbone: str = "resnet18", output_stride: int = 8, weights: str | None = None
) -> BackboneFCN:
    """FCN over any registered classifier that has feature maps.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        backbone: Builder name of the classifier.
        output_stride: Stride of the last feature map: 32, or 16 or 8 where the backbone can trade strides for dilation;
            others have their own.
        weights: Name or path of weights to load, if any.

    Example:
        >>> fcn(backbone="mobilenet_v2").feature_strides, fcn(backbone="vgg11").feature_strides
        ((2, 4, 8, 8, 8), (2, 4, 8, 16, 32))
    """
    return BackboneFCN(build_backbone(backbone, output_stride=output_stride), num_classes)
