r"""YOLOv3: An Incremental Improvement.

Joseph Redmon, Ali Farhadi; technical report, 2018, arXiv 1804.02767. YOLOv3-tiny and YOLOv3-SPP are configurations that
its authors published with it.

Darknet-53 and a pyramid of three levels, each with three anchors a cell. An anchor predicts a box, whether there is an
object, and each class by itself, so that an object may be of several. An object is assigned to one anchor only: of all
nine, the one whose shape is most like its own, in the cell of its centre.

    images (B, 3, H, W), RGB 0..1
      |  Darknet-53                              c3 /8   c4 /16   c5 /32         256 512 1024 channels
      |  5 convolutions, 1x1 and 3x3 ------------------------------> p5          512  (SPP: pooling in their middle)
      |  1x1, twice the size, beside c4; 5 convolutions ----> p4                 256
      |  1x1, twice the size, beside c3; 5 conv. ---> p3                         128
      |  a level: 3x3, then 1x1 with bias        /8      /16      /32            3 x (5 + classes)

    tiny: 7 convolutions of 3x3 with pooling between them; c4 /16 (256), c5 /32 (1024)
      |  1x1 -------------------------------> p5                                 256
      |  1x1, twice the size, beside c4 ----> p4                                 128 + 256
      |  a level: 3x3, then 1x1 with bias                                        3 x (5 + classes)

Differences from the paper: none in the networks. The loss follows Darknet where the paper is silent: squared errors of
a box are weighted by 2 - its share of the image, and a row that two objects claim goes to the later one. Objectness
starts at 0.01 instead of 0.5, whose negatives fill the first thousand steps.

``assignment="ratio"`` is the rule of YOLOv5, with its codes: every anchor that fits by the ratio of sides, at three
cells; centres reach half a cell beyond their own, and sides are (2 sigmoid(t))^2 times the anchor's.

The fine level of YOLOv3-tiny has anchors 0, 1, 2 of its list. The authors' first configuration gave it 1, 2, 3 by
mistake, by which the smallest is lost and the fourth is there twice, and their published ``yolov3-tiny.weights`` were
trained so: they need ``anchors=ANCHORS_TINY_PUBLISHED``. For training there is no reason to repeat it.

Published weights: https://pjreddie.com/darknet/yolo; layers are in the order of their files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.classification.base import build_backbone
from saccade.models.detection.anchor_yolo import Anchors
from saccade.models.detection.yolo_assign_ratio import claim_by_ratio
from saccade.models.detection.yolo_assign_shape import claim_best
from saccade.models.detection.yolo_cells import CellGrid, CellMatches
from saccade.models.detection.yolo_loss import YoloBoxLoss, YoloLoss, YoloObjectness
from saccade.models.detection.yolov3_parts import (
    Pyramid,
    PyramidYOLO,
    TinyDarknet,
    TinyPyramid,
    YOLOBackbone,
    leaky_conv,
    upsample_and_join,
    yolov3_joint,
)
from saccade.models.registry import register_model
from saccade.ops.nms import NmsSettings
from saccade.structures.input_spec import InputSpec

__all__ = [
    "ANCHORS",
    "ANCHORS_TINY",
    "ANCHORS_TINY_PUBLISHED",
    "YOLOv3",
    "YOLOv3Assignment",
    "YOLOv3Pyramid",
    "yolov3",
    "yolov3_spp",
    "yolov3_tiny",
]

_PAPER = "Redmon and Farhadi 2018, arXiv 1804.02767"

# Width and height in pixels at 416 x 416, three a level, fine to coarse; by k-means on COCO (section 2.3).
ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
ANCHORS_TINY = (((10.0, 14.0), (23.0, 27.0), (37.0, 58.0)), ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0)))
# Those that the published weights of the tiny networks of v3 and v4 were trained with.
ANCHORS_TINY_PUBLISHED = (((23.0, 27.0), (37.0, 58.0), (81.0, 82.0)), ANCHORS_TINY[1])

YOLOv3Assignment = Literal["best", "ratio"]


class YOLOv3Pyramid(Pyramid):
    """Pyramid of YOLOv3, coarse to fine, joined by concatenation (section 2.3).

    Args:
        in_channels: Of the three feature maps, fine to coarse.
        outputs: Channels of the predictions of each level, fine to coarse.
        pooling: With spatial pyramid pooling on the coarsest level (YOLOv3-SPP).

    Example:
        >>> pyramid = YOLOv3Pyramid((256, 512, 1024), outputs=(255, 255, 255))
        >>> maps = [torch.zeros(1, 256, 8, 8), torch.zeros(1, 512, 4, 4), torch.zeros(1, 1024, 2, 2)]
        >>> [tuple(level.shape) for level in pyramid(maps)]
        [(1, 256, 8, 8), (1, 512, 4, 4), (1, 1024, 2, 2)]
    """

    out_channels = (256, 512, 1024)

    def __init__(self, in_channels: Sequence[int], outputs: Sequence[int], pooling: bool = False) -> None:
        super().__init__()
        c3, c4, c5 = in_channels
        self.joint5 = yolov3_joint(c5, 512, pooling)
        self.expand5 = leaky_conv(512, 1024, 3)
        self.predict5 = nn.Conv2d(1024, outputs[2], 1)
        self.reduce4 = leaky_conv(512, 256)
        self.joint4 = yolov3_joint(256 + c4, 256)
        self.expand4 = leaky_conv(256, 512, 3)
        self.predict4 = nn.Conv2d(512, outputs[1], 1)
        self.reduce3 = leaky_conv(256, 128)
        self.joint3 = yolov3_joint(128 + c3, 128)
        self.expand3 = leaky_conv(128, 256, 3)
        self.predict3 = nn.Conv2d(256, outputs[0], 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps of stride 8, 16 and 32 to as many."""
        c3, c4, c5 = maps
        p5 = self.joint5(c5)
        p4 = self.joint4(upsample_and_join(self.reduce4(p5), c4))
        p3 = self.joint3(upsample_and_join(self.reduce3(p4), c3))
        return [self.expand3(p3), self.expand4(p4), self.expand5(p5)]


class YOLOv3(PyramidYOLO):
    """YOLOv3 of either form.

    Args:
        num_classes: Classes without background.
        backbone: As in :class:`PyramidYOLO`.
        pyramid: As in :class:`PyramidYOLO`.
        anchors: As in :class:`PyramidYOLO`.
        assignment: ``best``: the one anchor most like the object; ``ratio``: all that fit it, at three cells.
        loss: As in :class:`PyramidYOLO`.
        size: Side of the square canvas of training and evaluation, pixels.

    Raises:
        ConfigError: If there is no such assignment, or the anchors do not fit the levels.

    Example:
        >>> model = saccade.create_model("yolov3_tiny", num_classes=2).eval()
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
        assignment: YOLOv3Assignment,
        loss: YoloLoss,
        size: int = 416,
    ) -> None:
        known = get_args(YOLOv3Assignment)
        if assignment not in known:
            raise ConfigError(f"assignment is '{assignment}'.{did_you_mean(str(assignment), known)}")
        # Centres of neighbouring cells can only be reached with the codes of YOLOv5.
        xy_scale = 2.0 if assignment == "ratio" else 1.0
        nms = NmsSettings(0.45, score_threshold=0.005, pre_nms=1000, max_detections=100)
        super().__init__(num_classes, backbone, pyramid, anchors, nms, loss, (xy_scale,) * len(anchors))
        self.assignment = assignment
        self.size_coding = "square" if assignment == "ratio" else "exp"
        self.input_spec = InputSpec(size=(size, size), resize="letterbox", pad_value=128, pad_multiple=32)

    def claim(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, Tensor | None]:
        """Of all anchors the best in the cell of the centre (section 2.1), or all that fit, at three cells."""
        if self.assignment == "ratio":
            return claim_by_ratio(grid, boxes_xyxy, labels), None
        return claim_best(grid, boxes_xyxy, labels)


@register_model(task="detection", paper=_PAPER)
def yolov3(
    num_classes: int = 80,
    anchors: Anchors = ANCHORS,
    assignment: YOLOv3Assignment = "best",
    box_loss: YoloBoxLoss = "mse",
    objectness: YoloObjectness = "one",
    focal_gamma: float | None = None,
    weights: str | None = None,
) -> YOLOv3:
    """YOLOv3: Darknet-53, 416 pixels; 61.9 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: Width and height of the anchors of each level, fine to coarse, pixels; those of COCO if not given.
        assignment: ``best``: an object's one anchor (the paper); ``ratio``: all that fit, at three cells (YOLOv5).
        box_loss: ``mse`` (the paper), ``iou``, ``giou``, ``diou`` or ``ciou``.
        objectness: What it should be where there is an object: ``one`` (the paper), or the ``iou`` of the predicted
            box with it.
        focal_gamma: Exponent of a focal loss of the objectness, which the paper tried in vain (section 4).
        weights: As everywhere.

    Example:
        >>> model = yolov3(num_classes=3)
        >>> model.num_classes, model.input_spec.size, model.feature_strides
        (3, (416, 416), (8, 16, 32))
    """
    loss = YoloLoss(box_loss, objectness, focal_gamma=focal_gamma)
    return YOLOv3(num_classes, build_backbone("darknet53"), YOLOv3Pyramid, anchors, assignment, loss)


@register_model(task="detection", paper=_PAPER)
def yolov3_spp(
    num_classes: int = 80,
    anchors: Anchors = ANCHORS,
    assignment: YOLOv3Assignment = "best",
    box_loss: YoloBoxLoss = "mse",
    objectness: YoloObjectness = "one",
    focal_gamma: float | None = None,
    weights: str | None = None,
) -> YOLOv3:
    """YOLOv3-SPP: with pooling over 5x5, 9x9 and 13x13 windows on the coarsest level, 608 pixels; 63.0 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: As in :func:`yolov3`.
        assignment: As in :func:`yolov3`.
        box_loss: As in :func:`yolov3`.
        objectness: As in :func:`yolov3`.
        focal_gamma: As in :func:`yolov3`.
        weights: As everywhere.
    """
    pyramid = partial(YOLOv3Pyramid, pooling=True)
    loss = YoloLoss(box_loss, objectness, focal_gamma=focal_gamma)
    return YOLOv3(num_classes, build_backbone("darknet53"), pyramid, anchors, assignment, loss, size=608)


@register_model(task="detection", paper=_PAPER)
def yolov3_tiny(
    num_classes: int = 80,
    anchors: Anchors = ANCHORS_TINY,
    assignment: YOLOv3Assignment = "best",
    box_loss: YoloBoxLoss = "mse",
    objectness: YoloObjectness = "one",
    focal_gamma: float | None = None,
    spp: bool = False,
    weights: str | None = None,
) -> YOLOv3:
    """YOLOv3-tiny: seven convolutions and two levels, 416 pixels; 8.9 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: As in :func:`yolov3`, on two levels.
        assignment: As in :func:`yolov3`.
        box_loss: As in :func:`yolov3`.
        objectness: As in :func:`yolov3`.
        focal_gamma: As in :func:`yolov3`.
        spp: With the pooling of YOLOv3-SPP behind the backbone, which no configuration of the authors has.
        weights: As everywhere.

    Example:
        >>> model = yolov3_tiny(num_classes=3, box_loss="ciou", spp=True)
        >>> [tuple(level.shape[1:]) for level in model.features(torch.zeros(1, 3, 64, 64))]
        [(256, 4, 4), (512, 2, 2)]
    """
    loss = YoloLoss(box_loss, objectness, focal_gamma=focal_gamma)
    return YOLOv3(num_classes, TinyDarknet(), partial(TinyPyramid, pooling=spp), anchors, assignment, loss)
