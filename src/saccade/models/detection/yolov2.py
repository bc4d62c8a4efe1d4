r"""YOLOv2: YOLO9000: Better, Faster, Stronger.

Joseph Redmon, Ali Farhadi, CVPR 2017, arXiv 1612.08242.

YOLO without fully connected layers: each grid cell predicts for five anchors, whose shapes come from k-means on the
boxes of the data. A centre stays within its cell, ``cell + sigmoid(t)``; a side is ``anchor * e^t``. Features of twice
the resolution are passed through to the last layers. Any canvas of multiples of 32 will do, and training draws another
one every ten batches.

    images (B, 3, 416, 416), RGB 0..1
      |  Darknet-19                               c4 512 x 26 x 26      c5 1024 x 13 x 13
      |  3x3, 3x3                                     |                    1024 x 13 x 13
      |  1x1, 64; passthrough: 2x2 pixels to channels |--- 256 x 13 x 13 --- concatenated
      |  3x3                                                               1024 x 13 x 13
      |  1x1 with bias                                             5 x (5 + classes) x 13 x 13

    tiny: 7 convolutions of 3x3 with pooling between them, 3x3 to 512, 1x1 with bias

An object is assigned to the anchor of its cell whose shape is most like its own; anchors whose predicted box overlaps
an object by more than 0.6 are not negative either. The loss is in :mod:`yolov2_loss
<saccade.models.detection.yolov2_loss>`; anchors for data of one's own are found by
:func:`saccade.ops.kmeans_anchors.kmeans_anchors`, and the classifier's step at 448 pixels is a step of the recipe
``darknet19_448_imagenet``.

Differences from the paper: passthrough has Darknet's order of elements and the 1x1 convolution of the published
configuration, which the paper does not mention. YOLO9000's tree of classes is not here.

Published weights: ``yolov2.weights``, ``yolov2-tiny.weights`` and, with ``anchors=ANCHORS_VOC``,
``yolov2-voc.weights`` (https://pjreddie.com/darknet/yolov2); layers are in the order of the files.
``yolov2-tiny-voc.weights`` has 1024 channels where the tiny network for COCO has 512: ``channels=1024,
anchors=ANCHORS_TINY_VOC``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saccade.blocks.passthrough import passthrough
from saccade.models.base import Outputs
from saccade.models.classification.base import build_backbone
from saccade.models.detection.anchor_yolo import Anchors, AnchorYOLO
from saccade.models.detection.yolo_assign_shape import claim_best
from saccade.models.detection.yolo_cells import CellGrid, CellMatches
from saccade.models.detection.yolov2_loss import RegionLoss, region_loss
from saccade.models.detection.yolov3_parts import TinyDarknet, YOLOBackbone, init_as_darknet, leaky_conv
from saccade.models.registry import register_model
from saccade.ops.nms import NmsSettings
from saccade.structures.input_spec import InputSpec

__all__ = [
    "ANCHORS",
    "ANCHORS_TINY_VOC",
    "ANCHORS_VOC",
    "PassthroughNeck",
    "TinyNeck",
    "YOLOv2",
    "yolov2",
    "yolov2_tiny",
]

_PAPER = "Redmon and Farhadi, CVPR 2017, arXiv 1612.08242"
_STRIDE = 32


def _pixels(*cells: tuple[float, float]) -> tuple[tuple[tuple[float, float], ...]]:
    """Anchors as the authors give them, in cells of 32 pixels."""
    return (tuple((width * _STRIDE, height * _STRIDE) for width, height in cells),)


# By k-means on COCO and on PASCAL VOC.
ANCHORS = _pixels((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
ANCHORS_VOC = _pixels((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))
ANCHORS_TINY_VOC = _pixels((1.08, 1.19), (3.42, 4.41), (6.63, 11.38), (9.42, 5.11), (16.62, 10.52))


class PassthroughNeck(nn.Module):
    """Last layers of YOLOv2: two 3x3 convolutions, finer features beside them, and a third.

    Args:
        fine: Channels of the feature map of stride 16.
        coarse: Channels of that of stride 32.

    Example:
        >>> PassthroughNeck(512, 1024)([torch.zeros(1, 512, 4, 4), torch.zeros(1, 1024, 2, 2)]).shape
        torch.Size([1, 1024, 2, 2])
    """

    out_channels = 1024

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.conv1 = leaky_conv(coarse, 1024, 3)
        self.conv2 = leaky_conv(1024, 1024, 3)
        self.reduce = leaky_conv(fine, 64)
        self.conv3 = leaky_conv(4 * 64 + 1024, 1024, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Feature maps of stride 16 and 32 to one of stride 32."""
        fine, coarse = maps
        height, width = coarse.shape[-2:]  # of a canvas that is no multiple of 32, pooling has dropped a last row
        fine = passthrough(self.reduce(fine[..., : 2 * height, : 2 * width]))
        out: Tensor = self.conv3(torch.cat((fine, self.conv2(self.conv1(coarse))), dim=1))
        return out


class TinyNeck(nn.Module):
    """Last layer of tiny YOLOv2: a 3x3 convolution.

    Args:
        in_channels: Of the feature map of stride 32.
        out_channels: Channels out.

    Example:
        >>> TinyNeck(1024, 512)([torch.zeros(1, 256, 4, 4), torch.zeros(1, 1024, 2, 2)]).shape
        torch.Size([1, 512, 2, 2])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.conv = leaky_conv(in_channels, out_channels, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """The coarsest of some feature maps to one."""
        out: Tensor = self.conv(maps[-1])
        return out


class YOLOv2(AnchorYOLO):
    """YOLOv2 of either form.

    Args:
        num_classes: Classes without background.
        backbone: Images to feature maps, the last two of stride 16 and 32.
        neck: These two to one of stride 32.
        anchors: Width and height of the anchors of the one level, pixels.
        prior_images: Images during which boxes without an object learn their anchor; each process counts its own.
        loss: Scales of the loss terms.

    Attributes:
        images_seen: Images that ``loss`` has seen in training; a run that goes on goes on counting.

    Raises:
        ConfigError: If the anchors do not fit the level.

    Example:
        >>> model = saccade.create_model("yolov2_tiny", num_classes=2).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 20, 4]), torch.Size([1]))
    """

    class_scores = "softmax"

    def __init__(
        self,
        num_classes: int,
        backbone: YOLOBackbone,
        neck: PassthroughNeck | TinyNeck,
        anchors: Anchors,
        prior_images: int = 12_800,
        loss: RegionLoss | None = None,
    ) -> None:
        nms = NmsSettings(0.45, score_threshold=0.005, pre_nms=1000, max_detections=100)
        super().__init__(num_classes, anchors, (_STRIDE,), ("head",), nms)
        self.backbone = backbone
        self.neck = neck
        self.head = nn.Conv2d(neck.out_channels, self.outputs_of(0), 1)
        self.feature_channels = (neck.out_channels,)
        self.stage_names = tuple(f"backbone.{stage}" for stage in backbone.stage_names)
        self.neck_names = tuple(f"neck.{name}" for name, _ in neck.named_children())
        self.prior_images = prior_images
        self.loss_settings = loss or RegionLoss()
        self.ignore = self.loss_settings.ignore
        self.input_spec = InputSpec(size=(416, 416), resize="letterbox", pad_value=128, pad_multiple=_STRIDE)
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64), persistent=False)
        self.images_seen: Tensor
        init_as_darknet(self.neck)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature map of stride 32 from which boxes are predicted."""
        return [self.neck(self.backbone.features(images)[-2:])]

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        """Last map, (B, anchors x (5 + classes), H, W)."""
        return [self.head(level) for level in self.features(images)]

    def claim(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, Tensor | None]:
        """The anchor whose shape is most like the object's, in the cell of its centre."""
        return claim_best(grid, boxes_xyxy, labels)

    def loss_terms(
        self, outputs: Outputs, matches: CellMatches, boxes_xyxy: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """See :func:`saccade.models.detection.yolov2_loss.region_loss`; counts the images in training."""
        warming_up = (self.images_seen < self.prior_images).float()
        if self.training:
            self.images_seen += labels.shape[0]
        return region_loss(outputs, matches, boxes_xyxy, labels, self.loss_settings, warming_up)

    def training_state(self) -> dict[str, Tensor]:
        """Images seen so far."""
        return {"images_seen": self.images_seen}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on counting where another run stopped."""
        if "images_seen" in state:
            self.images_seen.copy_(state["images_seen"])


@register_model(task="detection", paper=_PAPER)
def yolov2(
    num_classes: int = 80,
    anchors: Anchors = ANCHORS,
    prior_images: int = 12_800,
    weights: str | None = None,
) -> YOLOv2:
    """YOLOv2: Darknet-19 with passthrough, 416 pixels; 51.0 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: Width and height of the anchors of the one level, pixels; those of COCO if not given.
        prior_images: Images during which boxes without an object learn their anchor; 0 for no such warm-up.
        weights: As everywhere.

    Example:
        >>> model = yolov2(num_classes=3, anchors=ANCHORS_VOC)
        >>> model.head.out_channels, model.feature_strides, model.input_spec.size
        (40, (32,), (416, 416))
    """
    backbone = build_backbone("darknet19")
    neck = PassthroughNeck(*backbone.feature_channels[-2:])
    return YOLOv2(num_classes, backbone, neck, anchors, prior_images)


@register_model(task="detection", paper=_PAPER)
def yolov2_tiny(
    num_classes: int = 80,
    anchors: Anchors = ANCHORS,
    prior_images: int = 12_800,
    channels: int = 512,
    weights: str | None = None,
) -> YOLOv2:
    """Tiny YOLOv2: eight 3x3 convolutions, 416 pixels; 11.2 M parameters.

    Args:
        num_classes: Classes without background.
        anchors: As in :func:`yolov2`.
        prior_images: As in :func:`yolov2`.
        channels: Of the last 3x3 convolution; 1024 in the authors' network for PASCAL VOC.
        weights: As everywhere.

    Example:
        >>> model = yolov2_tiny(num_classes=3)
        >>> [tuple(level.shape[1:]) for level in model.features(torch.zeros(1, 3, 64, 64))]
        [(512, 2, 2)]
    """
    backbone = TinyDarknet()
    return YOLOv2(num_classes, backbone, TinyNeck(backbone.feature_channels[-1], channels), anchors, prior_images)
