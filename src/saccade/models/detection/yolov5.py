"""YOLOv5, release 6.1: n, s, m, l, x at 640 pixels, and their P6 forms at 1280.

Ultralytics, 2020 to 2022; there is no paper. Written from public descriptions of the network and its training, without
the authors' code.

A YOLOv3 with the parts of its successors: a backbone of cross-stage partial layers (C3), a pyramid from coarse to fine
and back joined by concatenation, and one 1x1 convolution a level that predicts three anchors a cell. Five sizes are one
network with its depth and width multiplied.

    images (B, 3, H, W), RGB 0..1
      |  6x6 / 2                                          p1 /2     64 channels x width
      |  four stages (P6: five) of 3x3 / 2 and C3         c2 /4 .. c5 /32    128 256 512 1024 (P6: 128 256 512 768 1024)
      |  with 3, 6, 9, 3 (P6: 3, 6, 9, 3, 3) bottlenecks x depth; SPPF behind the last
      |  coarse to fine: 1x1, twice the size, joined to the level below, C3 without shortcuts
      |  fine to coarse: 3x3 / 2, joined to the 1x1 of the level above, C3 without shortcuts
      |  1x1 with bias                                    n3 /8, n4 /16, n5 /32 (P6: n6 /64)    3 x (5 + classes)

A centre is ``2 sigmoid(t) - 0.5`` cells from its cell's corner, a side ``(2 sigmoid(t))^2`` times its anchor's, so that
neither can run away. An object is assigned to every anchor of which no side differs by a factor of four or more, on any
level, in the cell of its centre and the two nearest to it.

The loss is 0.05 CIoU + 1.0 objectness + 0.5 classes, each a mean over what it is made of: positives, cells of a level,
positives and classes. The target of objectness is the CIoU of the predicted box, at least 0; levels weigh 4, 1, 0.4
(P6: 4, 1, 0.25, 0.06). All three were chosen for three levels, 80 classes and 640 pixels, and are scaled to others as
published.

Differences from the release: the loss is multiplied by 64, where the authors multiply it by the images of a batch and
add up gradients to a nominal batch of 64, which is the same up to there. With one class the loss of classes trains too.
The first biases of objectness and classes are set, where the authors add to those of torch's initialisation. Where
several objects claim one row, the target of its objectness is the largest CIoU, not that of the last object.

Published weights are pickled modules; a plain state dict of one is read by :mod:`saccade.weights.layouts.yolov5`, which
says how its owner saves it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.blocks.csp import CSPLayer, SPPBottleneck
from saccade.models.base import Outputs
from saccade.models.detection.anchor_yolo import Anchors, AnchorYOLO
from saccade.models.detection.yolo_assign_ratio import claim_by_ratio
from saccade.models.detection.yolo_cells import CellGrid, CellMatches
from saccade.models.detection.yolov5_loss import YOLOv5Gains, yolov5_loss
from saccade.models.registry import register_model
from saccade.ops.nms import NmsSettings
from saccade.structures.input_spec import InputSpec

__all__ = [
    "YOLOv5",
    "YOLOv5Backbone",
    "YOLOv5Neck",
    "yolov5l",
    "yolov5l6",
    "yolov5m",
    "yolov5m6",
    "yolov5n",
    "yolov5n6",
    "yolov5s",
    "yolov5s6",
    "yolov5x",
    "yolov5x6",
]

_PAPER = "Ultralytics YOLOv5 v6.1, 2022 (no paper)"

# Width and height in pixels, three a level, fine to coarse.
ANCHORS_P5 = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
ANCHORS_P6 = (
    ((19.0, 27.0), (44.0, 40.0), (38.0, 94.0)),
    ((96.0, 68.0), (86.0, 152.0), (180.0, 137.0)),
    ((140.0, 301.0), (303.0, 264.0), (238.0, 542.0)),
    ((436.0, 615.0), (739.0, 380.0), (925.0, 792.0)),
)
_BALANCE = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}  # weights of the objectness, by the number of levels


class YOLOv5Backbone(nn.Module):
    """Backbone: a 6x6 stem, then stages of a strided 3x3 convolution and a C3; pyramid pooling behind the last.

    Args:
        channels: Of the stem and of each stage.
        bottlenecks: Of the C3 of each stage.

    Example:
        >>> backbone = YOLOv5Backbone((16, 32, 64, 128, 256), bottlenecks=(1, 2, 3, 1))
        >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 64, 64))]
        [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """

    def __init__(self, channels: Sequence[int], bottlenecks: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, channels[0], 6, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNormAct(below, width, 3, 2), CSPLayer(width, width, count))
            for below, width, count in zip(channels[:-1], channels[1:], bottlenecks, strict=True)
        )
        last = self.stages[-1]
        assert isinstance(last, nn.Sequential)
        last.append(SPPBottleneck(channels[-1], channels[-1]))
        self.out_channels = tuple(channels[2:])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to feature maps of stride 8, 16, 32 and so on."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]


class YOLOv5Neck(nn.Module):
    """Path aggregation (Liu et al. 2018, PANet): a pyramid from coarse to fine and back, joined by concatenation.

    Args:
        channels: Of each feature map, fine to coarse, in and out.
        bottlenecks: Of the C3 at each joint.

    Example:
        >>> maps = [torch.zeros(1, 64, 8, 8), torch.zeros(1, 128, 4, 4), torch.zeros(1, 256, 2, 2)]
        >>> [tuple(level.shape) for level in YOLOv5Neck((64, 128, 256), bottlenecks=1)(maps)]
        [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """

    def __init__(self, channels: Sequence[int], bottlenecks: int) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(channels))  # a level and the coarser one
        self.laterals = nn.ModuleList(ConvNormAct(coarse, fine) for fine, coarse in pairs)
        self.to_fine = nn.ModuleList(CSPLayer(2 * fine, fine, bottlenecks, shortcut=False) for fine, _ in pairs)
        self.strided = nn.ModuleList(ConvNormAct(fine, fine, 3, 2) for fine, _ in pairs)
        self.to_coarse = nn.ModuleList(
            CSPLayer(2 * fine, coarse, bottlenecks, shortcut=False) for fine, coarse in pairs
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps, fine to coarse, to as many of the same shapes."""
        x, laterals = maps[-1], []
        for lateral, joint, fine in zip(
            reversed(self.laterals), reversed(self.to_fine), reversed(maps[:-1]), strict=True
        ):
            coarse = lateral(x)
            laterals.append(coarse)
            # To the size of the finer map rather than by 2: the same for multiples of the stride, and others work too.
            x = joint(torch.cat((F.interpolate(coarse, size=fine.shape[-2:], mode="nearest"), fine), dim=1))
        out = [x]
        for strided, joint, lateral in zip(self.strided, self.to_coarse, reversed(laterals), strict=True):
            x = joint(torch.cat((strided(x), lateral), dim=1))
            out.append(x)
        return out


class YOLOv5(AnchorYOLO):
    """YOLOv5 of any size, for three levels (P5) or four (P6).

    Args:
        num_classes: Classes without background.
        depth: Factor on the number of bottlenecks.
        width: Factor on the channels.
        levels: 3, or 4 for the P6 form.
        size: Side of the square canvas of training and evaluation, pixels.
        anchors: As in :class:`AnchorYOLO`.

    Raises:
        ConfigError: If the anchors do not fit the levels.

    Attributes:
        gains: Weights of the loss terms, before they are scaled to the number of classes and the canvas.

    Example:
        >>> model = saccade.create_model("yolov5n", num_classes=2).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 252, 4]), torch.Size([1]))
    """

    size_coding = "square"

    def __init__(
        self,
        num_classes: int,
        depth: float,
        width: float,
        levels: int = 3,
        size: int = 640,
        anchors: Anchors = ANCHORS_P5,
    ) -> None:
        strides = tuple(8 * 2**level for level in range(levels))
        super().__init__(
            num_classes,
            anchors,
            strides,
            predictions=[f"head.{level}" for level in range(levels)],
            nms=NmsSettings(0.6, score_threshold=0.001, pre_nms=1000, max_detections=300),
            xy_scales=(2.0,) * levels,
        )
        extra = (768,) if levels == 4 else ()
        channels = [math.ceil(count * width / 8) * 8 for count in (64, 128, 256, 512, *extra, 1024)]
        blocks = [max(round(count * depth), 1) for count in (3, 6, 9, *(3 for _ in extra), 3)]
        self.backbone = YOLOv5Backbone(channels, blocks)
        self.neck = YOLOv5Neck(self.backbone.out_channels, blocks[0])
        self.feature_channels = self.backbone.out_channels
        self.head = nn.ModuleList(
            nn.Conv2d(channels, self.outputs_of(level), 1) for level, channels in enumerate(self.feature_channels)
        )
        self.stage_names = ("backbone.stem", *(f"backbone.stages.{stage}" for stage in range(len(blocks))))
        self.neck_names = ("neck",)
        self.input_spec = InputSpec(size=(size, size), resize="letterbox", pad_multiple=strides[-1])
        self.gains = YOLOv5Gains(balance=_BALANCE[levels])
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 0.03
        self._init_biases()

    def _init_biases(self) -> None:
        # As if an image of 640 pixels had eight objects, and 0.6 of them were of each class.
        for level, stride in enumerate(self.feature_strides):
            bias = self.head[level].bias
            assert isinstance(bias, Tensor)
            own = bias.detach().view(self.anchor_counts[level], -1)
            own[:, 4] = math.log(8 / (640 / stride) ** 2)
            own[:, 5:] = math.log(0.6 / (self.num_classes - 0.99999))

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the neck, stride 8, 16, 32 and, in the P6 form, 64."""
        maps: list[Tensor] = self.neck(self.backbone(images))
        return maps

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        """Last map of each level, fine to coarse, (B, 3 x (5 + classes), H, W)."""
        return [predict(level) for predict, level in zip(self.head, self.features(images), strict=True)]

    def claim(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, None]:
        """By the ratio of sides, at three cells a level; a row that several objects claim trains for each of them."""
        return claim_by_ratio(grid, boxes_xyxy, labels), None

    def loss_terms(
        self, outputs: Outputs, matches: CellMatches, boxes_xyxy: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """See :func:`saccade.models.detection.yolov5_loss.yolov5_loss`."""
        gains = self.gains.scaled(self.num_classes, self.input_spec.size)
        return yolov5_loss(outputs, matches, boxes_xyxy, labels, gains)


@register_model(task="detection", paper=_PAPER)
def yolov5n(num_classes: int = 80, anchors: Anchors = ANCHORS_P5, weights: str | None = None) -> YOLOv5:
    """YOLOv5n: depth 0.33, width 0.25, 640 pixels; 1.9 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: Width and height in pixels of the anchors of each level, fine to coarse; those of COCO if not given.
        weights: As everywhere.

    Example:
        >>> model = yolov5n(num_classes=3)
        >>> model.num_classes, model.input_spec.size, model.feature_strides
        (3, (640, 640), (8, 16, 32))
    """
    return YOLOv5(num_classes, 0.33, 0.25, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5s(num_classes: int = 80, anchors: Anchors = ANCHORS_P5, weights: str | None = None) -> YOLOv5:
    """YOLOv5s: depth 0.33, width 0.5, 640 pixels; 7.2 M parameters."""
    return YOLOv5(num_classes, 0.33, 0.5, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5m(num_classes: int = 80, anchors: Anchors = ANCHORS_P5, weights: str | None = None) -> YOLOv5:
    """YOLOv5m: depth 0.67, width 0.75, 640 pixels; 21.2 M parameters."""
    return YOLOv5(num_classes, 0.67, 0.75, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5l(num_classes: int = 80, anchors: Anchors = ANCHORS_P5, weights: str | None = None) -> YOLOv5:
    """YOLOv5l: depth 1, width 1, 640 pixels; 46.6 M parameters."""
    return YOLOv5(num_classes, 1, 1, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5x(num_classes: int = 80, anchors: Anchors = ANCHORS_P5, weights: str | None = None) -> YOLOv5:
    """YOLOv5x: depth 1.33, width 1.25, 640 pixels; 86.7 M parameters."""
    return YOLOv5(num_classes, 1.33, 1.25, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5n6(num_classes: int = 80, anchors: Anchors = ANCHORS_P6, weights: str | None = None) -> YOLOv5:
    """YOLOv5n6: depth 0.33, width 0.25, 1280 pixels, four levels; 3.2 M parameters."""
    return YOLOv5(num_classes, 0.33, 0.25, levels=4, size=1280, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5s6(num_classes: int = 80, anchors: Anchors = ANCHORS_P6, weights: str | None = None) -> YOLOv5:
    """YOLOv5s6: depth 0.33, width 0.5, 1280 pixels, four levels; 12.6 M parameters."""
    return YOLOv5(num_classes, 0.33, 0.5, levels=4, size=1280, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5m6(num_classes: int = 80, anchors: Anchors = ANCHORS_P6, weights: str | None = None) -> YOLOv5:
    """YOLOv5m6: depth 0.67, width 0.75, 1280 pixels, four levels; 35.7 M parameters."""
    return YOLOv5(num_classes, 0.67, 0.75, levels=4, size=1280, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5l6(num_classes: int = 80, anchors: Anchors = ANCHORS_P6, weights: str | None = None) -> YOLOv5:
    """YOLOv5l6: depth 1, width 1, 1280 pixels, four levels; 76.8 M parameters."""
    return YOLOv5(num_classes, 1, 1, levels=4, size=1280, anchors=anchors)


@register_model(task="detection", paper=_PAPER)
def yolov5x6(num_classes: int = 80, anchors: Anchors = ANCHORS_P6, weights: str | None = None) -> YOLOv5:
    """YOLOv5x6: depth 1.33, width 1.25, 1280 pixels, four levels; 140.8 M parameters."""
    return YOLOv5(num_classes, 1.33, 1.25, levels=4, size=1280, anchors=anchors)
