r"""RetinaNet: a dense detector whose loss is not drowned by its easy negatives.

Paper: Tsung-Yi Lin, Priya Goyal, Ross Girshick, Kaiming He, Piotr Dollar, "Focal Loss for Dense Object Detection", ICCV
2017, arXiv 1708.02002.

A detector in one stage scores some 100,000 anchors an image, of which a few dozen are objects. Summed up, the small
losses of all that easy background outweigh those of the objects. The focal loss -(1 - p_t)^gamma log(p_t) (equation 4)
takes away the weight of what is already classified well, and a plain network, a feature pyramid with two small subnets,
then overtakes detectors in two stages.

    images (B, 3, H, W)
      |  backbone          C3 /8   C4 /16   C5 /32
      |  feature pyramid   P3 /8   P4 /16   P5 /32   P6 /64   P7 /128      256 channels each
      |  a level, the same two subnets for all of them:
      |    4 x (3x3, ReLU) -- 3x3   classes of 9 anchors                   (B, A, num_classes)
      |    4 x (3x3, ReLU) -- 3x3   their codes dx, dy, dw, dh             (B, A, 4)
                                                                           A = 9 (HW/64 + HW/256 + ...)

The anchors of a location have three sizes (2^0, 2^(1/3), 2^(2/3) times 32 pixels at P3, 64 at P4, ...) and three aspect
ratios. One that overlaps an object by 0.5 or more is positive, below 0.4 background, between the two ignored.

Differences from the paper: those of torchvision, with which the published weights were trained. Sides of anchors are
whole pixels. The anchors that overlap an object most are positive for it even below 0.5 (``forced="ties"``); the paper
has no such rule (``"none"``). The box loss is L1 (``smooth_l1_beta = 0``), where the paper has smooth L1 (1). Losses
are divided by the number of positives of each image and averaged over images; the paper does not say over what it
counts. ``retinanet_resnet50_fpn`` makes P6 from P5 as those weights want it, the other builders from C5 as in the
paper. An object that overlaps no anchor gets none, where torchvision would make every such anchor positive.

*Decoding*: as in the paper the best 1,000 predictions are decoded, but of all levels together, not of each; 300 boxes
may leave the suppression, as in torchvision.

``retinanet(normalized=True)`` has GroupNorm in the subnets, as torchvision's second RetinaNet has it.

``retinanet(pyramid=...)`` has the other designs of figure 1 of the FPN paper (:mod:`pyramids
<saccade.models.detection.pyramids>`).

Published weights: torchvision's ``RetinaNet_ResNet50_FPN_Weights.COCO_V1``, read by
``weights.layouts.torchvision_detection``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from saccade.losses.focal import sparse_focal_loss
from saccade.losses.smooth_l1 import smooth_l1_loss
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.detection.dense import conv_tower, empty_maps, log_odds, map_rows, start_head
from saccade.models.detection.pyramids import Pyramid, PyramidDesign, TopDownPyramid, build_pyramid
from saccade.models.registry import register_model
from saccade.ops.anchors import canvas_size, grid_anchors
from saccade.ops.box_coding import decode_anchors, encode_anchors
from saccade.ops.candidates import top_candidates
from saccade.ops.matching import Forced, match_by_iou
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.class_rows import ClassRows

__all__ = [
    "RetinaNet",
    "RetinaNetHead",
    "retinanet",
    "retinanet_loss",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_c5",
    "retinanet_resnet101_fpn",
]

_PAPER = "Lin et al., ICCV 2017, arXiv 1708.02002"
_RATIOS = (0.5, 1.0, 2.0)  # height over width
_SCALES = 3  # sizes an octave
_PRIOR = 0.01  # pi: probability of an object before training (section 4.1, "Initialization")
_POSITIVE, _NEGATIVE = 0.5, 0.4  # overlaps (section 4, "Anchors")


class _ClassSubnet(nn.Module):
    def __init__(self, channels: int, rows: int, normalized: bool) -> None:
        super().__init__()
        self.conv = conv_tower(channels, normalized)
        self.cls_logits = nn.Conv2d(channels, rows, 3, padding=1)


class _BoxSubnet(nn.Module):
    def __init__(self, channels: int, anchors: int, normalized: bool) -> None:
        super().__init__()
        self.conv = conv_tower(channels, normalized)
        self.bbox_reg = nn.Conv2d(channels, 4 * anchors, 3, padding=1)


class RetinaNetHead(nn.Module):
    """Class subnet and box subnet of RetinaNet, shared by all levels (section 4).

    Args:
        channels: Of the feature maps.
        num_classes: Classes without background.
        anchors: Anchors of each location.
        normalized: With GroupNorm behind the hidden convolutions.

    Raises:
        ConfigError: If the 32 groups of GroupNorm do not divide ``channels``.

    Example:
        >>> logits, codes = RetinaNetHead(64, num_classes=3)([torch.zeros(1, 64, 4, 4), torch.zeros(1, 64, 2, 2)])
        >>> logits.shape, codes.shape
        (torch.Size([1, 180, 3]), torch.Size([1, 180, 4]))
    """

    def __init__(self, channels: int, num_classes: int, anchors: int = 9, normalized: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classification_head = _ClassSubnet(channels, anchors * num_classes, normalized)
        self.regression_head = _BoxSubnet(channels, anchors, normalized)
        start_head(self)
        bias = self.classification_head.cls_logits.bias
        assert bias is not None
        nn.init.constant_(bias, log_odds(_PRIOR))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Feature maps (B, channels, H, W) to class logits (B, A, num_classes) and box codes (B, A, 4)."""
        classes, boxes = self.classification_head, self.regression_head
        logits = [map_rows(classes.cls_logits(classes.conv(level)), self.num_classes) for level in maps]
        codes = [map_rows(boxes.bbox_reg(boxes.conv(level)), 4) for level in maps]
        return torch.cat(logits, dim=1), torch.cat(codes, dim=1)


class RetinaNet(Detector):
    """RetinaNet over any backbone and pyramid.

    Args:
        backbone: Classifier without its head.
        pyramid: Makes feature maps of one width from images and backbone.
        num_classes: Classes without background.
        anchor_size: Side of the smallest anchors at the finest level, pixels; it doubles from level to level.
        alpha: Weight of positives in the focal loss; ``None`` weighs all of them 1.
        gamma: Focusing exponent; 0 is cross entropy.
        normalized: With GroupNorm in both subnets.

    Attributes:
        alpha, gamma: Of the focal loss, as above; a phase may change them.
        forced: What an object gets that no anchor overlaps by 0.5, see :func:`saccade.ops.matching.match_by_iou`.
        smooth_l1_beta: Of the box loss; 0 is L1, 1 the paper's.

    Example:
        >>> model = retinanet(num_classes=2, backbone="resnet18", channels=32).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 300, 4]), torch.Size([1]))
    """

    neck_names = ("pyramid",)
    head_names = ("head",)
    positive_iou = _POSITIVE

    def __init__(
        self,
        backbone: Classifier,
        pyramid: Pyramid,
        num_classes: int,
        anchor_size: int = 32,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        normalized: bool = False,
    ) -> None:
        super().__init__(num_classes, NmsSettings(0.5, score_threshold=0.05, pre_nms=1000, max_detections=300))
        self.backbone = backbone
        self.pyramid = pyramid
        octaves = [anchor_size * 2**octave for octave in range(5)]
        self.anchor_sizes = tuple(
            tuple(size for octave in own for size in _octave(octaves[octave])) for own in pyramid.octaves
        )
        anchors = len(_RATIOS) * len(self.anchor_sizes[0])
        self.head = RetinaNetHead(pyramid.channels, num_classes, anchors, normalized)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.feature_strides = pyramid.strides
        self.feature_channels = (pyramid.channels,) * len(pyramid.strides)
        layer = "head.classification_head.cls_logits"
        self.class_rows = dict.fromkeys((f"{layer}.weight", f"{layer}.bias"), ClassRows(groups=anchors))
        self.alpha, self.gamma = alpha, gamma
        self.forced: Forced = "ties"
        self.smooth_l1_beta = 0.0
        self._map_sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.input_spec = replace(
            backbone.input_spec, size=(512, 512), resize="letterbox", align="top_left", pad_multiple=32
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the pyramid: P3 to P7."""
        levels: list[Tensor] = self.pyramid(images, self.backbone)
        return levels

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs of all A anchors, level by level.

        Args:
            images: (B, 3, H, W).

        Returns:
            ``logits`` (B, A, num_classes), ``codes`` (B, A, 4) relative to ``anchors`` (A, 4), pixels, and ``canvas``
            (2,) height and width.
        """
        maps = self.features(images)
        logits, codes = self.head(maps)
        return {"logits": logits, "codes": codes, "anchors": self._anchors(images, maps), "canvas": canvas_size(images)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Terms ``classification`` and ``box``; see :func:`retinanet_loss`."""
        boxes_xyxy, labels = unpack_targets(targets)
        outputs = self(images)
        owners = self._owners(outputs["anchors"], boxes_xyxy, labels >= 0)
        return retinanet_loss(outputs, owners, boxes_xyxy, labels, (self.alpha, self.gamma), self.smooth_l1_beta)

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression; an anchor may predict several classes, all with the same box."""
        scores, best, labels = top_candidates(outputs["logits"].float(), self.nms.pre_nms)
        codes = outputs["codes"].float().gather(1, best[..., None].expand(-1, -1, 4))
        boxes = decode_anchors(codes, outputs["anchors"][best])
        canvas = outputs["canvas"].flip(0).repeat(2)  # width, height, width, height
        return batched_nms(torch.minimum(boxes.clamp(min=0), canvas), scores, labels, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) that own an anchor, (N,) bool."""
        valid = torch.ones(1, len(boxes_xyxy), dtype=torch.bool)
        owners = self._owners(self.anchors(size), boxes_xyxy[None].float(), valid)
        found = torch.zeros(len(boxes_xyxy), dtype=torch.bool)
        found[owners[owners >= 0]] = True
        return found

    def anchors(self, size: tuple[int, int]) -> Tensor:
        """Anchors of a canvas, (A, 4), pixels."""
        images = torch.empty(1, 1, *size)
        return self._anchors(images, empty_maps(self, images, self._map_sizes))

    @torch.no_grad()
    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Anchors that are positive; they depend on the objects and the canvas alone."""
        boxes_xyxy, labels = unpack_targets(targets)
        maps = empty_maps(self, images, self._map_sizes)
        anchors = self._anchors(images, maps)
        of_level = [
            level.shape[-2] * level.shape[-1] * len(_RATIOS) * len(sizes)
            for level, sizes in zip(maps, self.anchor_sizes, strict=True)
        ]
        return Assignment(
            regions_xyxy=anchors,
            levels=torch.arange(len(maps)).repeat_interleave(torch.tensor(of_level)).to(anchors.device),
            level_names=tuple(f"P{round(math.log2(stride))} /{stride}" for stride in self.feature_strides),
            owners=self._owners(anchors, boxes_xyxy, labels >= 0),
        )

    def _anchors(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        return grid_anchors(images, maps, self.anchor_sizes, _RATIOS)

    def _owners(self, anchors: Tensor, boxes_xyxy: Tensor, valid: Tensor) -> Tensor:
        return match_by_iou(boxes_xyxy, valid, anchors, _POSITIVE, _NEGATIVE, self.forced).owners


def _octave(size: int) -> tuple[int, ...]:
    """Sizes of the anchors of one level (section 4, "Anchors"), in whole pixels."""
    return tuple(int(size * 2 ** (scale / _SCALES)) for scale in range(_SCALES))


def retinanet_loss(
    outputs: Outputs,
    owners: Tensor,
    boxes_xyxy: Tensor,
    labels: Tensor,
    focal: tuple[float | None, float] = (0.25, 2.0),
    smooth_l1_beta: float = 0.0,
) -> dict[str, Tensor]:
    """Loss terms: of each image divided by the number of its positive anchors, at least 1, then the mean over images.

    Args:
        outputs: Of ``forward``.
        owners: (B, A): row of the object that each anchor is positive for, ``NEGATIVE`` or ``IGNORED``.
        boxes_xyxy: Ground truth boxes, (B, M, 4), canvas pixels.
        labels: (B, M) int64.
        focal: alpha and gamma of the focal loss.
        smooth_l1_beta: 0 is L1.

    Returns:
        ``classification`` (focal, over all anchors that are not ignored; section 4.1) and ``box`` (over the four codes
        of positive ones), scalars.

    Example:
        >>> model = retinanet(num_classes=2, backbone="resnet18", channels=32)
        >>> targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}]
        >>> list(model.loss(torch.zeros(1, 3, 64, 64), targets))
        ['classification', 'box']
    """
    positive = owners >= 0
    weights = 1 / (positive.sum(dim=1).clamp(min=1) * len(owners))  # (B,)
    classes = torch.where(positive, labels.gather(1, owners.clamp(min=0)), owners)
    # Only positive anchors are coded. Without any, the box loss is a sum over nothing: 0, and still part of the graph.
    image, anchor = positive.nonzero(as_tuple=True)
    wanted = encode_anchors(boxes_xyxy[image, owners[image, anchor]], outputs["anchors"][anchor])
    box = smooth_l1_loss(outputs["codes"][image, anchor].float(), wanted, smooth_l1_beta)
    alpha, gamma = focal
    return {
        "classification": sparse_focal_loss(
            outputs["logits"], classes, alpha, gamma, weights[:, None].expand(classes.shape)
        ),
        "box": (box.sum(dim=1) * weights[image]).sum(),
    }


def _on_coco(num_classes: int, backbone: str, extra: str) -> RetinaNet:
    """RetinaNet of the paper: shorter side 800 pixels."""
    body = build_backbone(backbone)
    model = RetinaNet(body, TopDownPyramid(body, extra="p5" if extra == "p5" else "c5"), num_classes)
    model.input_spec = replace(
        body.input_spec, size=(800, 1333), resize="shorter_side", align="top_left", pad_multiple=32
    )
    return model


@register_model(task="detection", paper=_PAPER)
def retinanet_resnet50_fpn(num_classes: int = 80, weights: str | None = None) -> RetinaNet:
    """RetinaNet over ResNet-50 as torchvision publishes it: P6 from P5, shorter side 800 pixels.

    Example:
        >>> model = retinanet_resnet50_fpn(num_classes=3)
        >>> model.num_classes, model.input_spec.size, model.nms.iou
        (3, (800, 1333), 0.5)
    """
    return _on_coco(num_classes, "resnet50", "p5")


@register_model(task="detection", paper=_PAPER)
def retinanet_resnet50_fpn_c5(num_classes: int = 80, weights: str | None = None) -> RetinaNet:
    """RetinaNet over ResNet-50 as in the paper: stride in the first 1x1 of a bottleneck, P6 from C5, 800 pixels."""
    return _on_coco(num_classes, "resnet50_v1", "c5")


@register_model(task="detection", paper=_PAPER)
def retinanet_resnet101_fpn(num_classes: int = 80, weights: str | None = None) -> RetinaNet:
    """RetinaNet over ResNet-101 (v1.5): P6 from C5 as in the paper, shorter side 800 pixels."""
    return _on_coco(num_classes, "resnet101", "c5")


@register_model(task="detection", paper=_PAPER)
def retinanet(
    num_classes: int = 80,
    backbone: str = "resnet18",
    channels: int = 256,
    anchor_size: int = 32,
    pyramid: PyramidDesign = "fpn",
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    normalized: bool = False,
    weights: str | None = None,
) -> RetinaNet:
    """RetinaNet over any classifier with feature maps of stride 8, 16 and 32, on a square of 512 pixels.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier.
        channels: Of the pyramid and the subnets (the paper: 256).
        anchor_size: Side of the smallest anchors, pixels; smaller for small objects or a small canvas.
        pyramid: ``fpn``, or another design of figure 1 of the FPN paper: ``single``, ``hierarchy`` or ``image``.
        alpha: Weight of positives in the focal loss; ``None`` weighs all of them 1.
        gamma: Focusing exponent; 0 is cross entropy, balanced by alpha.
        normalized: With GroupNorm in both subnets, which the paper has not: a network that begins without weights of
            ImageNet learns several times as fast.
        weights: As everywhere.

    Raises:
        ConfigError: If ``normalized``, and ``channels`` is no multiple of 32 from 64 on.

    Example:
        >>> model = retinanet(num_classes=2, backbone="mobilenet_v3_small", channels=64)
        >>> [tuple(level.shape[1:]) for level in model.features(torch.zeros(1, 3, 128, 128))]
        [(64, 16, 16), (64, 8, 8), (64, 4, 4), (64, 2, 2), (64, 1, 1)]
    """
    body = build_backbone(backbone)
    return RetinaNet(body, build_pyramid(pyramid, body, channels), num_classes, anchor_size, alpha, gamma, normalized)
