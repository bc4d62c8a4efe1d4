r"""Faster R-CNN: a network proposes regions of its own feature maps, and a second stage looks at each of them.

Paper: Shaoqing Ren, Kaiming He, Ross Girshick, Jian Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region
Proposal Networks", NeurIPS 2015, arXiv 1506.01497. Over a feature pyramid: Lin et al. 2017, arXiv 1612.03144.

    images --- backbone --- neck --- maps --- region proposal network --- proposals (B, K, 4)
                                       \                                      |
                                        \---------- RoIAlign or RoIPool ------+--- box branch --- boxes, classes
                                                                               \--- further branches on final boxes

The two stages share the maps, which makes proposals nearly free (section 3). A detector is put together from parts:
what proposes, what finds boxes (:mod:`saccade.models.detection.box_branch`), and what predicts more of them
(:mod:`saccade.models.detection.roi_branches`); Mask, Keypoint and Cascade R-CNN pass other parts.

Differences from the paper: joint training in one go (the paper's "approximate joint training"), unless the steps of a
run have the names of its four steps (:mod:`saccade.models.detection.alternating`); no gradient passes the coordinates
of proposals. Shapes are fixed: an image always has as
many proposals as there may be, those that it lacks are boxes without area.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from saccade.blocks.fpn import FeaturePyramid
from saccade.blocks.roi_heads.box import BoxPredictor, TwoLayerHead
from saccade.errors import ConfigError
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.trunks import build_trunk
from saccade.models.detection.alternating import Alternation
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.detection.box_branch import SingleBoxBranch
from saccade.models.detection.dense import empty_maps
from saccade.models.detection.roi_branches import FPN_SAMPLING, BoxBranch, ObjectBranch, RegionSampling
from saccade.models.detection.rpn import ProposalSettings, RegionProposalNetwork
from saccade.models.registry import register_model
from saccade.ops.anchors import canvas_size
from saccade.ops.nms import NmsSettings
from saccade.ops.roi import roi_align, roi_pool
from saccade.structures.batch import pad_targets
from saccade.structures.dataset import VisionDataset

__all__ = [
    "PUBLISHED_INPUT",
    "AlignPooling",
    "FasterRCNN",
    "NeckMaps",
    "PoolPooling",
    "fasterrcnn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_vgg16",
    "pyramid_box_branch",
    "pyramid_rcnn_parts",
]

_PAPER = "Ren et al., NeurIPS 2015, arXiv 1506.01497"
_STRIDES = (4, 8, 16, 32)  # of C2 to C5
# Fields of the input in which torchvision's published detectors differ from their backbone.
PUBLISHED_INPUT: dict[str, Any] = {
    "size": (800, 1333),
    "resize": "shorter_side",
    "align": "top_left",
    "pad_multiple": 32,
}


class AlignPooling:
    """RoIAlign of the finest levels of a pyramid, as a part of a branch.

    Args:
        strides: Of those levels, pixels.
        size: Cells along a side of a region.
        sampling_ratio: Samples along a side of a cell; 0 is adaptive.

    Example:
        >>> maps = [torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 8, 8)]
        >>> AlignPooling((4, 8), size=7)(maps, torch.zeros(1, 5, 4)).shape
        torch.Size([1, 5, 2, 7, 7])
    """

    def __init__(self, strides: Sequence[int], size: int, sampling_ratio: int = 2) -> None:
        self.strides = tuple(strides)
        self.size = size
        self.sampling_ratio = sampling_ratio

    def __call__(self, maps: Sequence[Tensor], boxes_xyxy: Tensor) -> Tensor:
        """Regions (B, R, C, size, size) of boxes (B, R, 4)."""
        levels = maps[: len(self.strides)]
        return roi_align(levels, boxes_xyxy, self.strides, self.size, self.sampling_ratio)


class PoolPooling:
    """RoIPool of one feature map, as a part of a branch.

    Args:
        stride: Of the map, pixels.
        size: Cells along a side of a region.

    Example:
        >>> PoolPooling(16, size=7)([torch.zeros(1, 2, 16, 16)], torch.zeros(1, 5, 4)).shape
        torch.Size([1, 5, 2, 7, 7])
    """

    def __init__(self, stride: int, size: int = 7) -> None:
        self.stride = stride
        self.size = size

    def __call__(self, maps: Sequence[Tensor], boxes_xyxy: Tensor) -> Tensor:
        """Regions (B, R, C, size, size) of boxes (B, R, 4)."""
        return roi_pool(maps[0], boxes_xyxy, self.stride, self.size)


class NeckMaps(nn.Module):
    """Feature maps for proposals and regions: levels of a backbone, with a pyramid over them or as they are.

    Args:
        backbone: Classifier without its head; looked at, not held.
        strides: Levels of it that are used, fine to coarse.
        channels: Of the pyramid; None takes the maps as they are.

    Raises:
        ConfigError: If the backbone has no such levels.

    Attributes:
        strides: Of the maps that come out; the last of a pyramid is of every second location of the one before.
        channels: Of each of them.

    Example:
        >>> backbone = build_backbone("resnet18")
        >>> neck = NeckMaps(backbone, (4, 8, 16, 32), channels=64)
        >>> [tuple(level.shape[1:]) for level in neck(backbone.features(torch.zeros(1, 3, 64, 64)))]
        [(64, 16, 16), (64, 8, 8), (64, 4, 4), (64, 2, 2), (64, 1, 1)]
    """

    def __init__(self, backbone: Classifier, strides: Sequence[int], channels: int | None = 256) -> None:
        super().__init__()
        missing = [stride for stride in strides if stride not in backbone.feature_strides]
        if missing:
            raise ConfigError(
                f"backbone '{backbone.builder_name}' has feature maps of the strides {backbone.feature_strides}; "
                f"this detector needs {tuple(strides)}."
            )
        # Of several maps of one stride the last.
        last = {stride: index for index, stride in enumerate(backbone.feature_strides)}
        self._indices = [last[stride] for stride in strides]
        widths = [backbone.feature_channels[index] for index in self._indices]
        self.fpn = FeaturePyramid(widths, channels, extra="pool") if channels is not None else None
        self.strides = (*strides, 2 * strides[-1]) if channels is not None else tuple(strides)
        self.channels = (channels,) * len(self.strides) if channels is not None else tuple(widths)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps of the backbone to those of the detector."""
        chosen = [maps[index] for index in self._indices]
        levels: list[Tensor] = chosen if self.fpn is None else self.fpn(chosen)
        return levels


class FasterRCNN(Detector):
    """Detector of two stages, put together from its parts.

    Args:
        backbone: Classifier without its head.
        neck: Makes the maps that everything else reads.
        rpn: Proposes regions.
        box_branch: Finds boxes and classes in them.
        branches: What is predicted on the final boxes.
        num_classes: Classes without background.

    Example:
        >>> model = fasterrcnn(num_classes=2, channels=32, hidden=64).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 100, 4]), torch.Size([1]))
    """

    positive_iou = 0.7
    alternation: Alternation

    def __init__(
        self,
        backbone: Classifier,
        neck: NeckMaps,
        rpn: RegionProposalNetwork,
        box_branch: BoxBranch,
        num_classes: int,
        branches: Mapping[str, ObjectBranch] | None = None,
    ) -> None:
        super().__init__(num_classes, NmsSettings(0.5, score_threshold=0.05, pre_nms=1000, max_detections=100))
        self.backbone = backbone
        self.neck = neck
        self.rpn = rpn
        self.box_branch = box_branch
        self.branches = nn.ModuleDict(dict(branches or {}))
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.neck_names = ("neck", "rpn") if neck.fpn is not None else ("rpn",)
        self.head_names = ("box_branch", *(f"branches.{name}" for name in self.branches))
        self.feature_strides, self.feature_channels = neck.strides, neck.channels
        parts: list[tuple[str, BoxBranch | ObjectBranch]] = [("box_branch", box_branch)]
        targets, keys = list(self.target_names), list(self.decoded_keys)
        for name, branch in (branches or {}).items():
            parts.append((f"branches.{name}", branch))
            targets += branch.target_names
            keys += branch.decoded_keys
        self.target_names, self.decoded_keys = tuple(targets), tuple(keys)
        self.class_rows = {f"{part}.{name}": rows for part, branch in parts for name, rows in branch.class_rows.items()}
        self.alternation = Alternation()
        self._map_sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.input_spec = replace(
            backbone.input_spec, size=(512, 512), resize="letterbox", align="top_left", pad_multiple=32
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse."""
        maps: list[Tensor] = self.neck(self.backbone.features(images))
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs of the second stage.

        Args:
            images: (B, 3, H, W).

        Returns:
            ``proposals`` (B, K, 4) with rows of zeros at the end, what the box branch gives for them, ``canvas`` (2,)
            height and width, and where further branches need them the feature maps ``map0``, ``map1`` and so on,
            (B, h, w, C). Channels are last because OpenVINO pools regions from maps as the graph gives them out, and
            takes 20 times as long where channels come first.
        """
        maps = self.features(images)
        needed = enumerate(maps if len(self.branches) else ())
        return {
            **self._outputs(images, maps),
            **{f"map{level}": values.permute(0, 2, 3, 1) for level, values in needed},
        }

    def predict(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Detections, and what further branches predict on their boxes from the maps of ``forward``."""
        if not len(self.branches):
            return super().predict(images, **inputs)
        outputs = dict(self(images))
        maps = [outputs.pop(f"map{level}").permute(0, 3, 1, 2) for level in range(len(self.feature_strides))]
        decoded = self.decode({name: value.float() for name, value in outputs.items()})
        return {**decoded, **self.predict_on_boxes(maps, decoded)}

    def predict_on_boxes(self, maps: Sequence[Tensor], decoded: Decoded) -> Decoded:
        """What further branches predict on the boxes of ``decoded``, from the maps of the pyramid."""
        found: dict[str, Tensor] = {}
        for branch in self.branches.values():
            assert isinstance(branch, ObjectBranch)
            found.update(branch.predict(maps, decoded))
        return found

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Terms ``objectness`` and ``rpn_box``, ``classification`` and ``box`` of regions, and those of branches.

        In one of the paper's four steps, those of the stage that it trains.
        """
        padded = pad_targets(targets)
        boxes_xyxy, labels = unpack_targets(padded)
        valid, canvas = labels >= 0, canvas_size(images)
        maps = self.features(images)
        terms: dict[str, Tensor] = {}
        proposer = self.alternation.proposer
        outputs = self.rpn(images, maps) if proposer is None else {}
        if self.alternation.first_stage:
            terms.update(self.rpn.loss(outputs, boxes_xyxy, valid, canvas))
        if not self.alternation.second_stage:
            return terms
        if proposer is None:
            proposals, count = self.rpn.propose(outputs, maps, canvas)
        else:
            proposals, count = proposer.propose(images)
        real = torch.arange(proposals.shape[1], device=count.device) < count[:, None]
        # What is there is a proposal too, so that the second stage learns from the first step on.
        found = valid & (boxes_xyxy[..., 2:] > boxes_xyxy[..., :2]).all(dim=2)
        regions, real = torch.cat((proposals, boxes_xyxy), dim=1), torch.cat((real, found), dim=1)
        own, sample = self.box_branch.loss(maps, regions, real, boxes_xyxy, labels)
        terms.update(own)
        for branch in self.branches.values():
            assert isinstance(branch, ObjectBranch)
            terms.update(branch.loss(maps, sample, padded))
        return terms

    def begin(self, step: str, data: VisionDataset) -> None:
        """Take the part of one of the paper's four steps, if the step has its name."""
        self.alternation.begin(self, step)

    def training_state(self) -> dict[str, Tensor]:
        """What the four steps hand on."""
        return self.alternation.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore it."""
        self.alternation.load(self, state)

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression."""
        return self.box_branch.decode(outputs, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) for which an anchor is positive, (N,) bool."""
        valid = torch.ones(1, len(boxes_xyxy), dtype=torch.bool)
        canvas = torch.tensor(size, dtype=torch.float32)
        owners = self.rpn.owners(self.anchors(size), boxes_xyxy[None].float(), valid, canvas)
        found = torch.zeros(len(boxes_xyxy), dtype=torch.bool)
        found[owners[owners >= 0]] = True
        return found

    def anchors(self, size: tuple[int, int]) -> Tensor:
        """Anchors of a canvas, (A, 4), pixels."""
        images = torch.empty(1, 1, *size)
        return self.rpn.anchors(images, empty_maps(self, images, self._map_sizes))

    @torch.no_grad()
    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Anchors that are positive in the loss of the proposals; those that it samples are among them."""
        boxes_xyxy, labels = unpack_targets(targets)
        maps = empty_maps(self, images, self._map_sizes)
        anchors = self.rpn.anchors(images, maps)
        of_level = [
            level.shape[-2] * level.shape[-1] * len(self.rpn.ratios) * len(sizes)
            for level, sizes in zip(maps, self.rpn.sizes, strict=True)
        ]
        return Assignment(
            regions_xyxy=anchors,
            levels=torch.arange(len(maps)).repeat_interleave(torch.tensor(of_level)).to(anchors.device),
            level_names=tuple(f"P{round(math.log2(stride))} /{stride}" for stride in self.feature_strides),
            owners=self.rpn.owners(anchors, boxes_xyxy, labels >= 0, canvas_size(images)),
        )

    def _outputs(self, images: Tensor, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        canvas = canvas_size(images)
        proposer = self.alternation.proposer
        if proposer is None:
            proposals, _ = self.rpn.propose(self.rpn(images, maps), maps, canvas)
        else:
            proposals, _ = proposer.propose(images)
        return {**self.box_branch(maps, proposals), "canvas": canvas}


def pyramid_rcnn_parts(
    backbone: str, channels: int = 256, anchor_size: float = 32, proposals: int = 1000
) -> tuple[Classifier, NeckMaps, RegionProposalNetwork]:
    """First stage over a feature pyramid: backbone, pyramid P2 to P6 and the network that proposes.

    Args:
        backbone: Builder name of a classifier with feature maps of stride 4 to 32.
        channels: Of the pyramid.
        anchor_size: Side of the anchors of P2, pixels; it doubles from level to level (FPN, section 4.1).
        proposals: At test; twice as many in training.

    Example:
        >>> _, neck, rpn = pyramid_rcnn_parts("resnet18", channels=32, anchor_size=16)
        >>> neck.strides, rpn.sizes
        ((4, 8, 16, 32, 64), ((16,), (32,), (64,), (128,), (256,)))
    """
    body = build_backbone(backbone)
    neck = NeckMaps(body, _STRIDES, channels)
    sizes = tuple((anchor_size * 2**level,) for level in range(len(neck.strides)))
    settings = ProposalSettings(proposals, proposals, 2 * proposals, 2 * proposals)
    return body, neck, RegionProposalNetwork(channels, sizes, settings)


def pyramid_box_branch(
    num_classes: int, channels: int = 256, hidden: int = 1024, regions: int = FPN_SAMPLING.count
) -> SingleBoxBranch:
    """Second stage over a feature pyramid: RoIAlign 7 x 7 of P2 to P5 and two layers.

    Args:
        num_classes: Classes without background.
        channels: Of the pyramid.
        hidden: Units of the two layers.
        regions: Regions of an image that training samples.

    Example:
        >>> branch = pyramid_box_branch(num_classes=2, channels=8, hidden=16)
        >>> branch([torch.zeros(1, 8, side, side) for side in (16, 8, 4, 2)], torch.zeros(1, 3, 4))["roi_logits"].shape
        torch.Size([1, 3, 3])
    """
    head = TwoLayerHead(channels, 7, hidden)
    predictor = BoxPredictor(hidden, num_classes)
    return SingleBoxBranch(AlignPooling(_STRIDES, 7), head, predictor, RegionSampling(regions))


@register_model(task="detection", paper=_PAPER)
def fasterrcnn_resnet50_fpn(num_classes: int = 80, weights: str | None = None) -> FasterRCNN:
    """Faster R-CNN over ResNet-50 and a feature pyramid, as torchvision publishes it: shorter side 800 pixels.

    Example:
        >>> model = fasterrcnn_resnet50_fpn(num_classes=3)
        >>> model.num_classes, model.input_spec.size, model.feature_strides
        (3, (800, 1333), (4, 8, 16, 32, 64))
    """
    body, neck, rpn = pyramid_rcnn_parts("resnet50")
    model = FasterRCNN(body, neck, rpn, pyramid_box_branch(num_classes), num_classes)
    model.input_spec = replace(body.input_spec, **PUBLISHED_INPUT)
    return model


@register_model(task="detection", paper=_PAPER)
def fasterrcnn_vgg16(num_classes: int = 20, weights: str | None = None) -> FasterRCNN:
    """Faster R-CNN of the paper: VGG-16, three scales and three ratios of anchors at stride 16, RoIPool.

    Anchors that cross the border are left out in training, 300 proposals at test (sections 3.1.1 to 3.1.3, 3.3).

    Example:
        >>> model = fasterrcnn_vgg16(num_classes=3)
        >>> model.rpn.sizes, model.rpn.settings.count, model.input_spec.size
        (((128, 256, 512),), 300, (600, 1000))
    """
    body = build_trunk("vgg16")  # conv5_3 at stride 16
    neck = NeckMaps(body, (16,), channels=None)
    settings = ProposalSettings(candidates=6000, count=300, training_candidates=12000, training_count=2000)
    rpn = RegionProposalNetwork(512, ((128, 256, 512),), settings, inside_only=True, two_logits=True)
    branch = SingleBoxBranch(
        PoolPooling(16),
        TwoLayerHead(512, 7, 4096, dropout=0.5),
        BoxPredictor(4096, num_classes),
        RegionSampling(count=128),
        smooth_l1_beta=1.0,
    )
    model = FasterRCNN(body, neck, rpn, branch, num_classes)
    model.input_spec = replace(body.input_spec, size=(600, 1000), resize="shorter_side", align="top_left")
    model.nms = replace(model.nms, iou=0.3)
    return model


@register_model(task="detection", paper=_PAPER)
def fasterrcnn(
    num_classes: int = 80,
    backbone: str = "resnet18",
    channels: int = 256,
    hidden: int = 1024,
    anchor_size: float = 32,
    proposals: int = 1000,
    regions: int = 512,
    weights: str | None = None,
) -> FasterRCNN:
    """Faster R-CNN over any classifier with feature maps of stride 4 to 32, on a square of 512 pixels.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier.
        channels: Of the pyramid (FPN: 256).
        hidden: Units of the two layers over a region (FPN: 1,024).
        anchor_size: Side of the smallest anchors, pixels; smaller for small objects or a small canvas.
        proposals: Regions that the second stage looks at, at test; training samples its own from twice as many.
        regions: Regions of an image that training samples.
        weights: As everywhere.

    Example:
        >>> model = fasterrcnn(num_classes=2, backbone="mobilenet_v3_small", channels=64, hidden=128)
        >>> [tuple(level.shape[1:]) for level in model.features(torch.zeros(1, 3, 128, 128))]
        [(64, 32, 32), (64, 16, 16), (64, 8, 8), (64, 4, 4), (64, 2, 2)]
    """
    body, neck, rpn = pyramid_rcnn_parts(backbone, channels, anchor_size, proposals)
    return FasterRCNN(body, neck, rpn, pyramid_box_branch(num_classes, channels, hidden, regions), num_classes)
