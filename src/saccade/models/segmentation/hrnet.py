r"""HRNetV2: segmentation by a network that never gives up resolution.

Paper: Jingdong Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020, arXiv
1908.07919 (the head first: Ke Sun et al., "High-Resolution Representations for Labeling Pixels and Regions", arXiv
1904.04514).

The backbone keeps four feature maps side by side and fuses them again and again, so that its finest one knows what the
coarsest one knows; there is no decoder left to build. The head, called HRNetV2, upsamples the three coarser maps to a
quarter of the image, concatenates all four and mixes their channels by a 1x1 convolution; another one gives the
classes (figure 4 (b)).

    image         3 x H    x W
    backbone      w x H/4  x W/4  --------------------\
                 2w x H/8  x W/8  -- bilinear x 2 -----+- concatenated  15w x H/4 x W/4
                 4w x H/16 x W/16 -- bilinear x 4 ----/
                 8w x H/32 x W/32 -- bilinear x 8 ---/
    neck        15w x H/4  x W/4   1x1, BN, ReLU
    head          C x H/4  x W/4   1x1
    logits        C x H    x W     bilinear x 4

``hrnet_seg`` puts the head on any classifier; of its feature maps those from stride 4 on are taken, as here.

Differences from the paper: images whose sides are no multiple of 32 are padded by their last row and column and the
logits are cropped, so that the four maps lie on each other; the authors' code stretches them. As in that code, and
unlike in the classifier, fusion upsamples bilinearly. ``align_corners`` says how: the authors' code of 2019 does not
align them, its later branch with object-contextual representations (which are not part of this file) does.

Published weights: the authors' files (``stage2.0.branches.*``, ``last_layer.*``) load by their path, those of the later
branch with ``align_corners=True``, which nothing in them tells; reader in ``saccade.weights.layouts``. No address is on
record. ``weights="hrnet_w18/imagenet"`` begins with the classifier's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.hrnet import HRModule
from saccade.models.registry import Reported, register_model
from saccade.models.segmentation.base import Segmenter
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import linear_rows

__all__ = ["HRNetV2", "hrnet_seg", "hrnet_w18_seg", "hrnet_w18_small_seg", "hrnet_w48_seg"]

PAPER = "Wang et al., TPAMI 2020, arXiv 1908.07919"


class HRNetV2(Segmenter):
    """HRNetV2 segmenter: all feature maps of a backbone side by side, two 1x1 convolutions (section 3.3).

    Args:
        backbone: Classifier without its head.
        num_classes: Output channels.
        align_corners: Whether upsampling keeps the corners of maps on each other.

    Example:
        >>> model = HRNetV2(build_backbone("hrnet_w18_small"), num_classes=5).eval()
        >>> model.neck[0].in_channels, model(torch.zeros(1, 3, 50, 70))["logits"].shape
        (240, torch.Size([1, 5, 50, 70]))
    """

    neck_names = ("neck",)
    head_names = ("head",)
    class_rows = linear_rows("head")

    def __init__(self, backbone: Classifier, num_classes: int, align_corners: bool = False) -> None:
        super().__init__(num_classes)
        self.align_corners = align_corners
        self.backbone = backbone
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        for module in backbone.modules():
            if isinstance(module, HRModule):
                module.upsampling = {"mode": "bilinear", "align_corners": align_corners}
        self.finest = next((level for level, stride in enumerate(self.feature_strides) if stride >= 4), 0)
        channels = sum(self.feature_channels[self.finest :])
        mix = nn.Conv2d(channels, channels, 1)
        self.neck = nn.Sequential(mix, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(channels, num_classes, 1)
        for layer in (mix, self.head):
            nn.init.normal_(layer.weight, std=0.001)  # as the authors' code does

        self.multiple = max(self.feature_strides)
        self.input_spec = replace(backbone.input_spec, size=(512, 1024), resize="letterbox", pad_multiple=self.multiple)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images (B, 3, H, W) of any size."""
        height, width = images.shape[-2:]
        images = pad_to_multiple(images, self.multiple)
        maps = self.features(images)[self.finest :]
        x = torch.cat([maps[0], *(self._upsample(one, maps[0]) for one in maps[1:])], dim=1)  # (B, 15w, H/4, W/4)
        return {"logits": self._upsample(self.head(self.neck(x)), images)[..., :height, :width]}

    def _upsample(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=self.align_corners)


@register_model("segmentation", PAPER, Reported(params=1.5e6, source="the authors' table of small networks"))
def hrnet_w18_small_seg(num_classes: int = 19, align_corners: bool = False, weights: str | None = None) -> HRNetV2:
    """HRNetV2-W18-Small of the authors' code, version 1; 1.5 M parameters."""
    return HRNetV2(build_backbone("hrnet_w18_small"), num_classes, align_corners)


@register_model("segmentation", PAPER)
def hrnet_w18_seg(num_classes: int = 19, align_corners: bool = False, weights: str | None = None) -> HRNetV2:
    """HRNetV2-W18; 9.6 M parameters, 37 G multiply-adds at 512 x 1024."""
    return HRNetV2(build_backbone("hrnet_w18"), num_classes, align_corners)


@register_model("segmentation", PAPER, Reported(params=65.9e6, source="the table of Cityscapes"))
def hrnet_w48_seg(num_classes: int = 19, align_corners: bool = False, weights: str | None = None) -> HRNetV2:
    """HRNetV2-W48; 65.9 M parameters, 187 G multiply-adds at 512 x 1024."""
    return HRNetV2(build_backbone("hrnet_w48"), num_classes, align_corners)


@register_model("segmentation", PAPER)
def hrnet_seg(
    num_classes: int = 2,
    backbone: str = "hrnet_w18_small",
    align_corners: bool = False,
    weights: str | None = None,
) -> HRNetV2:
    """HRNetV2's head over any registered classifier that has feature maps.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        backbone: Builder name of the classifier.
        align_corners: Whether upsampling keeps the corners of maps on each other.
        weights: Name or path of weights to load, if any.

    Example:
        >>> hrnet_seg(num_classes=11, backbone="resnet18").neck[0].in_channels  # 64 + 128 + 256 + 512
        960
    """
    return HRNetV2(build_backbone(backbone), num_classes, align_corners)
