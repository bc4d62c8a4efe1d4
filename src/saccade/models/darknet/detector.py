"""Detectors of Darknet's ``.cfg`` files: ``yolo`` and ``region`` heads with anchors, and the ``detection`` of YOLOv1.

Redmon et al. 2016 to 2018 (YOLO, arXiv 1506.02640, 1612.08242, 1804.02767), Bochkovskiy et al. 2020 (YOLOv4, arXiv
2004.10934), Wang et al. 2021 (Scaled-YOLOv4, arXiv 2011.08036: ``new_coords``).

The settings of a head decide how it is decoded and how it learns: ``anchors`` and ``mask``, ``scale_x_y``,
``iou_thresh`` (anchors that an object claims besides the best), ``ignore_thresh``, ``iou_loss``, ``label_smooth_eps``,
``nms_kind`` and ``beta_nms``.

Differences from Darknet: gradients of overlap losses are whole, with the factor of
:mod:`saccade.models.detection.yolov4`; objects that are ignored, and what classes train, follow the YOLOs of
:mod:`saccade.models.detection`; ``softmax_tree`` of YOLO9000 is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.darknet.cfg import Section, parse_cfg
from saccade.models.darknet.graph import Layer, Shape, build_body, canvas_of
from saccade.models.darknet.keys import warn_of_unknown_keys
from saccade.models.darknet.layers import Connected, Convolution
from saccade.models.darknet.parts import last_map, layer_places, own_parts, with_classes
from saccade.models.detection.anchor_yolo import AnchorYOLO
from saccade.models.detection.yolo_assign_shape import claim_overlapping
from saccade.models.detection.yolo_cells import CellGrid, CellMatches
from saccade.models.detection.yolo_grid import GridYOLO
from saccade.models.detection.yolo_loss import YoloBoxLoss, YoloLoss, yolo_loss
from saccade.models.detection.yolov1_loss import Grid
from saccade.models.detection.yolov2_loss import RegionLoss, region_loss
from saccade.models.registry import register_model
from saccade.ops.nms import NmsKind, NmsSettings
from saccade.structures.input_spec import InputSpec

__all__ = ["DarknetAnchorDetector", "DarknetGridDetector", "darknet_detector"]

_PAPER = "Redmon et al. 2016 to 2018; Bochkovskiy et al. 2020: networks of Darknet's .cfg files"
_OVERLAP_GAIN = 10.0  # whole gradients against Darknet's, as in YOLOv4: 0.07 there is 0.7 here
_OVERLAP = 0.45  # of suppression, whatever the head says
_BETA = 0.6  # exponent of the distance of centres, fixed for greedynms
_MAX_BOXES = 1_024  # a cell


@dataclass(frozen=True)
class _Head:
    """A ``yolo`` or ``region`` section, as its network needs it."""

    section: Section
    number: int  # of the layer
    stride: int
    anchors: tuple[tuple[float, float], ...]  # pixels
    scale: float
    shares: bool  # values are sigmoids already (new_coords)


class DarknetAnchorDetector(AnchorYOLO):
    """Detector of a ``.cfg`` with ``yolo`` or ``region`` sections.

    Args:
        sections: Of the file.
        num_classes: Classes; those of the file if not given.

    Raises:
        ConfigError: If a section asks for what it cannot have; the message names its line.

    Attributes:
        layer_places: Layer and line of the file of each part with weights.
    """

    def __init__(self, sections: Sequence[Section], num_classes: int | None = None) -> None:
        sections = with_classes(sections, num_classes)
        net = sections[0]
        body, layers = build_body(sections)
        canvas = canvas_of(net)
        heads = [
            _head(number, layer, layers, canvas)
            for number, layer in enumerate(layers)
            if layer.section.kind in ("yolo", "region")
        ]
        counts = {head.section.whole("classes", 20, 1): head for head in heads}
        if len(counts) > 1 or len({(head.section.kind, head.shares) for head in heads}) > 1:
            raise heads[-1].section.fault("has other classes, or is of another kind, than the head before it.")
        heads.sort(key=lambda head: (head.stride, sum(w * h for w, h in head.anchors) / len(head.anchors)))
        first = heads[0].section
        predictions = [f"body.layers.{head.number - 1}.conv" for head in heads]
        anchors, strides = [head.anchors for head in heads], [head.stride for head in heads]
        scales = [head.scale for head in heads]
        super().__init__(next(iter(counts)), anchors, strides, predictions, _nms(first), scales)
        self.body = body
        # Read in the order of the file, returned fine to coarse.
        self.levels = tuple(head.number for head in heads)
        self.feature_channels = tuple(layers[head.number - 1].input.channels for head in heads)
        self.size_coding = "square" if heads[0].shares else "exp"
        soft = first.kind == "region" and first.whole("softmax", 0, 0, 1)
        self.class_scores: Literal["sigmoid", "softmax"] = "softmax" if soft else "sigmoid"
        for head in heads:
            self._check_prediction(head)
        self.loss_settings = _loss(first)
        self.ignore = self.loss_settings.ignore
        self.region = _region_loss(first)
        self.threshold = first.real("iou_thresh", 1.0, 0.0, 1.0)
        self.input_spec = _input_spec(net, pad_multiple=max(strides))
        self.stage_names, self.neck_names = own_parts(body, predictions), ()
        self.layer_places = layer_places(layers)

    def _check_prediction(self, head: _Head) -> None:
        layer = self.body.layers[head.number - 1]
        wanted = len(head.anchors) * (5 + self.num_classes)
        assert isinstance(layer, Convolution)
        if layer.conv.out_channels != wanted:
            raise head.section.fault(
                f"has {len(head.anchors)} anchors and {self.num_classes} classes and needs filters={wanted} in the "
                f"convolutional section before it, which has {layer.conv.out_channels}: anchors x (5 + classes)."
            )
        if head.shares:  # the sigmoid is taken in decoding, where the loss needs what is before it
            layer.act = nn.Identity()

    def restore_buffers(self) -> None:
        """Fill buffers that no file of weights has, after the network was made without memory."""
        self.anchor_sizes = self.first_sizes()

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps from which boxes are predicted, fine to coarse."""
        return self._outputs(images, [number - 2 for number in self.levels])

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        """Last map of each level, fine to coarse, (B, anchors x (5 + classes), H, W)."""
        return self._outputs(images, self.levels)

    def _outputs(self, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Outputs of layers, in the order in which they are asked for; layer -1 is the image."""
        numbers = sorted(number for number in layers if number >= 0)
        maps = dict(zip(numbers, self.body(images, numbers), strict=True)) if numbers else {}
        return [maps.get(number, images) for number in layers]

    def claim(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, Tensor]:
        """The anchor most like the object, and others whose shape overlaps it more than ``iou_thresh``."""
        return claim_overlapping(grid, boxes_xyxy, labels, self.threshold)

    def loss_terms(
        self, outputs: Outputs, matches: CellMatches, boxes_xyxy: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """That of YOLOv2 for a ``region`` with softmax (without its warm-up), else that of YOLOv3 and v4."""
        if self.class_scores == "softmax":
            return region_loss(outputs, matches, boxes_xyxy, labels, self.region)
        return yolo_loss(outputs, matches, boxes_xyxy, labels, self.loss_settings, self.size_coding)


class DarknetGridDetector(GridYOLO):
    """Detector of a ``.cfg`` that ends in a ``detection`` section: the grid of YOLOv1.

    Args:
        sections: Of the file.
        num_classes: Classes; those of the file if not given.

    Raises:
        ConfigError: If a section asks for what it cannot have; the message names its line.

    Attributes:
        layer_places: Layer and line of the file of each part with weights.
    """

    def __init__(self, sections: Sequence[Section], num_classes: int | None = None) -> None:
        sections = with_classes(sections, num_classes)
        body, layers = build_body(sections)
        canvas = canvas_of(sections[0])
        number = next(index for index, layer in enumerate(layers) if layer.section.kind == "detection")
        head = layers[number].section
        classes, side = head.whole("classes", 1, 1), head.whole("side", 7, 1, 1_024)
        boxes = head.whole("num", 1, 1, _MAX_BOXES)
        if head.whole("coords", 4, 1) != 4 or not head.whole("sqrt", 0, 0, 1):
            raise head.fault("needs coords=4 and sqrt=1, as YOLOv1 has them.")
        wanted = side * side * (classes + 5 * boxes)
        if layers[number].input.size != wanted:
            raise head.fault(
                f"has side={side}, num={boxes}, classes={classes} and needs {wanted:,} outputs before it, which has "
                f"{layers[number].input.size:,}: side x side x (classes + 5 num)."
            )
        last = body.layers[number - 1] if number else None
        if not isinstance(last, Connected):
            raise head.fault("needs a connected section right before it.")
        super().__init__(classes, Grid(side, side, canvas.height, canvas.width), boxes)
        self.body, self.number = body, number
        self.last_map, channels, stride = last_map(layers, number, canvas.height)
        self.feature_channels, self.feature_strides = (channels,), (stride,)
        self.softmax = bool(head.whole("softmax", 0, 0, 1))
        self.input_spec = replace(_input_spec(sections[0], pad_multiple=1), resize="stretch", fixed=True)
        self.head_names = (f"body.layers.{number - 1}",)
        self.stage_names, self.neck_names = own_parts(body, self.head_names), ()
        part = "bn" if last.normalized else "fc"
        tensors = [f"{self.head_names[0]}.fc.weight", f"{self.head_names[0]}.{part}.bias"]
        if last.normalized:
            tensors += [f"{self.head_names[0]}.bn.{name}" for name in ("weight", "running_mean", "running_var")]
        self.class_rows = dict.fromkeys(tensors, self.head_rows)
        self.layer_places = layer_places(layers)

    def features(self, images: Tensor) -> list[Tensor]:
        """Last feature map before the fully connected layers."""
        maps: list[Tensor] = self.body(images, (self.last_map,))
        return maps

    def raw_outputs(self, images: Tensor) -> Tensor:
        """Outputs of the layer before the head."""
        raw: Tensor = self.body(images, (self.number,))[0]
        return raw

    def forward(self, images: Tensor) -> Outputs:
        """As that of YOLOv1; ``classes`` are probabilities if the head says ``softmax=1``."""
        outputs = super().forward(images)
        return {**outputs, "classes": outputs["classes"].softmax(dim=2)} if self.softmax else outputs


def _head(number: int, layer: Layer, layers: Sequence[Layer], canvas: Shape) -> _Head:
    """What a ``yolo`` or ``region`` section says.

    Raises:
        ConfigError: If it says what it cannot.
    """
    section = layer.section
    if not number or layers[number - 1].section.kind != "convolutional":
        raise section.fault("needs a convolutional section right before it, with anchors x (5 + classes) filters.")
    strides = {-(-side // cells) for side, cells in zip(canvas[1:], layer.input[1:], strict=True)}
    if len(strides) > 1:
        raise section.fault(f"has cells that are not square: {layer.input[1:]} of an image of {canvas[1:]}.")
    stride = strides.pop()
    for key in ("tree", "map", "background"):
        if section.values.get(key, ("0", 0))[0] not in ("", "0") and (key != "map" or "tree" in section):
            raise section.fault(f"{key} is not read; networks without it are.", key)
    if section.whole("coords", 4, 1) != 4:
        raise section.fault(f"coords={section.values['coords'][0]}; boxes have 4.", "coords")
    total = section.whole("num", 1, 1, _MAX_BOXES)
    unit = stride if section.kind == "region" else 1
    sides = section.reals("anchors", 1e-6) or [0.5] * (2 * total)
    if len(sides) < 2 * total:
        raise section.fault(f"num={total} needs {2 * total} numbers in anchors; it has {len(sides)}.", "anchors")
    pairs = [(unit * width, unit * height) for width, height in zip(sides[::2], sides[1::2], strict=False)][:total]
    mask = section.wholes("mask", 0) if section.kind == "yolo" else []
    for index in mask:
        if index >= total:
            raise section.fault(f"mask names anchor {index}; with num={total} they are 0 to {total - 1}.", "mask")
    shares = section.kind == "yolo" and bool(section.whole("new_coords", 0, 0, 1))
    if shares and layers[number - 1].section.word("activation", "logistic", ("logistic",)) != "logistic":
        raise section.fault("new_coords=1 needs activation=logistic before it.", "new_coords")
    return _Head(
        section,
        number,
        stride,
        tuple(pairs[index] for index in mask) or tuple(pairs),
        section.real("scale_x_y", 1.0, 0.1, 10.0) if section.kind == "yolo" else 1.0,
        shares,
    )


def _nms(section: Section) -> NmsSettings:
    """Suppression of a head: ``nms_kind`` decides the kind, ``beta_nms`` how much distant centres count with it."""
    word = section.word("nms_kind", "default", ("default", "greedynms", "diounms", "cornersnms"))
    kind: NmsKind = "diou" if word in ("greedynms", "diounms") else "nms"
    beta = section.real("beta_nms", _BETA, 1e-3, 1e3)
    return NmsSettings(
        _OVERLAP,
        score_threshold=0.005,
        pre_nms=1000,
        max_detections=100,
        kind=kind,
        diou_beta=beta if word == "diounms" else _BETA if word == "greedynms" else 1.0,
    )


def _loss(section: Section) -> YoloLoss:
    if section.kind == "region":
        wanted: Literal["one", "iou"] = "iou" if section.whole("rescore", 0, 0, 1) else "one"
        return YoloLoss("mse", wanted, ignore=section.real("thresh", 0.5, 0.0, 1.0))
    kinds: tuple[YoloBoxLoss, ...] = ("mse", "iou", "giou", "diou", "ciou")
    word = section.word("iou_loss", "mse", kinds)
    kind = next(one for one in kinds if one == word)
    gain = section.real("iou_normalizer", 0.75, 0.0, 1e3)
    return YoloLoss(
        kind,
        ignore=section.real("ignore_thresh", 0.5, 0.0, 1.0),
        focal_gamma=2.0 if section.whole("focal_loss", 0, 0, 1) else None,
        label_smoothing=section.real("label_smooth_eps", 0.0, 0.0, 0.99),
        box_gain=1.0 if kind == "mse" else _OVERLAP_GAIN * gain,
        objectness_gain=section.real("obj_normalizer", 1.0, 0.0, 1e3) if "obj_normalizer" in section else 1.0,
        class_gain=section.real("cls_normalizer", 1.0, 0.0, 1e3),
    )


def _region_loss(section: Section) -> RegionLoss:
    return RegionLoss(
        section.real("object_scale", 1.0, 0.0, 1e3),
        section.real("noobject_scale", 1.0, 0.0, 1e3),
        section.real("class_scale", 1.0, 0.0, 1e3),
        section.real("coord_scale", 1.0, 0.0, 1e3),
        ignore=section.real("thresh", 0.5, 0.0, 1.0),
    )


def _input_spec(net: Section, pad_multiple: int) -> InputSpec:
    canvas = canvas_of(net)
    # Newer forks stretch images unless told otherwise; the original always keeps their aspect.
    stretched = "letter_box" in net and not net.whole("letter_box", 0, 0, 1)
    return InputSpec(
        size=(canvas.height, canvas.width),
        channels=canvas.channels,
        resize="stretch" if stretched else "letterbox",
        pad_value=128,
        pad_multiple=pad_multiple,
        mean=(0.0,) * canvas.channels,
        std=(255.0,) * canvas.channels,
    )


@register_model(task="detection", paper=_PAPER)
def darknet_detector(
    cfg: str, num_classes: int | None = None, weights: str | None = None
) -> DarknetAnchorDetector | DarknetGridDetector:
    r"""Detector of a Darknet configuration.

    Args:
        cfg: Text of the ``.cfg`` file.
        num_classes: Classes; those of the file if not given. With another number, the layer before each head gets as
            many filters as they need.
        weights: As everywhere; a ``.weights`` file above all.

    Raises:
        ConfigError: If the text is no configuration of a detector; the message names the line.

    Example:
        >>> net = "[net]\nwidth=64\nheight=64\n[convolutional]\nfilters=8\nsize=32\nstride=32\nactivation=leaky\n"
        >>> head = "[convolutional]\nfilters=14\nactivation=linear\n[yolo]\nclasses=2\nnum=2\nanchors=10,14,23,27"
        >>> model = darknet_detector(net + head).eval()
        >>> model.num_classes, model.predict(torch.zeros(1, 3, 64, 64))["boxes"].shape
        (2, torch.Size([1, 8, 4]))
    """
    sections = parse_cfg(cfg)
    warn_of_unknown_keys(cfg, sections)
    kinds = {section.kind for section in sections}
    if "detection" in kinds:
        return DarknetGridDetector(sections, num_classes)
    if not kinds & {"yolo", "region"}:
        raise ConfigError(
            "the cfg has no [yolo], [region] or [detection] section and is of no detector. Classifiers are built by "
            "'darknet_classifier'."
        )
    return DarknetAnchorDetector(sections, num_classes)
