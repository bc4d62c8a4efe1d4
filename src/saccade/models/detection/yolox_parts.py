"""Parts of YOLOX: its backbone, two necks, and the decoupled head. The network itself is in ``yolox.py``.

Names of modules and their order are those of the official checkpoints
(``backbone.backbone.dark3.1.m.0.conv1.conv.weight``), so that these load as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormAct, DepthwiseSeparableConv
from saccade.blocks.csp import CSPLayer, Focus, SPPBottleneck
from saccade.models.classification.base import Classifier
from saccade.models.classification.darknet53 import LEAKY
from saccade.models.detection.dense import log_odds, map_rows
from saccade.models.detection.yolov3_parts import leaky_conv, upsample_and_join, yolov3_joint

__all__ = ["YOLOFPN", "YOLOPAFPN", "CSPDarknet", "DecoupledHead", "HeadOutputs"]

Maps = tuple[Tensor, Tensor, Tensor]


class CSPDarknet(nn.Module):
    """Backbone of cross-stage partial layers: a Focus stem, then four stages, each half the size and twice the width.

    Args:
        depth: Factor on the number of bottlenecks (3, 9, 9, 3).
        width: Factor on the channels (64, 128, 256, 512, 1024).
        depthwise: 3x3 convolutions as depthwise separable ones (nano).

    Example:
        >>> [tuple(level.shape) for level in CSPDarknet(0.33, 0.25)(torch.zeros(1, 3, 64, 64))]
        [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """

    stage_names = ("stem", "dark2", "dark3", "dark4", "dark5")

    def __init__(self, depth: float, width: float, depthwise: bool = False) -> None:
        super().__init__()
        conv = DepthwiseSeparableConv if depthwise else ConvNormAct
        base, blocks = int(64 * width), max(round(3 * depth), 1)
        self.stem = Focus(3, base)
        self.dark2 = nn.Sequential(
            conv(base, base * 2, 3, 2), CSPLayer(base * 2, base * 2, blocks, depthwise=depthwise)
        )
        self.dark3 = nn.Sequential(
            conv(base * 2, base * 4, 3, 2), CSPLayer(base * 4, base * 4, blocks * 3, depthwise=depthwise)
        )
        self.dark4 = nn.Sequential(
            conv(base * 4, base * 8, 3, 2), CSPLayer(base * 8, base * 8, blocks * 3, depthwise=depthwise)
        )
        self.dark5 = nn.Sequential(
            conv(base * 8, base * 16, 3, 2),
            SPPBottleneck(base * 16, base * 16),
            CSPLayer(base * 16, base * 16, blocks, shortcut=False, depthwise=depthwise),
        )
        self.out_channels = (base * 4, base * 8, base * 16)

    def forward(self, images: Tensor) -> Maps:
        """Images (B, 3, H, W) to feature maps of stride 8, 16 and 32."""
        c3 = self.dark3(self.dark2(self.stem(images)))
        c4 = self.dark4(c3)
        return c3, c4, self.dark5(c4)


class YOLOPAFPN(nn.Module):
    """Path aggregation network: a pyramid from coarse to fine and back, joined by concatenation and CSP layers.

    Liu et al. 2018 (PANet), with CSP layers as in YOLOv4 and YOLOv5.

    Args:
        backbone: Gives three feature maps, ``out_channels`` wide.
        depth: Factor on the three bottlenecks of each joint.
        depthwise: 3x3 convolutions as depthwise separable ones (nano).
    """

    def __init__(self, backbone: CSPDarknet, depth: float, depthwise: bool = False) -> None:
        super().__init__()
        conv = DepthwiseSeparableConv if depthwise else ConvNormAct
        c3, c4, c5 = backbone.out_channels
        joint = functools.partial(CSPLayer, blocks=round(3 * depth), shortcut=False, depthwise=depthwise)
        self.backbone = backbone
        self.lateral_conv0 = ConvNormAct(c5, c4)
        self.C3_p4 = joint(2 * c4, c4)
        self.reduce_conv1 = ConvNormAct(c4, c3)
        self.C3_p3 = joint(2 * c3, c3)
        self.bu_conv2 = conv(c3, c3, 3, 2)
        self.C3_n3 = joint(2 * c3, c4)
        self.bu_conv1 = conv(c4, c4, 3, 2)
        self.C3_n4 = joint(2 * c4, c5)
        self.out_channels = backbone.out_channels

    def forward(self, images: Tensor) -> Maps:
        """Images (B, 3, H, W) to feature maps of stride 8, 16 and 32."""
        c3, c4, c5 = self.backbone(images)
        lateral5 = self.lateral_conv0(c5)
        p4 = self.C3_p4(upsample_and_join(lateral5, c4))
        lateral4 = self.reduce_conv1(p4)
        n3 = self.C3_p3(upsample_and_join(lateral4, c3))
        n4 = self.C3_n3(torch.cat((self.bu_conv2(n3), lateral4), dim=1))
        n5 = self.C3_n4(torch.cat((self.bu_conv1(n4), lateral5), dim=1))
        return n3, n4, n5


class YOLOFPN(nn.Module):
    """Feature pyramid of YOLOv3, coarse to fine, with five alternating 1x1 and 3x3 convolutions at each joint.

    Between backbone and pyramid stands a spatial pyramid pooling block, as in the paper's baseline (section 2.1).

    Args:
        backbone: Darknet-53 without its head.
    """

    def __init__(self, backbone: Classifier) -> None:
        super().__init__()
        c3, c4, _ = backbone.feature_channels[-3:]
        c5 = 512
        self.backbone = backbone
        self.spp = nn.Sequential(
            leaky_conv(2 * c5, c5),
            leaky_conv(c5, 2 * c5, 3),
            SPPBottleneck(2 * c5, c5, activation=LEAKY),
            leaky_conv(c5, 2 * c5, 3),
            leaky_conv(2 * c5, c5),
        )
        self.out1_cbl = leaky_conv(c5, 256)
        self.out1 = yolov3_joint(256 + c4, 256)
        self.out2_cbl = leaky_conv(256, 128)
        self.out2 = yolov3_joint(128 + c3, 128)
        self.out_channels = (128, 256, c5)

    def forward(self, images: Tensor) -> Maps:
        """Images (B, 3, H, W) to feature maps of stride 8, 16 and 32."""
        c3, c4, c5 = self.backbone.features(images)[-3:]
        c5 = self.spp(c5)
        p4 = self.out1(upsample_and_join(self.out1_cbl(c5), c4))
        p3 = self.out2(upsample_and_join(self.out2_cbl(p4), c3))
        return p3, p4, c5


class HeadOutputs(NamedTuple):
    """Outputs of the head for all A anchor points of all levels."""

    boxes: Tensor  # (B, A, 4) raw offsets
    objectness: Tensor  # (B, A) logits
    logits: Tensor  # (B, A, num_classes)


class DecoupledHead(nn.Module):
    """Two branches a level, one for classes and one for box and objectness (section 2.1, "Decoupled head", figure 2).

    Args:
        in_channels: Channels of the three feature maps.
        num_classes: Classes without background.
        channels: Width inside the head.
        depthwise: 3x3 convolutions as depthwise separable ones (nano).
        activation: Makes the activations.

    Example:
        >>> head = DecoupledHead((64, 128, 256), num_classes=5, channels=32)
        >>> maps = [torch.zeros(1, 64, 8, 8), torch.zeros(1, 128, 4, 4), torch.zeros(1, 256, 2, 2)]
        >>> head(maps).logits.shape
        torch.Size([1, 84, 5])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int,
        depthwise: bool = False,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        conv = DepthwiseSeparableConv if depthwise else ConvNormAct

        def branch() -> nn.Sequential:
            return nn.Sequential(*(conv(channels, channels, 3, activation=activation) for _ in range(2)))

        self.num_classes = num_classes
        levels = range(len(in_channels))
        self.cls_convs = nn.ModuleList(branch() for _ in levels)
        self.reg_convs = nn.ModuleList(branch() for _ in levels)
        self.cls_preds = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for _ in levels)
        self.reg_preds = nn.ModuleList(nn.Conv2d(channels, 4, 1) for _ in levels)
        self.obj_preds = nn.ModuleList(nn.Conv2d(channels, 1, 1) for _ in levels)
        self.stems = nn.ModuleList(ConvNormAct(width, channels, activation=activation) for width in in_channels)
        self._init_biases(prior=0.01)

    def _init_biases(self, prior: float) -> None:
        # At the start everything is background with probability 1 - prior.
        for name, parameter in self.named_parameters():
            if name.startswith(("cls_preds", "obj_preds")) and name.endswith("bias"):
                nn.init.constant_(parameter, log_odds(prior))

    def forward(self, maps: Sequence[Tensor]) -> HeadOutputs:
        """Feature maps (B, C, H, W), fine to coarse, to rows level by level."""
        boxes, objectness, logits = [], [], []
        branches = zip(
            self.stems,
            self.cls_convs,
            self.cls_preds,
            self.reg_convs,
            self.reg_preds,
            self.obj_preds,
            maps,
            strict=True,
        )
        for stem, cls_conv, cls_pred, reg_conv, reg_pred, obj_pred, level in branches:
            x = stem(level)
            logits.append(map_rows(cls_pred(cls_conv(x)), self.num_classes))
            x = reg_conv(x)
            boxes.append(map_rows(reg_pred(x), 4))
            objectness.append(map_rows(obj_pred(x), 1))
        return HeadOutputs(torch.cat(boxes, dim=1), torch.cat(objectness, dim=1).squeeze(-1), torch.cat(logits, dim=1))
