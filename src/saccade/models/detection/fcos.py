r"""FCOS: fully convolutional one-stage object detection.

Paper: Zhi Tian, Chunhua Shen, Hao Chen, Tong He, "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019,
arXiv 1904.01355; what the authors changed afterwards is in arXiv 2006.09214.

Detection as segmentation does it, without anchors: every location of a feature pyramid that lies within an object
predicts the object's class and its own distances l, t, r, b to the four sides (equation 1). Which level an object
belongs to follows from the largest of these distances, and a location within several objects belongs to the smallest
of them. Locations far from an object's middle predict poor boxes, so each of them also predicts its centre-ness, by
which its score falls.

    images (B, 3, H, W)
      |  backbone           C3 /8   C4 /16   C5 /32
      |  feature pyramid    P3 /8   P4 /16   P5 /32   P6 /64   P7 /128     256 channels each
      |  a level, one head for all of them:
      |    4 x (3x3, GroupNorm, ReLU) -- 3x3  classes                      (B, A, num_classes)
      |    4 x (3x3, GroupNorm, ReLU) -- 3x3, ReLU  l, t, r, b in strides  (B, A, 4)
      |                              \-- 3x3  centre-ness                  (B, A)        A = HW/64 + HW/256 + ...

Differences from the paper: those of the authors' later code, as torchvision has them. The centre-ness branch leaves the
box branch instead of the class branch; the box loss is 1 - GIoU (``box_loss="iou"`` is the paper's); distances are the
ReLU of an output in strides, where the paper has exp(s x) with a learnt s a level; only locations within 1.5 strides of
an object's centre are positive for it (centre sampling; ``center_sampling=False`` leaves it out, as the paper does); a
score is the square root of class probability times centre-ness, not the product, and the box loss is not weighted by
centre-ness. A largest distance that equals a limit of two levels belongs to neither. Ranges of levels are 8 strides by
default, which are the paper's 64, 128, 256 and 512 pixels.

*Locations*: in the paper, cell (x, y) of a level with stride s stands for the point (floor(s/2) + x s, floor(s/2) + y
s). torchvision trained the published weights with the cells' upper left corners (x s, y s), and with the canvas divided
by the grid for s; the paper's points would shift all boxes of these weights by half a stride. ``points="corner"`` is
therefore the default of the published networks, and ``"middle"``, the paper's, of ``fcos``, which is trained afresh.

*Suppression* is torchvision's, but for the score from which on a detection counts: 0.05 instead of 0.2, so that the
precision-recall curve has its tail.

Published weights: torchvision's ``FCOS_ResNet50_FPN_Weights``, read by ``weights.layouts.torchvision_detection``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.fpn import FeaturePyramid
from saccade.errors import ConfigError, did_you_mean
from saccade.losses.focal import sparse_focal_loss
from saccade.losses.iou import iou_loss
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.detection.dense import conv_tower, empty_maps, log_odds, map_rows, start_head
from saccade.models.registry import register_model
from saccade.ops.anchors import canvas_size, grid_anchors, grid_points
from saccade.ops.box_coding import decode_distances, encode_distances
from saccade.ops.candidates import top_candidates, top_pairs
from saccade.ops.matching import NEGATIVE
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.class_rows import ClassRows, linear_rows

__all__ = [
    "FCOS",
    "FCOSHead",
    "Locations",
    "assign_locations",
    "centerness_targets",
    "fcos",
    "fcos_loss",
    "fcos_resnet50_fpn",
    "fcos_resnet101_fpn",
    "unitbox_loss",
]

_PAPER = "Tian et al., ICCV 2019, arXiv 1904.01355"
_PRIOR = 0.01  # probability of an object at a location, before training (Lin et al. 2017, section 3.3)
_RADIUS = 1.5  # of centre sampling, strides
_PAIRS = 2**21  # pairs of a location and an object that are worked on at a time

BoxLoss = Literal["giou", "iou"]
_DISTANCE = 2.0  # strides from a location to each side of its box before anything is learnt
ClassLoss = Literal["binary", "softmax"]
Points = Literal["corner", "middle"]


class Locations(NamedTuple):
    """Locations of all levels, level by level and row by row, and what decides which objects they may own."""

    points: Tensor  # (A, 2) x and y, pixels
    strides: Tensor  # (A,) pixels
    ranges: Tensor  # (A, 2) the largest of l, t, r, b lies between these, pixels


class _ClassBranch(nn.Module):
    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.conv = conv_tower(channels, normalized=True)
        self.cls_logits = nn.Conv2d(channels, rows, 3, padding=1)


class _BoxBranch(nn.Module):
    def __init__(self, channels: int, centerness: bool) -> None:
        super().__init__()
        self.conv = conv_tower(channels, normalized=True)
        self.bbox_reg = nn.Conv2d(channels, 4, 3, padding=1)
        self.bbox_ctrness = nn.Conv2d(channels, 1, 3, padding=1) if centerness else None


class FCOSHead(nn.Module):
    """Head of FCOS (figure 2): a branch for classes, one for distances and centre-ness, shared by all levels.

    Args:
        channels: Of the feature maps, a multiple of 32 from 64 on.
        num_classes: Classes without background.
        classifier: ``binary``: a sigmoid a class; ``softmax``: one softmax over background (first) and classes.
        centerness: Whether there is a centre-ness output.

    Raises:
        ConfigError: If the groups of GroupNorm do not divide ``channels``, or would hold one channel each.

    Example:
        >>> head = FCOSHead(64, num_classes=3)
        >>> {name: tuple(value.shape) for name, value in head([torch.zeros(1, 64, 4, 4)]).items()}
        {'logits': (1, 16, 3), 'distances': (1, 16, 4), 'centerness': (1, 16)}
    """

    def __init__(
        self, channels: int, num_classes: int, classifier: ClassLoss = "binary", centerness: bool = True
    ) -> None:
        super().__init__()
        softmax = _one_of(ClassLoss, "classifier", classifier) == "softmax"
        self.columns = num_classes + softmax
        self.classification_head = _ClassBranch(channels, self.columns)
        self.regression_head = _BoxBranch(channels, centerness)
        start_head(self)
        sides, bias = self.regression_head.bbox_reg.bias, self.classification_head.cls_logits.bias
        assert sides is not None
        assert bias is not None
        # A side whose distance is 0 everywhere gets no gradient through the ReLU, and stays so.
        nn.init.constant_(sides, _DISTANCE)
        odds = log_odds(_PRIOR)
        if softmax:  # all classes together have the prior
            nn.init.constant_(bias[0], math.log(num_classes) - odds)
        else:
            nn.init.constant_(bias, odds)

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Feature maps (B, channels, H, W) to ``logits``, ``distances`` in strides and ``centerness`` logits."""
        classes, boxes = self.classification_head, self.regression_head
        logits, distances, centerness = [], [], []
        for level in maps:
            logits.append(map_rows(classes.cls_logits(classes.conv(level)), self.columns))
            shared = boxes.conv(level)
            distances.append(map_rows(F.relu(boxes.bbox_reg(shared)), 4))
            if boxes.bbox_ctrness is not None:
                centerness.append(map_rows(boxes.bbox_ctrness(shared), 1)[..., 0])
        found = {"logits": torch.cat(logits, dim=1), "distances": torch.cat(distances, dim=1)}
        return {**found, "centerness": torch.cat(centerness, dim=1)} if centerness else found


class FCOS(Detector):
    """FCOS over any backbone: feature pyramid and the shared head.

    Args:
        backbone: Classifier without its head; its last three feature maps enter the pyramid.
        num_classes: Classes without background.
        channels: Of the pyramid and the head, a multiple of 32 from 64 on.
        centerness: Predict centre-ness, and score by it.
        center_sampling: Only locations near an object's centre may be positive for it.
        classifier: ``binary``: C sigmoids; ``softmax``: one softmax over background and C classes.
        ranges: Largest distance to a side, pixels, that each level but the last may own, fine to coarse; ``None``: 8
            strides.
        points: Which point of its cell a location stands for, see the head of this file.

    Raises:
        ConfigError: If ``ranges`` do not rise, or are not one fewer than the levels, or a choice is unknown.

    Attributes:
        box_loss: ``giou``, or ``iou`` for the paper's -ln(IoU); a phase may change it.
        center_radius: Radius of centre sampling, strides; ``None`` where there is none.

    Example:
        >>> model = fcos(num_classes=2, backbone="resnet18", channels=64).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 86, 4]), torch.Size([1]))
    """

    neck_names = ("fpn",)
    head_names = ("head",)

    def __init__(
        self,
        backbone: Classifier,
        num_classes: int,
        channels: int = 256,
        centerness: bool = True,
        center_sampling: bool = True,
        classifier: ClassLoss = "binary",
        ranges: Sequence[float] | None = None,
        points: Points = "middle",
    ) -> None:
        super().__init__(num_classes, NmsSettings(0.6, score_threshold=0.05, pre_nms=1000, max_detections=100))
        self.backbone = backbone
        self.fpn = FeaturePyramid(backbone.feature_channels[-3:], channels, extra="p5")
        self.head = FCOSHead(channels, num_classes, classifier, centerness)
        strides = backbone.feature_strides[-3:]
        self.feature_strides = (*strides, strides[-1] * 2, strides[-1] * 4)
        self.feature_channels = (channels,) * len(self.feature_strides)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.ranges = _check_ranges(ranges, self.feature_strides)
        self.points: Points = _one_of(Points, "points", points)
        self.classifier: ClassLoss = classifier
        self.box_loss: BoxLoss = "giou"
        self.center_radius: float | None = _RADIUS if center_sampling else None
        self._map_sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        layer = "head.classification_head.cls_logits"
        self.class_rows = (
            dict.fromkeys((f"{layer}.weight", f"{layer}.bias"), ClassRows(fixed=1))
            if classifier == "softmax"
            else linear_rows(layer)
        )
        self.input_spec = replace(
            backbone.input_spec,
            size=(512, 512),
            resize="letterbox",
            align="top_left",
            pad_multiple=max(backbone.feature_strides),
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps P3 to P7 of the pyramid."""
        return list(self.fpn(self.backbone.features(images)[-3:]))

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs of all A locations, level by level.

        Args:
            images: (B, 3, H, W).

        Returns:
            ``logits`` (B, A, num_classes), with a softmax one column more, the background's, in front; ``distances``
            (B, A, 4): l, t, r, b in strides, not negative; ``centerness`` (B, A) logits, where there is one; ``points``
            (A, 2) and ``strides`` (A,), pixels; ``canvas`` (2,) height and width.
        """
        maps = self.features(images)
        points, strides = self._grid(images, maps)
        return {**self.head(maps), "points": points, "strides": strides, "canvas": canvas_size(images)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Terms ``classification``, ``box`` and, where there is one, ``centerness``; see :func:`fcos_loss`."""
        boxes_xyxy, labels = unpack_targets(targets)
        outputs = self(images)
        owners = self._owners(outputs["points"], outputs["strides"], boxes_xyxy, labels >= 0)
        return fcos_loss(outputs, owners, boxes_xyxy, labels, self.box_loss, self.classifier)

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression, scored by sqrt(class probability x centre-ness).

        A location may predict several classes, all with the same box. Without centre-ness the score is the class
        probability.
        """
        quality = outputs["centerness"].float().sigmoid() if "centerness" in outputs else None
        logits = outputs["logits"].float()
        if self.classifier == "softmax":
            found = logits.softmax(dim=2)[..., 1:]
            scores, best, labels = top_pairs(found if quality is None else found * quality[..., None], self.nms.pre_nms)
        else:
            scores, best, labels = top_candidates(logits, self.nms.pre_nms, quality)
        distances = outputs["distances"].float().gather(1, best[..., None].expand(-1, -1, 4))
        boxes = decode_distances(distances * outputs["strides"][best][..., None], outputs["points"][best])
        canvas = outputs["canvas"].flip(0).repeat(2)  # width, height, width, height
        boxes = torch.minimum(boxes.clamp(min=0), canvas)
        return batched_nms(boxes, scores if quality is None else scores.sqrt(), labels, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) that own a location, (N,) bool.

        The others lie between the points of the level that their size belongs to, or smaller objects own all of their
        locations.
        """
        images = torch.empty(1, 1, *size)
        maps = empty_maps(self, images, self._map_sizes)
        valid = torch.ones(1, len(boxes_xyxy), dtype=torch.bool)
        owners = self._owners(*self._grid(images, maps), boxes_xyxy[None].float(), valid)
        return (owners[0, :, None] == torch.arange(len(boxes_xyxy))).any(dim=0)

    @torch.no_grad()
    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Locations that are positive; they depend on the objects and the canvas alone."""
        boxes_xyxy, labels = unpack_targets(targets)
        points, strides = self._grid(images, empty_maps(self, images, self._map_sizes))
        half = strides[:, None] / 2
        return Assignment(
            regions_xyxy=torch.cat((points - half, points + half), dim=1),
            levels=_level_of(strides, self.feature_strides),
            level_names=tuple(f"P{round(math.log2(stride))} /{stride}" for stride in self.feature_strides),
            owners=self._owners(points, strides, boxes_xyxy, labels >= 0),
        )

    def _grid(self, images: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Points (A, 2) and strides (A,) of all locations, pixels."""
        if self.points == "middle":
            cells, strides = grid_points(maps, self.feature_strides)
            return (cells * strides[:, None]) + (strides / 2).floor()[:, None], strides
        # Corners, and strides, as torchvision has them: middles of anchors as large as a cell.
        anchors = grid_anchors(images, maps, tuple((float(stride),) for stride in self.feature_strides), (1.0,))
        return (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2] - anchors[:, 0]

    def _owners(self, points: Tensor, strides: Tensor, boxes_xyxy: Tensor, valid: Tensor) -> Tensor:
        limits = strides.new_tensor([0.0, *self.ranges, math.inf])
        level = _level_of(strides, self.feature_strides)
        locations = Locations(points, strides, torch.stack((limits[level], limits[level + 1]), dim=1))
        return assign_locations(locations, boxes_xyxy, valid, self.center_radius)


def _one_of(choices: Any, name: str, value: Any) -> Any:
    known = get_args(choices)
    if value not in known:
        raise ConfigError(f"{name} is '{value}'.{did_you_mean(str(value), known)}")
    return value


def _check_ranges(ranges: Sequence[float] | None, strides: Sequence[int]) -> tuple[float, ...]:
    if ranges is None:
        return tuple(8.0 * stride for stride in strides[:-1])
    wanted = len(strides) - 1
    if len(ranges) != wanted or any(high <= low for low, high in zip((0.0, *ranges), ranges, strict=False)):
        raise ConfigError(
            f"ranges is {tuple(ranges)}; it must be {wanted} rising numbers above 0, one for each level but the last."
        )
    return tuple(float(limit) for limit in ranges)


def _level_of(strides: Tensor, all_strides: Sequence[int]) -> Tensor:
    return torch.searchsorted(strides.new_tensor(all_strides), strides)


@torch.no_grad()
def assign_locations(
    locations: Locations, boxes_xyxy: Tensor, valid: Tensor, center_radius: float | None = _RADIUS
) -> Tensor:
    """Object that each location is positive for (sections 3.1 and 3.2).

    It lies inside the object's box, within ``center_radius`` strides of the middle in x and y, and the largest of its
    distances l, t, r, b is in the range of its level. Of several such objects it belongs to the smallest, of equally
    small ones to the first. The order of objects by area makes the smallest a minimum of ranks; objects are worked on
    in portions, so that memory stays bounded whatever their number.

    Args:
        locations: Points, strides and ranges of all A locations.
        boxes_xyxy: Ground truth boxes, (B, M, 4), pixels.
        valid: (B, M) bool; false for rows that are not targets.
        center_radius: Strides; ``None``: anywhere inside the box.

    Returns:
        (B, A) int64: row of the object, or ``NEGATIVE``.

    Example:
        >>> points = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
        >>> locations = Locations(points, torch.full((3,), 8.0), torch.tensor([[0.0, 64.0]]).expand(3, 2))
        >>> boxes = torch.tensor([[[0.0, 0.0, 24.0, 8.0], [8.0, 0.0, 16.0, 8.0]]])
        >>> assign_locations(locations, boxes, torch.tensor([[True, True]])).tolist()
        [[0, 1, 0]]
    """
    B, M = valid.shape
    x, y = locations.points.unbind(dim=1)
    low, high = locations.ranges.unbind(dim=1)
    radius = None if center_radius is None else center_radius * locations.strides
    areas = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).prod(dim=2)
    order = areas.masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)
    # A box of nothing has no inside: rows that are not targets, of whatever numbers, own no location.
    boxes = boxes_xyxy.where(valid[..., None], 0.0).gather(1, order[..., None].expand(B, M, 4))

    smallest = torch.full((B, len(x)), M, dtype=torch.int32, device=x.device)  # rank of the object by area; M: none
    portion = max(1, _PAIRS // max(1, B * len(x)))
    for start in range(0, M, portion):
        x1, y1, x2, y2 = boxes[:, start : start + portion, None].unbind(dim=3)  # (B, m, 1)
        left, top, right, bottom = x - x1, y - y1, x2 - x, y2 - y  # equation 1, (B, m, A)
        nearest = torch.minimum(torch.minimum(left, right), torch.minimum(top, bottom))
        farthest = torch.maximum(torch.maximum(left, right), torch.maximum(top, bottom))
        hit = (nearest > 0) & (farthest > low) & (farthest < high)
        if radius is not None:
            hit &= ((x - (x1 + x2) / 2).abs() < radius) & ((y - (y1 + y2) / 2).abs() < radius)
        ranks = torch.arange(start, start + hit.shape[1], dtype=torch.int32, device=x.device)[:, None]
        smallest = torch.minimum(smallest, torch.where(hit, ranks, M).amin(dim=1))
    return F.pad(order, (0, 1), value=NEGATIVE).gather(1, smallest.long())


def centerness_targets(distances: Tensor) -> Tensor:
    """Centre-ness of locations (equation 3): ``sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))``.

    Args:
        distances: (..., 4): l, t, r, b, all above 0.

    Returns:
        (...), 0..1: 1 in the middle of the box.

    Example:
        >>> centerness_targets(torch.tensor([[4.0, 4.0, 4.0, 4.0], [1.0, 4.0, 4.0, 4.0]]))
        tensor([1.0000, 0.5000])
    """
    left, top, right, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).sqrt()


def unitbox_loss(distances: Tensor, targets: Tensor) -> Tensor:
    """IoU loss -ln(IoU) of two boxes around the same point (Yu et al. 2016, UnitBox, algorithm 1).

    As in the authors' code, one pixel is added to intersection and union, so that it stays finite.

    Args:
        distances: Predictions, (..., 4): l, t, r, b, pixels, not negative.
        targets: (..., 4).

    Returns:
        (...), not reduced.

    Example:
        >>> unitbox_loss(torch.full((1, 4), 5.0), torch.tensor([[5.0, 5.0, 5.0, 10.0]]))  # ln(151 / 101)
        tensor([0.4022])
    """
    shared = torch.minimum(distances, targets)
    intersection = _area(shared)
    union = _area(distances) + _area(targets) - intersection
    return ((union + 1) / (intersection + 1)).log()


def _area(distances: Tensor) -> Tensor:
    left, top, right, bottom = distances.unbind(dim=-1)
    return (left + right) * (top + bottom)


def fcos_loss(
    outputs: Outputs,
    owners: Tensor,
    boxes_xyxy: Tensor,
    labels: Tensor,
    box_loss: BoxLoss = "giou",
    classifier: ClassLoss = "binary",
) -> dict[str, Tensor]:
    """Loss terms, each divided by the number of positive locations of the batch, at least 1 (equation 2).

    Under data-parallel training each process divides by its own number of positives.

    Args:
        outputs: Of ``forward``.
        owners: (B, A) of :func:`assign_locations`.
        boxes_xyxy: Ground truth boxes, (B, M, 4), canvas pixels.
        labels: (B, M) int64.
        box_loss: ``giou`` or ``iou`` (:func:`unitbox_loss`).
        classifier: ``binary`` or ``softmax``, whose logits have the background's column in front.

    Returns:
        ``classification`` (focal, over all locations), ``box`` and ``centerness`` (binary cross entropy), scalars.

    Example:
        >>> model = fcos(num_classes=2, backbone="resnet18", channels=64)
        >>> targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}]
        >>> list(model.loss(torch.zeros(1, 3, 64, 64), targets))
        ['classification', 'box', 'centerness']
    """
    # Only positive locations are decoded. Without any, these are sums over nothing: 0, and still part of the graph.
    image, location = (owners >= 0).nonzero(as_tuple=True)
    own_boxes = boxes_xyxy[image, owners[image, location]]
    points, strides = outputs["points"][location], outputs["strides"][location]
    distances = outputs["distances"][image, location].float() * strides[:, None]
    targets = encode_distances(own_boxes, points)

    classes = torch.where(owners >= 0, labels.gather(1, owners.clamp(min=0)), NEGATIVE)
    classify = _softmax_focal_loss if classifier == "softmax" else sparse_focal_loss
    terms = {"classification": classify(outputs["logits"], classes)}
    if _one_of(BoxLoss, "box_loss", box_loss) == "iou":
        terms["box"] = unitbox_loss(distances, targets).sum()
    else:
        terms["box"] = iou_loss(decode_distances(distances, points), own_boxes, box_loss).sum()
    if "centerness" in outputs:
        terms["centerness"] = F.binary_cross_entropy_with_logits(
            outputs["centerness"][image, location].float(), centerness_targets(targets), reduction="sum"
        )
    positives = max(len(image), 1)
    return {name: term / positives for name, term in terms.items()}


def _softmax_focal_loss(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss with one softmax over background (column 0) and classes, summed over locations.

    The alpha and gamma of the binary form, with which it is to be compared; background weighs 1 - alpha.
    """
    log_p = logits.float().log_softmax(dim=-1).gather(-1, (labels + 1)[..., None])[..., 0]
    weights = torch.where(labels >= 0, alpha, 1 - alpha)
    return -(weights * (1 - log_p.exp()) ** gamma * log_p).sum()


def _published(backbone: str, num_classes: int, points: Points) -> FCOS:
    """Over a ResNet, at the canvas of torchvision's and the authors' networks."""
    model = FCOS(build_backbone(backbone), num_classes, points=points)
    model.input_spec = replace(model.input_spec, size=(800, 1333), resize="shorter_side")
    return model


@register_model(task="detection", paper=_PAPER)
def fcos_resnet50_fpn(num_classes: int = 80, points: Points = "corner", weights: str | None = None) -> FCOS:
    """FCOS over ResNet-50 (table 3), shorter side of 800 pixels; 32.3 M parameters.

    Args:
        num_classes: Classes without background.
        points: ``corner``, as the published weights were trained, or ``middle`` of the cells, as the paper has it.
        weights: As everywhere.

    Example:
        >>> model = fcos_resnet50_fpn(num_classes=3)
        >>> model.feature_strides, model.input_spec.size, model.ranges
        ((8, 16, 32, 64, 128), (800, 1333), (64.0, 128.0, 256.0, 512.0))
    """
    return _published("resnet50", num_classes, points)


@register_model(task="detection", paper=_PAPER)
def fcos_resnet101_fpn(num_classes: int = 80, points: Points = "corner", weights: str | None = None) -> FCOS:
    """FCOS over ResNet-101 (table 5), shorter side of 800 pixels; 51.3 M parameters.

    Args:
        num_classes: Classes without background.
        points: ``corner`` or ``middle`` of the cells, as in ``fcos_resnet50_fpn``.
        weights: As everywhere.
    """
    return _published("resnet101", num_classes, points)


@register_model(task="detection", paper=_PAPER)
def fcos(
    num_classes: int = 80,
    backbone: str = "resnet18",
    channels: int = 256,
    centerness: bool = True,
    center_sampling: bool = True,
    classifier: ClassLoss = "binary",
    ranges: tuple[float, ...] | None = None,
    weights: str | None = None,
) -> FCOS:
    """FCOS over any classifier, 512 pixels, with the paper's points.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier; its last three feature maps enter the pyramid.
        channels: Of the pyramid and the head, a multiple of 32 from 64 on.
        centerness: Predict centre-ness, and score by it (section 3.3).
        center_sampling: Only locations within 1.5 strides of an object's centre may be positive for it.
        classifier: ``binary``, C sigmoids as in the paper, or ``softmax``, one over background and C classes.
        ranges: Largest distance to a side, pixels, that each level but the last may own, fine to coarse; 8 strides if
            not given.
        weights: As everywhere.

    Example:
        >>> model = fcos(num_classes=3, backbone="mobilenet_v3_small", channels=64, ranges=(32, 64, 128, 256))
        >>> [tuple(level.shape[1:]) for level in model.features(torch.zeros(1, 3, 128, 128))]
        [(64, 16, 16), (64, 8, 8), (64, 4, 4), (64, 2, 2), (64, 1, 1)]
    """
    return FCOS(build_backbone(backbone), num_classes, channels, centerness, center_sampling, classifier, ranges)
