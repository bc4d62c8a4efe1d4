"""LR-ASPP: a segmentation head that costs next to nothing, made for MobileNetV3.

Paper: Andrew Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244, section 6.4 and figure 10.

DeepLabV3's head costs more than a small backbone does. LR-ASPP keeps two of its ideas: the context of the whole image,
which here is a gate on the channels as in squeeze-and-excitation, and a resolution of 16 by dilation. Details come from
a feature map of stride 8, scored by a 1x1 convolution of its own and added.

    low    40 x H/8  x W/8  ------------------------------------------ 1x1 -> C x H/8 x W/8 --+
    high  960 x H/16 x W/16 -> 1x1, BN, ReLU: 128 -> x -> upsampled to H/8 -> 1x1 -> C ------- + -> C x H x W
                            -> mean over space -> 1x1: 128 -> sigmoid --^

Differences from the paper: the gate is computed from the mean over the whole map, where the paper's pooling has a
window of 49 x 49 at strides of 16 x 20 (as large as half of a Cityscapes image); and ``low`` is the first unit of
stride 8, not the last. Both as in the file that torchvision publishes.

Published weights: torchvision, trained on the images of COCO that show VOC's 20 classes; reader in
``saccade.weights.layouts.torchvision_segmentation``.
"""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.mobilenet_v3 import MobileNetV3
from saccade.models.registry import register_model
from saccade.models.segmentation.base import Segmenter
from saccade.models.segmentation.fcn_resnet import CANVAS, upsample
from saccade.structures.class_rows import linear_rows

__all__ = ["LRASPP", "lraspp", "lraspp_mobilenet_v3_large"]

PAPER = "Howard et al., ICCV 2019, arXiv 1905.02244"


class LRASPP(Segmenter):
    """LR-ASPP over a classifier: a gated last feature map and one of stride 8, each scored and added (figure 10).

    Args:
        backbone: Classifier without its head; at least two feature maps.
        num_classes: Output channels.
        channels: Channels of the reduced last feature map.

    Raises:
        ConfigError: If the backbone has one feature map alone.

    Example:
        >>> model = LRASPP(build_backbone("mobilenet_v3_small", output_stride=16), num_classes=2).eval()
        >>> model.low_map, model(torch.zeros(1, 3, 50, 70))["logits"].shape
        (2, torch.Size([1, 2, 50, 70]))
    """

    neck_names = ("reduce", "gate")
    head_names = ("low_head", "high_head")
    class_rows = linear_rows("low_head", "high_head")

    def __init__(self, backbone: Classifier, num_classes: int, channels: int = 128) -> None:
        super().__init__(num_classes)
        self.low_map = _map_of_stride_8(backbone)
        low, high = backbone.feature_channels[self.low_map], backbone.feature_channels[-1]
        self.backbone = backbone
        self.reduce = nn.Sequential(
            nn.Conv2d(high, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, channels, 1, bias=False), nn.Sigmoid())
        self.low_head = nn.Conv2d(low, num_classes, 1)
        self.high_head = nn.Conv2d(channels, num_classes, 1)
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.input_spec = replace(backbone.input_spec, size=CANVAS, resize="letterbox")

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images (B, 3, H, W) of any size."""
        maps = self.features(images)
        low, high = maps[self.low_map], maps[-1]
        x = self.reduce(high) * self.gate(high)
        x = F.interpolate(x, size=low.shape[-2:], mode="bilinear", align_corners=False)
        return {"logits": upsample(self.low_head(low) + self.high_head(x), images)}


def _map_of_stride_8(backbone: Classifier) -> int:
    """Index of the first feature map of stride 8, or of the largest stride below it, before the last map."""
    strides = backbone.feature_strides[:-1]
    if not strides:
        raise ConfigError(
            "LR-ASPP reads two feature maps, and this backbone has one. Choose one with several, such as "
            "mobilenet_v3_large."
        )
    below = [stride for stride in strides if stride <= 8]
    return strides.index(max(below)) if below else 0


def _over(name: str, num_classes: int, output_stride: int) -> LRASPP:
    backbone = build_backbone(name, output_stride=output_stride)
    if isinstance(backbone, MobileNetV3):
        backbone.read_strided_units()
    return LRASPP(backbone, num_classes)


@register_model("segmentation", PAPER)
def lraspp_mobilenet_v3_large(num_classes: int = 21, output_stride: int = 16, weights: str | None = None) -> LRASPP:
    """LR-ASPP over MobileNetV3-Large; 3.2 M parameters, 2.1 G multiply-adds at 520 x 520.

    Example:
        >>> lraspp_mobilenet_v3_large().eval()(torch.zeros(1, 3, 65, 97))["logits"].shape
        torch.Size([1, 21, 65, 97])
    """
    return _over("mobilenet_v3_large", num_classes, output_stride)


@register_model("segmentation", PAPER)
def lraspp(
    num_classes: int = 21, backbone: str = "mobilenet_v3_large", output_stride: int = 16, weights: str | None = None
) -> LRASPP:
    """LR-ASPP over any registered classifier that has several feature maps.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        backbone: Builder name of the classifier.
        output_stride: Stride of the last feature map: 32, or 16 or 8 where the backbone can trade strides for dilation;
            others have their own.
        weights: Name or path of weights to load, if any.

    Example:
        >>> model = lraspp(num_classes=11, backbone="resnet18")
        >>> model.low_head, model.high_head.in_channels
        (Conv2d(128, 11, kernel_size=(1, 1), stride=(1, 1)), 128)
    """
    return _over(backbone, num_classes, output_stride)
