r"""YOLOX: Exceeding YOLO Series in 2021.

Zheng Ge, Songtao Liu, Feng Wang, Zeming Li, Jian Sun; technical report, 2021, arXiv 2107.08430.

A YOLO without anchors: each grid cell of three feature maps is an anchor point, which predicts one box, whether there
is an object, and its class. The head is decoupled, one branch for the class and one for the box. Which anchor points
are positive for an object is decided anew in each step from the predictions of that moment (SimOTA).

    images (B, 3, H, W), BGR 0..255
      |  Focus, dark2 .. dark5 (CSPDarknet)            c3 /8   c4 /16   c5 /32        256 512 1024 channels x width
      |  pyramid, coarse to fine and back (YOLOPAFPN)  n3 /8   n4 /16   n5 /32
      |  a level: 1x1 stem --- 3x3 3x3 -- classes      (B, A, num_classes)            A = HW/64 + HW/256 + HW/1024
      |                    \-- 3x3 3x3 -- box          (B, A, 4)
      |                               \-- objectness  (B, A)

Differences from the paper: none in the networks. The loss follows the authors' code where the paper is silent: the box
loss is 1 - IoU^2 with weight 5, class targets are one-hot times the IoU of the predicted box, everything is divided by
the number of positive points, and a point that several objects claim is assigned to the object of the image for which
it is cheapest. Crowds and difficult objects are not targets. Predicted sizes are cut off at 22,026 strides
(``ops.box_coding``), where the authors' overflow. Candidates of the assignment are those of the authors' releases; the
rule to which their repository changed in January 2023 is ``candidates="center"`` (:mod:`yolox_assign
<saccade.models.detection.yolox_assign>`; both are measured in ``docs/results/yolox_candidates.md``).

Published weights: https://github.com/Megvii-BaseDetection/YOLOX (Apache-2.0). Their names are ours; those of
YOLOX-Darknet53 are read by ``weights.layouts.yolox_darknet53``, since the backbone is the one of ``darknet53``.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.losses.iou import squared_iou_loss
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import build_backbone
from saccade.models.detection.base import Assignment, Detector, match_one_to_one, unpack_targets
from saccade.models.detection.yolox_assign import (
    CANDIDATES,
    Candidates,
    Matches,
    Predictions,
    candidate_regions,
    simota,
)
from saccade.models.detection.yolox_parts import YOLOFPN, YOLOPAFPN, CSPDarknet, DecoupledHead
from saccade.models.registry import register_model
from saccade.ops.anchors import grid_points
from saccade.ops.box_coding import decode_points, encode_points
from saccade.ops.matching import NEGATIVE
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

__all__ = [
    "YOLOX",
    "yolox_darknet53",
    "yolox_l",
    "yolox_loss",
    "yolox_m",
    "yolox_nano",
    "yolox_s",
    "yolox_tiny",
    "yolox_x",
]

_PAPER = "Ge et al. 2021, arXiv 2107.08430"


class YOLOX(Detector):
    """YOLOX of any size: backbone and pyramid, then the decoupled head.

    Args:
        neck: Backbone and pyramid: images to three feature maps of stride 8, 16 and 32.
        head: Feature maps to raw boxes, objectness and class logits.
        num_classes: Classes without background.
        size: Side of the square canvas of training and evaluation, pixels.
        candidates: Anchor points that may be positive for an object: ``box_or_center`` or ``center``.

    Raises:
        ConfigError: If there is no such rule of candidates.

    Attributes:
        use_l1: Add the L1 loss of the raw boxes; a phase switches it on for the last epochs, together with mosaic off.

    Example:
        >>> model = saccade.create_model("yolox_nano", num_classes=2).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 84, 4]), torch.Size([1]))
    """

    feature_strides = (8, 16, 32)
    head_names = ("head",)
    class_rows = linear_rows(*(f"head.cls_preds.{level}" for level in range(3)))

    def __init__(
        self,
        neck: YOLOPAFPN | YOLOFPN,
        head: DecoupledHead,
        num_classes: int,
        size: int = 640,
        candidates: Candidates = "box_or_center",
    ) -> None:
        if candidates not in CANDIDATES:
            raise ConfigError(f"candidates is '{candidates}'; it must be {' or '.join(map(repr, CANDIDATES))}.")
        super().__init__(num_classes, NmsSettings(0.65, score_threshold=0.01, pre_nms=1000, max_detections=100))
        self.backbone = neck
        self.head = head
        self.stage_names = tuple(f"backbone.backbone.{stage}" for stage in neck.backbone.stage_names)
        self.neck_names = tuple(f"backbone.{name}" for name, _ in neck.named_children() if name != "backbone")
        self.feature_channels = neck.out_channels
        self.input_spec = InputSpec(
            size=(size, size),
            resize="letterbox",
            align="top_left",
            pad_value=114,
            pad_multiple=32,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            channel_order="bgr",
        )
        self.use_l1 = False
        self.candidates: Candidates = candidates
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 0.03

    def features(self, images: Tensor) -> list[Tensor]:
        """The three feature maps of the neck, stride 8, 16 and 32."""
        return list(self.backbone(images))

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs of all A anchor points, level by level.

        Args:
            images: (B, 3, H, W), BGR 0..255.

        Returns:
            ``boxes`` (B, A, 4) raw, ``objectness`` (B, A) and ``logits`` (B, A, num_classes), ``points`` (A, 2) column
            and row in the own level, ``strides`` (A,) pixels.
        """
        maps = self.features(images)
        raw = self.head(maps)
        points, strides = grid_points(maps, self.feature_strides)
        return {**raw._asdict(), "points": points, "strides": strides}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Terms ``box``, ``objectness``, ``class`` and ``l1`` (0 unless ``use_l1``); see :func:`yolox_loss`."""
        boxes_xyxy, labels = unpack_targets(targets)
        return yolox_loss(self(images), boxes_xyxy, labels, self.use_l1, self.candidates)

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression.

        An anchor point predicts one class, scored by class times objectness probability.
        """
        logits = outputs["logits"].float()
        scores = logits.amax(dim=2).sigmoid() * outputs["objectness"].float().sigmoid()
        # Only the best anchor points are worth a class and a box.
        scores, best = scores.topk(min(self.nms.pre_nms, scores.shape[1]), dim=1)
        labels = logits.gather(1, best[..., None].expand(-1, -1, logits.shape[2])).argmax(dim=2)
        raw = outputs["boxes"].float().gather(1, best[..., None].expand(-1, -1, 4))
        boxes = decode_points(raw, outputs["points"][best], outputs["strides"][best])
        return batched_nms(boxes, scores, labels, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) with an anchor point of their own among the candidates of SimOTA, (N,) bool.

        An anchor point predicts one box, so two objects need two of them.
        """
        maps = [torch.zeros(1, 1, size[0] // stride, size[1] // stride) for stride in self.feature_strides]
        points, strides = grid_points(maps, self.feature_strides)
        valid = torch.ones(1, len(boxes_xyxy), dtype=torch.bool)
        centres = (points + 0.5) * strides[:, None]
        near, _ = candidate_regions(centres, strides, boxes_xyxy[None], valid, self.candidates)
        return match_one_to_one(near[0])

    @torch.no_grad()
    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Anchor points that SimOTA makes positive, given what the network predicts for the images now."""
        boxes_xyxy, labels = unpack_targets(targets)
        outputs = self(images)
        matches = _match(outputs, boxes_xyxy, labels, self.candidates)
        points, strides = outputs["points"], outputs["strides"]
        owners = labels.new_full((images.shape[0], points.shape[0]), NEGATIVE)
        owners[matches.image, matches.point] = matches.target
        corners = points * strides[:, None]
        return Assignment(
            regions_xyxy=torch.cat((corners, corners + strides[:, None]), dim=1),
            levels=torch.searchsorted(strides.new_tensor(self.feature_strides), strides),
            level_names=tuple(f"stride {stride}" for stride in self.feature_strides),
            owners=owners,
        )


def yolox_loss(
    outputs: Outputs,
    boxes_xyxy: Tensor,
    labels: Tensor,
    use_l1: bool = False,
    candidates: Candidates = "box_or_center",
) -> dict[str, Tensor]:
    """Weighted loss terms, each divided by the number of positive points of the batch (at least 1).

    Under data-parallel training each process divides by its own number of positives, as the authors' code does.

    Args:
        outputs: Of ``forward``.
        boxes_xyxy: Ground truth boxes, (B, M, 4), canvas pixels.
        labels: (B, M) int64, negative for rows that are not targets.
        use_l1: Add the L1 distance of the raw boxes.
        candidates: See :func:`saccade.models.detection.yolox_assign.simota`.

    Returns:
        ``box`` (5 x (1 - IoU^2)), ``objectness``, ``class`` (binary cross-entropies) and ``l1``, scalars.

    Example:
        >>> model = saccade.create_model("yolox_nano", num_classes=2)
        >>> boxes, labels = torch.tensor([[[8.0, 8.0, 40.0, 40.0]]]), torch.tensor([[1]])
        >>> list(yolox_loss(model(torch.zeros(1, 3, 64, 64)), boxes, labels))
        ['box', 'objectness', 'class', 'l1']
    """
    points, strides = outputs["points"], outputs["strides"]
    raw, objectness, logits = outputs["boxes"].float(), outputs["objectness"].float(), outputs["logits"].float()
    image, point, target, iou = _match(outputs, boxes_xyxy, labels, candidates)
    positives = max(image.shape[0], 1)

    # Only positive points are decoded with gradients. Without any, these are sums over nothing: 0, and still part of
    # the graph.
    own_raw, own_points, own_strides = raw[image, point], points[point], strides[point]
    own_targets = boxes_xyxy[image, target]
    box = squared_iou_loss(decode_points(own_raw, own_points, own_strides), own_targets).sum()
    is_object = torch.zeros_like(objectness).index_put_((image, point), objectness.new_ones(()))
    class_targets = logits.new_zeros(image.shape[0], logits.shape[2]).scatter_(
        1, labels[image, target][:, None], iou[:, None]
    )
    terms = {
        "box": 5 * box,
        "objectness": F.binary_cross_entropy_with_logits(objectness, is_object, reduction="sum"),
        "class": F.binary_cross_entropy_with_logits(logits[image, point], class_targets, reduction="sum"),
        "l1": F.l1_loss(own_raw, encode_points(own_targets, own_points, own_strides), reduction="sum")
        if use_l1
        else box.new_zeros(()),
    }
    return {name: term / positives for name, term in terms.items()}


@torch.no_grad()
def _match(outputs: Outputs, boxes_xyxy: Tensor, labels: Tensor, candidates: Candidates) -> Matches:
    """SimOTA of the outputs of ``forward``."""
    points, strides = outputs["points"], outputs["strides"]
    boxes = decode_points(outputs["boxes"].float(), points, strides)
    predictions = Predictions(boxes, outputs["objectness"].float(), outputs["logits"].float())
    return simota(predictions, (points + 0.5) * strides[:, None], strides, boxes_xyxy, labels, candidates)


def _yolox(
    num_classes: int,
    depth: float,
    width: float,
    candidates: Candidates,
    size: int = 640,
    depthwise: bool = False,
) -> YOLOX:
    neck = YOLOPAFPN(CSPDarknet(depth, width, depthwise), depth, depthwise)
    head = DecoupledHead(neck.out_channels, num_classes, int(256 * width), depthwise)
    return YOLOX(neck, head, num_classes, size, candidates)


@register_model(task="detection", paper=_PAPER)
def yolox_nano(
    num_classes: int = 80,
    depthwise: bool = True,
    candidates: Candidates = "box_or_center",
    weights: str | None = None,
) -> YOLOX:
    """YOLOX-Nano: depth 0.33, width 0.25, depthwise, 416 pixels (table 5).

    Args:
        num_classes: Classes without background.
        depthwise: Split each 3x3 into a depthwise and a 1x1 convolution, as the paper does. Whole ones have 2.5 times
            the parameters, and learn more from each step, which takes a CPU about as long.
        candidates: Which anchor points may be positive for an object; ``center`` is the rule of the authors'
            repository since 2023.
        weights: As everywhere.

    Example:
        >>> model = yolox_nano(num_classes=3)
        >>> model.num_classes, model.input_spec.size, model.nms.iou
        (3, (416, 416), 0.65)
    """
    return _yolox(num_classes, 0.33, 0.25, candidates, size=416, depthwise=depthwise)


@register_model(task="detection", paper=_PAPER)
def yolox_tiny(num_classes: int = 80, candidates: Candidates = "box_or_center", weights: str | None = None) -> YOLOX:
    """YOLOX-Tiny: depth 0.33, width 0.375, 416 pixels (table 5)."""
    return _yolox(num_classes, 0.33, 0.375, candidates, size=416)


@register_model(task="detection", paper=_PAPER)
def yolox_s(num_classes: int = 80, candidates: Candidates = "box_or_center", weights: str | None = None) -> YOLOX:
    """YOLOX-S: depth 0.33, width 0.5, 640 pixels (table 3).

    Example:
        >>> [tuple(level.shape[1:]) for level in yolox_s().features(torch.zeros(1, 3, 64, 64))]
        [(128, 8, 8), (256, 4, 4), (512, 2, 2)]
    """
    return _yolox(num_classes, 0.33, 0.5, candidates)


@register_model(task="detection", paper=_PAPER)
def yolox_m(num_classes: int = 80, candidates: Candidates = "box_or_center", weights: str | None = None) -> YOLOX:
    """YOLOX-M: depth 0.67, width 0.75, 640 pixels (table 3)."""
    return _yolox(num_classes, 0.67, 0.75, candidates)


@register_model(task="detection", paper=_PAPER)
def yolox_l(num_classes: int = 80, candidates: Candidates = "box_or_center", weights: str | None = None) -> YOLOX:
    """YOLOX-L: depth 1, width 1, 640 pixels (table 3)."""
    return _yolox(num_classes, 1.0, 1.0, candidates)


@register_model(task="detection", paper=_PAPER)
def yolox_x(num_classes: int = 80, candidates: Candidates = "box_or_center", weights: str | None = None) -> YOLOX:
    """YOLOX-X: depth 1.33, width 1.25, 640 pixels (table 3)."""
    return _yolox(num_classes, 1.33, 1.25, candidates)


@register_model(task="detection", paper=_PAPER)
def yolox_darknet53(
    num_classes: int = 80, candidates: Candidates = "box_or_center", weights: str | None = None
) -> YOLOX:
    """YOLOX-Darknet53: YOLOv3's backbone and neck under the same head, 640 pixels (table 2)."""
    backbone = build_backbone("darknet53")
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()  # torch's, as in the authors' code
    neck = YOLOFPN(backbone)
    leaky = functools.partial(nn.LeakyReLU, 0.1)
    head = DecoupledHead(neck.out_channels, num_classes, 256, activation=leaky)
    return YOLOX(neck, head, num_classes, candidates=candidates)
