r"""SSD: Single Shot MultiBox Detector.

Wei Liu, Dragomir Anguelov, Dumitru Erhan, Christian Szegedy, Scott Reed, Cheng-Yang Fu, Alexander C. Berg; ECCV 2016,
arXiv 1512.02325.

No proposals: boxes of a few shapes (*default boxes*) are tiled over feature maps of falling resolution, fine maps for
small objects and coarse ones for large. Each default box predicts its offsets to an object and a score for every class,
background among them; one convolution a map does it, and the whole network is run once.

    images (B, 3, 300, 300), RGB, mean subtracted, 0..255
      |  VGG-16 to conv4_3, scaled to length 20      512 x 38 x 38    4 boxes a location
      |  pool5 3x3 / 1, fc6 3x3 with holes, fc7     1024 x 19 x 19    6
      |  conv8_2    1x1 256, 3x3 / 2                 512 x 10 x 10    6
      |  conv9_2    1x1 128, 3x3 / 2                 256 x  5 x  5    6
      |  conv10_2   1x1 128, 3x3                     256 x  3 x  3    4
      |  conv11_2   1x1 128, 3x3                     256 x  1 x  1    4        8732 boxes in all
      each map:  3x3 -> codes (B, A, 4)     3x3 -> logits (B, A, 1 + num_classes)

Differences from the paper: none in the networks. Scales of the default boxes are those of the authors' releases, whose
steps are whole percents where equation 4 gives fractions. A default box is positive from IoU 0.5 on (the paper: above).
Weights of new layers are Glorot's; fc6 and fc7 start from those of VGG-16, thinned out, where its file is loaded
(``weights="vgg16/imagenet"``; section 3). Candidates of suppression are the 1000 best pairs of a box and a class of an
image, where the authors take 400 a class. An object that touches no default box gets none. Crowds and difficult objects
are not targets. :func:`ssd` has any classifier below, and BatchNorm in its extra layers, as networks after VGG have it.

Published weights: torchvision (COCO). Files of amdegroot/ssd.pytorch and lufficc/SSD are read too
(``weights.layouts.ssd_pytorch``); those of PASCAL VOC need ``boxes="voc"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import ConfigError
from saccade.losses.smooth_l1 import smooth_l1_loss
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import build_backbone
from saccade.models.classification.vgg import VGG
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.detection.dense import empty_maps
from saccade.models.detection.ssd_parts import EXTRAS_300, EXTRAS_512, SSDVGG, ClassifierFeatures, SSDHead
from saccade.models.registry import register_model
from saccade.ops.anchors import BoxShapes, canvas_size, default_boxes, default_shapes
from saccade.ops.box_coding import decode_anchors, encode_anchors
from saccade.ops.candidates import top_pairs
from saccade.ops.matching import match_by_iou
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.ops.sampling import hard_negatives
from saccade.structures.class_rows import ClassRows
from saccade.structures.input_spec import InputSpec

__all__ = ["SSD", "DefaultBoxes", "linear_scales", "ssd", "ssd300_vgg16", "ssd512_vgg16", "ssd_loss"]

_PAPER = "Liu et al., ECCV 2016, arXiv 1512.02325"

# Multiples of the codes of centre and size: the inverse of the "variances" 0.1 and 0.2 of the authors' code.
CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
POSITIVE_IOU = 0.5  # section 2.2, "Matching strategy"

BoxTable = Literal["coco", "voc"]

# Scales by data set: conv4_3, then the others, and one for the extra square of the last (sections 3.1, 3.4).
_SCALES_300 = {"coco": (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05), "voc": (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05)}
_SCALES_512 = {
    "coco": (0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06),
    "voc": (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05),
}
_VGG_SPEC = InputSpec(size=(300, 300), mean=(123.0, 117.0, 104.0), std=(1.0, 1.0, 1.0))


class DefaultBoxes(NamedTuple):
    """Default boxes of a network: shapes and strides of each level.

    Args:
        shapes: (width, height) of the boxes of each level (:func:`saccade.ops.anchors.default_shapes`).
        strides: Distance of neighbouring centres, pixels; None divides the canvas evenly.

    Example:
        >>> DefaultBoxes(default_shapes((0.2, 0.5, 1.0), ((2,), (2, 3))), (8, None)).per_location
        (4, 6)
    """

    shapes: BoxShapes
    strides: tuple[int | None, ...]

    @property
    def per_location(self) -> tuple[int, ...]:
        """Default boxes at each location of each level."""
        return tuple(map(len, self.shapes))


class SSD(Detector):
    """SSD over any features: default boxes, codes and classes of each, and their suppression.

    Args:
        features: Images to feature maps, fine to coarse.
        head: Feature maps to box codes and logits.
        boxes: Default boxes of each map.
        num_classes: Classes without background.
        input_spec: How images become its input.
        nms: Settings of suppression.
        hard_negative_ratio: Background boxes in the loss for each positive, those with the largest loss; None takes
            all of them.

    Example:
        >>> model = saccade.create_model("ssd", num_classes=2, levels=4, size=64).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 200, 4]), torch.Size([1]))
    """

    head_names = ("head",)
    positive_iou = POSITIVE_IOU

    def __init__(
        self,
        features: SSDVGG | ClassifierFeatures,
        head: SSDHead,
        boxes: DefaultBoxes,
        num_classes: int,
        input_spec: InputSpec,
        nms: NmsSettings,
        hard_negative_ratio: float | None = 3.0,
    ) -> None:
        super().__init__(num_classes, nms)
        self.backbone = features
        self.head = head
        self.boxes = boxes
        self.input_spec = input_spec
        self.hard_negative_ratio = hard_negative_ratio
        self.stage_names = tuple(f"backbone.{stage}" for stage in features.stage_names)
        self.neck_names = tuple(f"backbone.{neck}" for neck in features.neck_names)
        self.feature_channels = features.out_channels
        self.feature_strides = features.strides
        # Of each default box of a location, background comes before the classes.
        self.class_rows = {
            f"head.{layer}.{part}": ClassRows(groups=count, fixed=1)
            for layer, count in zip(head.class_layers, boxes.per_location, strict=True)
            for part in ("weight", "bias")
        }
        self._map_sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps that predict, fine to coarse."""
        return self.backbone(images)

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs for all A default boxes, level by level.

        Args:
            images: (B, 3, H, W).

        Returns:
            ``codes`` (B, A, 4), ``logits`` (B, A, 1 + num_classes) with background in the first column, ``anchors``
            (A, 4), the default boxes, pixels, and ``canvas`` (2,), height and width.
        """
        maps = self.features(images)
        codes, logits = self.head(maps)
        return {"codes": codes, "logits": logits, "anchors": self._anchors(images, maps), "canvas": canvas_size(images)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Terms ``box`` and ``class``; see :func:`ssd_loss`."""
        boxes_xyxy, labels = unpack_targets(targets)
        return ssd_loss(self(images), boxes_xyxy, labels, self.hard_negative_ratio)

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression, a class at a time; a default box may be of several classes."""
        logits = outputs["logits"].float()
        # Logarithms of the softmax have its order; only what is chosen becomes a probability.
        scores, rows, labels = top_pairs(logits[..., 1:] - logits.logsumexp(dim=2, keepdim=True), self.nms.pre_nms)
        codes = outputs["codes"].float().gather(1, rows[..., None].expand(-1, -1, 4))
        boxes = decode_anchors(codes, outputs["anchors"][rows], CODE_WEIGHTS)
        limits = outputs["canvas"].flip(0).repeat(2)  # width, height, width, height
        return batched_nms(boxes.clamp(min=0).minimum(limits), scores.exp(), labels, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) that get a default box of their own, (N,) bool.

        The others touch none, or lie exactly where another object does.
        """
        labels = torch.zeros(1, len(boxes_xyxy), dtype=torch.int64)
        owners = _match(self.anchors(size), boxes_xyxy[None].float().cpu(), labels)
        return torch.isin(torch.arange(len(boxes_xyxy)), owners)

    def anchors(self, size: tuple[int, int]) -> Tensor:
        """Default boxes of a canvas, (A, 4), pixels."""
        images = torch.empty(1, 1, *size)
        return self._anchors(images, empty_maps(self, images, self._map_sizes))

    @torch.no_grad()
    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Default boxes that are positive for each object; what the network predicts plays no part."""
        boxes_xyxy, labels = unpack_targets(targets)
        maps = empty_maps(self, images, self._map_sizes)
        anchors = self._anchors(images, maps)
        pairs = zip(maps, self.boxes.per_location, strict=True)
        counts = torch.tensor([level.shape[-2] * level.shape[-1] * count for level, count in pairs])
        return Assignment(
            regions_xyxy=anchors,
            levels=torch.arange(len(maps)).repeat_interleave(counts).to(anchors.device),
            level_names=tuple(f"{level.shape[-2]}x{level.shape[-1]}" for level in maps),
            owners=_match(anchors, boxes_xyxy, labels),
        )

    def _anchors(self, images: Tensor, maps: list[Tensor]) -> Tensor:
        return default_boxes(images, maps, *self.boxes)


def ssd_loss(
    outputs: Outputs, boxes_xyxy: Tensor, labels: Tensor, hard_negative_ratio: float | None = 3.0
) -> dict[str, Tensor]:
    """Loss terms, each divided by the number of positive default boxes of the batch (at least 1; equation 1).

    Args:
        outputs: Of ``forward``.
        boxes_xyxy: Ground truth boxes, (B, M, 4), canvas pixels.
        labels: (B, M) int64, negative for rows that are not targets.
        hard_negative_ratio: Background boxes for each positive of an image, those with the largest loss; None takes all
            of them, in images without objects too.

    Returns:
        ``box`` (smooth L1, equation 2) and ``class`` (softmax cross entropy, equation 3), scalars.

    Example:
        >>> model = saccade.create_model("ssd", num_classes=2, levels=4, size=64)
        >>> boxes, labels = torch.tensor([[[8.0, 8.0, 40.0, 40.0]]]), torch.tensor([[1]])
        >>> list(ssd_loss(model(torch.zeros(1, 3, 128, 128)), boxes, labels))
        ['box', 'class']
    """
    codes, logits, anchors = outputs["codes"].float(), outputs["logits"].float(), outputs["anchors"]
    owners = _match(anchors, boxes_xyxy, labels)
    positive = owners >= 0
    image, anchor = positive.nonzero(as_tuple=True)
    target = owners[image, anchor]
    positives = max(image.shape[0], 1)

    wanted = encode_anchors(boxes_xyxy[image, target], anchors[anchor], CODE_WEIGHTS)
    box = smooth_l1_loss(codes[image, anchor], wanted).sum()

    classes = torch.zeros_like(owners)  # background
    classes[image, anchor] = labels[image, target] + 1
    if hard_negative_ratio is None:
        classification = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="sum")
    else:
        with torch.no_grad():  # section 2.2, "Hard negative mining"; only what is chosen needs a gradient
            background_loss = logits.logsumexp(dim=2) - logits[..., 0]
        chosen = positive | hard_negatives(background_loss, positive, hard_negative_ratio)
        classification = F.cross_entropy(logits[chosen], classes[chosen], reduction="sum")
    return {"box": box / positives, "class": classification / positives}


def _match(anchors: Tensor, boxes_xyxy: Tensor, labels: Tensor) -> Tensor:
    """Owners (B, A): the object that each default box is positive for (section 2.2, "Matching strategy")."""
    return match_by_iou(boxes_xyxy, labels >= 0, anchors, POSITIVE_IOU, forced="best").owners


def linear_scales(levels: int, smallest: float, largest: float) -> tuple[float, ...]:
    """Scales of the default boxes of each level, evenly spaced (equation 4), and 1 for the last extra square.

    Args:
        levels: Number of feature maps.
        smallest: Of the finest, share of the canvas.
        largest: Of the coarsest.

    Raises:
        ConfigError: If they are not shares of the canvas in this order.

    Example:
        >>> linear_scales(3, 0.25, 0.75)
        (0.25, 0.5, 0.75, 1.0)
    """
    if not 0 < smallest < largest <= 1:
        raise ConfigError(
            f"scales of default boxes go from {smallest} to {largest}; they are shares of the canvas, 0 < first < "
            "second <= 1, such as (0.1, 0.9)."
        )
    return (*(smallest + (largest - smallest) * level / (levels - 1) for level in range(levels)), 1.0)


def _ssd_vgg16(num_classes: int, size: int, boxes: BoxTable, hard_negative_ratio: float | None) -> SSD:
    tables: Mapping[str, tuple[float, ...]] = _SCALES_300 if size == 300 else _SCALES_512
    if boxes not in tables:
        raise ConfigError(
            f"boxes is '{boxes}'; it must be 'coco' or 'voc', the data set whose default boxes are meant."
        )
    vgg = build_backbone("vgg16")
    assert isinstance(vgg, VGG)
    features = SSDVGG(vgg, EXTRAS_300 if size == 300 else EXTRAS_512)
    ratios = ((2,), *((2, 3),) * (len(features.out_channels) - 3), (2,), (2,))
    # Strides in pixels where layers are padded; where they are not, the canvas is divided evenly.
    padded = (8, 16, 32, 64) if size == 300 else (8, 16, 32, 64, 128, 256)
    strides = (*padded, *(None,) * (len(ratios) - len(padded)))
    default = DefaultBoxes(default_shapes(tables[boxes], ratios), strides)
    head = SSDHead(features.out_channels, default.per_location, num_classes)
    nms = NmsSettings(0.45, score_threshold=0.01, pre_nms=1000, max_detections=200)
    return SSD(features, head, default, num_classes, _VGG_SPEC.with_size((size, size)), nms, hard_negative_ratio)


@register_model(task="detection", paper=_PAPER)
def ssd300_vgg16(
    num_classes: int = 90,
    boxes: BoxTable = "coco",
    hard_negative_ratio: float | None = 3.0,
    weights: str | None = None,
) -> SSD:
    """SSD300 over VGG-16 (figure 2); 35.6 M parameters and 34.9 G multiply-adds at 90 classes.

    Args:
        num_classes: Classes without background; 90 are the category ids of COCO, 80 of which have a name.
        boxes: Default boxes of COCO (smallest scale 0.07) or of PASCAL VOC (0.1).
        hard_negative_ratio: See :class:`SSD`.
        weights: As everywhere.

    Example:
        >>> with torch.device("meta"):
        ...     model = ssd300_vgg16(num_classes=20, boxes="voc")
        >>> sum(parameter.numel() for parameter in model.parameters())
        26285486
    """
    return _ssd_vgg16(num_classes, 300, boxes, hard_negative_ratio)


@register_model(task="detection", paper=_PAPER)
def ssd512_vgg16(
    num_classes: int = 20,
    boxes: BoxTable = "voc",
    hard_negative_ratio: float | None = 3.0,
    weights: str | None = None,
) -> SSD:
    """SSD512 over VGG-16 (section 3.1); 27.2 M parameters and 90.2 G multiply-adds at 20 classes.

    Args:
        num_classes: Classes without background.
        boxes: Default boxes of PASCAL VOC (smallest scale 0.07) or of COCO (0.04).
        hard_negative_ratio: See :class:`SSD`.
        weights: As everywhere.

    Example:
        >>> with torch.device("meta"):
        ...     ssd512_vgg16(num_classes=20)(torch.zeros(1, 3, 512, 512))["codes"].shape
        torch.Size([1, 24564, 4])
    """
    return _ssd_vgg16(num_classes, 512, boxes, hard_negative_ratio)


@register_model(task="detection", paper=_PAPER)
def ssd(
    num_classes: int = 20,
    backbone: str = "resnet18",
    size: int = 300,
    levels: int = 6,
    finest_stride: int = 8,
    scales: tuple[float, float] = (0.1, 0.9),
    hard_negative_ratio: float | None = 3.0,
    weights: str | None = None,
) -> SSD:
    """SSD over any classifier, without a paper of its own.

    Args:
        num_classes: Classes without background.
        backbone: Builder of a classifier.
        size: Side of the square canvas, pixels.
        levels: Feature maps: those of the backbone from ``finest_stride`` on, then extra ones of half the side each.
        finest_stride: Stride of the finest map.
        scales: Scale of the default boxes of the finest and of the coarsest map, shares of the canvas.
        hard_negative_ratio: See :class:`SSD`.
        weights: As everywhere.

    Example:
        >>> model = ssd(num_classes=3, backbone="mobilenet_v3_small", size=128, levels=5).eval()
        >>> [tuple(one.shape[2:]) for one in model.features(torch.zeros(1, 3, 128, 128))]
        [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    """
    body = build_backbone(backbone)
    features = ClassifierFeatures(body, levels, finest_stride)
    # Four shapes on the finest map and on the two coarsest, else six, as in the paper.
    ratios = tuple((2,) if level in (0, levels - 2, levels - 1) else (2, 3) for level in range(levels))
    boxes = DefaultBoxes(default_shapes(linear_scales(levels, *scales), ratios), (None,) * levels)
    head = SSDHead(features.out_channels, boxes.per_location, num_classes)
    spec = InputSpec(size=(size, size), mean=body.input_spec.mean, std=body.input_spec.std)
    nms = NmsSettings(0.45, score_threshold=0.01, pre_nms=1000, max_detections=200)
    return SSD(features, head, boxes, num_classes, spec, nms, hard_negative_ratio)
