r"""YOLOv4: Optimal Speed and Accuracy of Object Detection.

Alexey Bochkovskiy, Chien-Yao Wang, Hong-Yuan Mark Liao; 2020, arXiv 2004.10934. YOLOv4-tiny: Chien-Yao Wang et al.,
"Scaled-YOLOv4", CVPR 2021, arXiv 2011.08036, section 4.2.

YOLOv3 with what had been found since: a backbone of cross-stage partial stages with Mish, spatial pyramid pooling, and
a pyramid that goes from coarse to fine and back (PANet), joined by concatenation. Centres reach a little beyond their
cell (``scale_x_y``), an object is assigned to every anchor whose shape overlaps it enough, and boxes learn by CIoU.

    images (B, 3, H, W), RGB 0..1
      |  CSPDarknet-53, Mish                              c3 /8   c4 /16   c5 /32        256 512 1024 channels
      |  6 convolutions with pooling in their middle -----------------------> p5         512; leaky ReLU from here on
      |  1x1, twice the size, beside 1x1 of c4; 5 convolutions -----> p4 <----|          256
      |  1x1, twice the size, beside 1x1 of c3; 5 conv. ----> n3 <----|                  128
      |  3x3 / 2, beside p4; 5 convolutions                   |-----> n4                 256
      |  3x3 / 2, beside p5; 5 convolutions                           |------> n5        512
      |  a level: 3x3, then 1x1 with bias                 /8      /16      /32           3 x (5 + classes)

    tiny: two 3x3 / 2, three stages of which half of the channels run through two more convolutions, with pooling behind
    each; a 3x3; c4 /16 (256), c5 /32 (512); the pyramid of YOLOv3-tiny; leaky ReLU throughout

Differences from the paper: CSPDarknet-53 makes the two halves of a stage by one convolution, and joins them in the
other order, so that the columns of its ``conv_transition`` are those of Darknet with halves swapped. Cross-mini-batch
normalisation, DropBlock and self-adversarial training are not part of it; mosaic and the cosine schedule are settings
of a run. Darknet stretches images to the canvas unless told otherwise; here their aspect is kept, as in YOLOv3.

Darknet multiplies the gradients of CIoU by 0.07 (``iou_normalizer``), but leaves out most of the chain rule: centres
lack the slope of the sigmoid and the size of a cell, sides that of the anchor, in units of the image. With whole
gradients the box term has the factor :data:`BOX_GAIN`, which gives gradients of the same size.

YOLOv4-tiny has anchors 0, 1, 2 of its list on the fine level; the authors' configuration gave it 1, 2, 3, and their
published weights need ``anchors=ANCHORS_TINY_PUBLISHED`` of :mod:`saccade.models.detection.yolov3`, where more is said.

Published weights: https://github.com/AlexeyAB/darknet; layers are in the order of their files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from saccade.blocks.darknet_pool import darknet_max_pool
from saccade.errors import ConfigError
from saccade.models.classification.base import build_backbone
from saccade.models.detection.anchor_yolo import Anchors
from saccade.models.detection.yolo_assign_shape import claim_overlapping
from saccade.models.detection.yolo_cells import CellGrid, CellMatches
from saccade.models.detection.yolo_loss import YoloBoxLoss, YoloLoss, YoloObjectness
from saccade.models.detection.yolov3 import ANCHORS_TINY
from saccade.models.detection.yolov3_parts import (
    Pyramid,
    PyramidYOLO,
    TinyPyramid,
    YOLOBackbone,
    init_as_darknet,
    leaky_conv,
    upsample_and_join,
    yolov3_joint,
)
from saccade.models.registry import register_model
from saccade.ops.nms import NmsSettings
from saccade.structures.input_spec import InputSpec

__all__ = [
    "ANCHORS",
    "BOX_GAIN",
    "TinyCSPDarknet",
    "TinyCrossStage",
    "YOLOv4",
    "YOLOv4Pyramid",
    "yolov4",
    "yolov4_tiny",
]

_PAPER = "Bochkovskiy et al. 2020, arXiv 2004.10934"
_TINY_PAPER = "Wang et al., CVPR 2021, arXiv 2011.08036"

# Width and height in pixels, three a level, fine to coarse.
ANCHORS = (
    ((12.0, 16.0), (19.0, 36.0), (40.0, 28.0)),
    ((36.0, 75.0), (76.0, 55.0), (72.0, 146.0)),
    ((142.0, 110.0), (192.0, 243.0), (459.0, 401.0)),
)
BOX_GAIN = 0.7  # geometric mean over the nine anchors; 0.1 for the largest, 4 for the smallest
_SCALES = (1.2, 1.1, 1.05)  # scale_x_y of strides 8, 16 and 32
_TINY_SCALES = (1.05, 1.05)


class TinyCrossStage(nn.Module):
    """Cross-stage partial stage of YOLOv4-tiny: half of the channels run through two more convolutions.

    Args:
        channels: Channels in; twice as many come out.

    Example:
        >>> inner, out = TinyCrossStage(64)(torch.zeros(1, 64, 16, 16))
        >>> inner.shape, out.shape
        (torch.Size([1, 64, 16, 16]), torch.Size([1, 128, 16, 16]))
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv_in = leaky_conv(channels, channels, 3)
        self.conv1 = leaky_conv(half, half, 3)
        self.conv2 = leaky_conv(half, half, 3)
        self.conv_out = leaky_conv(channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> the output of the last convolution (B, C, H, W), and the first and it (B, 2 C, H, W)."""
        whole = self.conv_in(x)
        first = self.conv1(whole.chunk(2, dim=1)[1])  # Darknet's group 1 of 2
        inner = self.conv_out(torch.cat((self.conv2(first), first), dim=1))
        return inner, torch.cat((whole, inner), dim=1)


class TinyCSPDarknet(nn.Module):
    """Backbone of YOLOv4-tiny.

    Example:
        >>> [tuple(level.shape) for level in TinyCSPDarknet().features(torch.zeros(1, 3, 64, 64))]
        [(1, 256, 4, 4), (1, 512, 2, 2)]
    """

    stage_names: tuple[str, ...] = ("stem", "stages.0", "stages.1", "stages.2", "last")
    feature_channels: tuple[int, ...] = (256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(leaky_conv(3, 32, 3, 2), leaky_conv(32, 64, 3, 2))
        self.stages = nn.ModuleList(TinyCrossStage(channels) for channels in (64, 128, 256))
        self.last = leaky_conv(512, 512, 3)
        init_as_darknet(self)

    def features(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to feature maps of stride 16 and 32."""
        x = self.stem(images)
        fine = x
        for stage in self.stages:
            fine, x = stage(x)
            x = darknet_max_pool(x)
        return [fine, self.last(x)]


class YOLOv4Pyramid(Pyramid):
    """Path aggregation network of YOLOv4: coarse to fine and back, joined by concatenation (section 3.4, figure 6).

    Args:
        in_channels: Of the three feature maps, fine to coarse.
        outputs: Channels of the predictions of each level, fine to coarse.

    Example:
        >>> pyramid = YOLOv4Pyramid((256, 512, 1024), outputs=(255, 255, 255))
        >>> maps = [torch.zeros(1, 256, 8, 8), torch.zeros(1, 512, 4, 4), torch.zeros(1, 1024, 2, 2)]
        >>> [tuple(level.shape) for level in pyramid(maps)]
        [(1, 256, 8, 8), (1, 512, 4, 4), (1, 1024, 2, 2)]
    """

    out_channels = (256, 512, 1024)

    def __init__(self, in_channels: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        c3, c4, c5 = in_channels
        self.joint5 = yolov3_joint(c5, 512, pooling=True)
        self.reduce4 = leaky_conv(512, 256)
        self.lateral4 = leaky_conv(c4, 256)
        self.joint4 = yolov3_joint(512, 256)
        self.reduce3 = leaky_conv(256, 128)
        self.lateral3 = leaky_conv(c3, 128)
        self.joint3 = yolov3_joint(256, 128)
        self.expand3 = leaky_conv(128, 256, 3)
        self.predict3 = nn.Conv2d(256, outputs[0], 1)
        self.down4 = leaky_conv(128, 256, 3, 2)
        self.back4 = yolov3_joint(512, 256)
        self.expand4 = leaky_conv(256, 512, 3)
        self.predict4 = nn.Conv2d(512, outputs[1], 1)
        self.down5 = leaky_conv(256, 512, 3, 2)
        self.back5 = yolov3_joint(1024, 512)
        self.expand5 = leaky_conv(512, 1024, 3)
        self.predict5 = nn.Conv2d(1024, outputs[2], 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps of stride 8, 16 and 32 to as many."""
        c3, c4, c5 = maps
        p5 = self.joint5(c5)
        p4 = self.joint4(upsample_and_join(self.reduce4(p5), self.lateral4(c4), fine_first=True))
        n3 = self.joint3(upsample_and_join(self.reduce3(p4), self.lateral3(c3), fine_first=True))
        n4 = self.back4(torch.cat((self.down4(n3), p4), dim=1))
        n5 = self.back5(torch.cat((self.down5(n4), p5), dim=1))
        return [self.expand3(n3), self.expand4(n4), self.expand5(n5)]


class YOLOv4(PyramidYOLO):
    """YOLOv4 of either form.

    Args:
        num_classes: Classes without background.
        backbone: As in :class:`PyramidYOLO`.
        pyramid: As in :class:`PyramidYOLO`.
        anchors: As in :class:`PyramidYOLO`.
        iou_threshold: Anchors whose shape overlaps an object more than this are its own, besides the best one.
        loss: As in :class:`PyramidYOLO`.
        size: Side of the square canvas of training and evaluation, pixels.
        xy_scales: As in :class:`PyramidYOLO`.

    Raises:
        ConfigError: If the threshold is no IoU, or the anchors do not fit the levels.

    Example:
        >>> model = saccade.create_model("yolov4_tiny", num_classes=2).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 60, 4]), torch.Size([1]))
    """

    def __init__(
        self,
        num_classes: int,
        backbone: YOLOBackbone,
        pyramid: Callable[[Sequence[int], Sequence[int]], Pyramid],
        anchors: Anchors,
        iou_threshold: float,
        loss: YoloLoss,
        size: int,
        xy_scales: Sequence[float],
    ) -> None:
        if not 0 <= iou_threshold <= 1:
            raise ConfigError(f"iou_threshold is {iou_threshold}; it is an IoU and must lie between 0 and 1.")
        nms = NmsSettings(0.6, score_threshold=0.005, pre_nms=1000, max_detections=100)
        super().__init__(num_classes, backbone, pyramid, anchors, nms, loss, xy_scales)
        self.iou_threshold = iou_threshold
        self.input_spec = InputSpec(size=(size, size), resize="letterbox", pad_value=128, pad_multiple=32)

    def claim(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, Tensor]:
        """All anchors of which the shape overlaps the object's enough, in the cell of its centre (section 3.4)."""
        return claim_overlapping(grid, boxes_xyxy, labels, self.iou_threshold)


@register_model(task="detection", paper=_PAPER)
def yolov4(
    num_classes: int = 80,
    anchors: Anchors = ANCHORS,
    iou_threshold: float = 0.213,
    box_loss: YoloBoxLoss = "ciou",
    objectness: YoloObjectness = "one",
    focal_gamma: float | None = None,
    label_smoothing: float = 0.0,
    weights: str | None = None,
) -> YOLOv4:
    """YOLOv4: CSPDarknet-53, pyramid pooling and path aggregation, 608 pixels; 64.4 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: As in :func:`yolov3 <saccade.models.detection.yolov3.yolov3>`.
        iou_threshold: Anchors whose shape overlaps an object more than this are its own, besides the best; 1: only it.
        box_loss: As in yolov3; the paper's is ``ciou``.
        objectness: As in yolov3.
        focal_gamma: As in yolov3; the paper has none.
        label_smoothing: Class targets are half of this away from 0 and 1; the paper smooths the backbone's only.
        weights: As everywhere.

    Example:
        >>> model = yolov4(num_classes=3)
        >>> model.num_classes, model.input_spec.size, model.xy_scales
        (3, (608, 608), (1.2, 1.1, 1.05))
    """
    loss = _loss(box_loss, objectness, focal_gamma, label_smoothing)
    backbone = build_backbone("cspdarknet53")
    return YOLOv4(num_classes, backbone, YOLOv4Pyramid, anchors, iou_threshold, loss, 608, _SCALES)


@register_model(task="detection", paper=_TINY_PAPER)
def yolov4_tiny(
    num_classes: int = 80,
    anchors: Anchors = ANCHORS_TINY,
    iou_threshold: float = 1.0,
    box_loss: YoloBoxLoss = "ciou",
    objectness: YoloObjectness = "one",
    focal_gamma: float | None = None,
    label_smoothing: float = 0.0,
    weights: str | None = None,
) -> YOLOv4:
    """YOLOv4-tiny: three cross-stage partial stages and two levels, 416 pixels; 6.1 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: As in :func:`yolov4`, on two levels.
        iou_threshold: As in :func:`yolov4`; the authors' configuration has the best anchor only.
        box_loss: As in :func:`yolov4`.
        objectness: As in :func:`yolov4`.
        focal_gamma: As in :func:`yolov4`.
        label_smoothing: As in :func:`yolov4`.
        weights: As everywhere.
    """
    loss = _loss(box_loss, objectness, focal_gamma, label_smoothing)
    return YOLOv4(num_classes, TinyCSPDarknet(), TinyPyramid, anchors, iou_threshold, loss, 416, _TINY_SCALES)


def _loss(box: YoloBoxLoss, objectness: YoloObjectness, focal_gamma: float | None, smoothing: float) -> YoloLoss:
    gain = 1.0 if box == "mse" else BOX_GAIN
    return YoloLoss(box, objectness, ignore=0.7, focal_gamma=focal_gamma, label_smoothing=smoothing, box_gain=gain)
