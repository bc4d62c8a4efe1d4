"""CenterNet: an object is a point, the centre of its box.

Paper: Xingyi Zhou, Dequan Wang, Philipp Krähenbühl, "Objects as Points", 2019, arXiv 1904.07850. (Another paper of that
year, arXiv 1904.08189, has the same short name and another network.)

The network predicts one heatmap a class, whose peaks are the centres of objects, and at every location the size of the
box around it and how far the centre lies from the corner of the cell. No anchors, no overlap with anything decides what
is positive, and no suppression: a peak is a cell that is the highest of its 3x3 neighbourhood.

    images (B, 3, H, W), BGR
      |  backbone and upsampling (deconvolutions, DLA, or two hourglasses)   (B, D, H/4, W/4)
      |-- hm   3x3, ReLU, 1x1    heatmaps, a logit a class                   (B, C, H/4, W/4)
      |-- wh   3x3, ReLU, 1x1    width and height, in cells                  (B, 2, H/4, W/4)
      |-- reg  3x3, ReLU, 1x1    centre minus cell corner, in cells          (B, 2, H/4, W/4)

Differences from the paper: no deformable convolutions, which need compiled code; ResNet-18 and DLA-34 are the authors'
networks without them (``res_18`` and ``dlav0_34`` in their code). As in their code, and unlike the paper's text, sizes
are in cells of the heatmap instead of pixels, the L1 losses are means over x and y instead of sums, and with two
hourglasses each loss is the mean over both; the radius of Gaussians is theirs too (``ops.heatmaps.gaussian_radius``).
Objects are clipped to the canvas, and those without area are no targets. Of neighbouring cells with equal values the
first is the peak, and peaks of at most 0.01 are left out. Canvases whose sides are no multiples of the largest stride
are padded inside, and heatmaps are cropped.

Published weights: https://github.com/xingyizhou/CenterNet (MIT), offered behind pages that ask for a confirmation, so
there is no row for them. Files that were downloaded are read by ``weights.layouts.centernet``; those of networks with
deformable convolutions do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.losses.focal import penalty_reduced_focal_loss
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.detection.dla import DLA, DLAUp
from saccade.models.detection.hourglass import StackedHourglass
from saccade.models.registry import register_model
from saccade.ops.anchors import grid_points
from saccade.ops.candidates import top_pairs
from saccade.ops.heatmaps import draw_gaussians, gaussian_radius, local_peaks
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

__all__ = [
    "CenterNet",
    "CenterTargets",
    "Deconvolutions",
    "center_targets",
    "centernet",
    "centernet_dla34",
    "centernet_hourglass104",
    "centernet_loss",
    "centernet_resnet18",
]

PAPER = "Zhou et al. 2019, arXiv 1904.07850"

_STRIDE = 4  # R of the paper
_BIAS = -2.19  # of heatmaps: 0.1 everywhere at the start, as in the authors' code (after Lin et al. 2017)
_WEIGHTS = {"heatmap": 1.0, "size": 0.1, "offset": 1.0}  # equation 4
_NO_PEAK = -1e4  # a logit of probability 0
_SPEC = InputSpec(
    size=(512, 512),
    resize="letterbox",
    pad_value=0,
    pad_multiple=32,
    mean=(104.0136177, 114.0342201, 119.9165933),
    std=(73.6027614, 69.8908182, 70.9150793),
    channel_order="bgr",
)


class Deconvolutions(nn.Module):
    """Classifier with transposed convolutions behind its last feature map, up to stride 4 (section 5, figure 6b).

    Args:
        backbone: Classifier without its head.
        channels: Of each transposed convolution.

    Raises:
        ConfigError: If the stride of the last feature map is not 4, 8, 16, ...

    Example:
        >>> network = Deconvolutions(build_backbone("resnet18"), channels=64)
        >>> [tuple(one.shape) for one in network(torch.zeros(1, 3, 64, 64))]
        [(1, 64, 16, 16)]
    """

    stacks = 1
    neck_names: tuple[str, ...]

    def __init__(self, backbone: Classifier, channels: int = 256) -> None:
        super().__init__()
        self.backbone = backbone
        self.multiple = max(backbone.feature_strides)
        self.out_channels, stride = backbone.feature_channels[-1], backbone.feature_strides[-1]
        layers: list[nn.Module] = []
        while stride > _STRIDE and stride % 2 == 0:
            up = nn.ConvTranspose2d(self.out_channels, channels, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(up.weight, std=0.001)
            layers += [up, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            self.out_channels, stride = channels, stride // 2
        if stride != _STRIDE:
            raise ConfigError(
                f"the last feature map of backbone '{backbone.builder_name}' has stride {backbone.feature_strides[-1]};"
                " CenterNet doubles it up to stride 4. Choose a backbone whose stride is 4 times a power of 2."
            )
        self.deconv_layers = nn.Sequential(*layers)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.neck_names = ("deconv_layers",) if layers else ()

    def unused_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W), sides multiples of ``multiple``, to a single feature map (B, D, H / 4, W / 4)."""
        return [self.deconv_layers(self.backbone.features(images)[-1])]


Backbone: TypeAlias = Deconvolutions | DLAUp | StackedHourglass


class CenterTargets(NamedTuple):
    """What a perfect CenterNet would predict: result of :func:`center_targets`."""

    heatmaps: Tensor  # (B, C, h, w)
    cells: Tensor  # (B, M) int64: cell of each object's centre, row by row
    sizes: Tensor  # (B, M, 2) width and height, in cells
    offsets: Tensor  # (B, M, 2) centre minus upper left corner of the cell, in cells
    valid: Tensor  # (B, M) bool: rows that are targets


class CenterNet(Detector):
    """CenterNet: backbone with upsampling to stride 4, and three heads.

    Args:
        backbone: Images to one feature map of stride 4, or one of each of its ``stacks``; the last one predicts, all
            of them have heads and are trained.
        num_classes: Classes without background.
        head_channels: Channels between the two convolutions of a head.
        input_spec: How images become the network's input.

    Example:
        >>> model = saccade.create_model("centernet_resnet18", num_classes=2).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 100, 4]), torch.Size([1]))
    """

    feature_strides = (_STRIDE,)

    def __init__(
        self, backbone: Backbone, num_classes: int, head_channels: int = 64, input_spec: InputSpec = _SPEC
    ) -> None:
        super().__init__(num_classes, NmsSettings(kind="none", max_detections=100))
        self.backbone = backbone
        stacks = range(backbone.stacks)
        self.hm = nn.ModuleList(_head(backbone.out_channels, head_channels, num_classes, _BIAS) for _ in stacks)
        self.wh = nn.ModuleList(_head(backbone.out_channels, head_channels, 2) for _ in stacks)
        self.reg = nn.ModuleList(_head(backbone.out_channels, head_channels, 2) for _ in stacks)

        self.feature_channels = (backbone.out_channels,)
        self.input_spec = replace(input_spec, pad_multiple=backbone.multiple)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.neck_names = tuple(f"backbone.{name}" for name in backbone.neck_names)
        *earlier, last = stacks
        self.head_names = (f"hm.{last}", f"wh.{last}", f"reg.{last}")
        self.auxiliary_heads = tuple(f"{name}.{stack}" for name in ("hm", "wh", "reg") for stack in earlier)
        self.class_rows = linear_rows(*(f"hm.{stack}.2" for stack in stacks))

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Feature map of stride 4 of each stack, cropped to the canvas."""
        rows, columns = _grid(images)
        maps = self.backbone(pad_to_multiple(images, self.backbone.multiple))
        return [one[..., :rows, :columns] for one in maps]

    def _heads(self, stack: int, feature_map: Tensor) -> dict[str, Tensor]:
        return {
            "heatmap": self.hm[stack](feature_map),
            "sizes": self.wh[stack](feature_map),
            "offsets": self.reg[stack](feature_map),
        }

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature map that the heads see, at stride 4."""
        return self._maps(images)[-1:]

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs at stride 4.

        Args:
            images: (B, 3, H, W).

        Returns:
            ``heatmap`` (B, num_classes, h, w) logits, ``sizes`` (B, 2, h, w) width and height and ``offsets`` (B, 2, h,
            w) x and y, in cells, with h = H / 4 and w = W / 4, rounded up.
        """
        return self._heads(-1, self._maps(images)[-1])

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Terms ``heatmap``, ``size`` and ``offset``, the mean over all stacks; see :func:`centernet_loss`."""
        boxes_xyxy, labels = unpack_targets(targets)
        stacks = [self._heads(stack, feature_map) for stack, feature_map in enumerate(self._maps(images))]
        terms = centernet_loss(stacks, boxes_xyxy, labels)
        unused = self.backbone.unused_parameters()
        if unused:  # a gradient of zero, since data-parallel training waits for one of every parameter
            terms["heatmap"] = terms["heatmap"] + 0 * torch.stack([one.sum() for one in unused]).sum()
        return terms

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes around the highest peaks of all heatmaps, in canvas pixels (section 4).

        Peaks need no suppression (``kind="none"``); another kind works on the ``pre_nms`` highest.
        """
        heatmap = outputs["heatmap"].float()
        wanted = self.nms.max_detections if self.nms.kind == "none" else self.nms.pre_nms
        width = heatmap.shape[3]
        peaks = torch.where(local_peaks(heatmap), heatmap, _NO_PEAK)
        logits, cells, labels = top_pairs(peaks.flatten(2).transpose(1, 2), wanted)
        corners = torch.stack((cells % width, cells.div(width, rounding_mode="floor")), dim=-1)
        centres = corners + _at_cells(outputs["offsets"], cells)
        half = _at_cells(outputs["sizes"], cells).clamp(min=0) / 2
        boxes = torch.cat((centres - half, centres + half), dim=-1) * _STRIDE
        return batched_nms(boxes, logits.sigmoid(), labels, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) with a cell of their own as centre, (N,) bool.

        Of several objects with the same centre cell the first has it: the others could only be predicted with its box.
        """
        grid = _grid(torch.empty(0, 3, *size))
        labels = torch.zeros(1, len(boxes_xyxy), dtype=torch.int64)
        owners = _first_owners(center_targets(boxes_xyxy[None].float(), labels, 1, grid))
        return torch.isin(torch.arange(len(boxes_xyxy)), owners)

    @torch.no_grad()
    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Cells that are the centre of an object; ignored are those where a Gaussian reduces the penalty."""
        boxes_xyxy, labels = unpack_targets(targets)
        grid = _grid(images)
        encoded = center_targets(boxes_xyxy, labels, self.num_classes, grid)
        near = encoded.heatmaps.amax(dim=1).flatten(1) > 0
        first = _first_owners(encoded)
        points, strides = grid_points([images.new_empty(0, 1, *grid)], self.feature_strides)
        corners = points * strides[:, None]
        return Assignment(
            regions_xyxy=torch.cat((corners, corners + strides[:, None]), dim=1),
            levels=torch.zeros_like(strides, dtype=torch.int64),
            level_names=(f"stride {_STRIDE}",),
            owners=torch.where(first >= 0, first, torch.where(near, IGNORED, NEGATIVE)),
        )


@torch.no_grad()
def center_targets(boxes_xyxy: Tensor, labels: Tensor, num_classes: int, grid: tuple[int, int]) -> CenterTargets:
    """Heatmaps, sizes and offsets of the objects of a batch (section 3).

    Args:
        boxes_xyxy: Ground truth boxes, (B, M, 4), canvas pixels.
        labels: (B, M) int64, negative for rows that are not targets.
        num_classes: Heatmaps.
        grid: Rows and columns of the heatmaps, at stride 4.

    Example:
        >>> boxes = torch.tensor([[[8.0, 4.0, 26.0, 12.0]]])
        >>> targets = center_targets(boxes, torch.tensor([[0]]), num_classes=1, grid=(4, 8))
        >>> targets.cells.tolist(), targets.sizes.tolist(), targets.offsets.tolist()
        ([[20]], [[[4.5, 2.0]]], [[[0.25, 0.0]]])
    """
    rows, columns = grid
    limit = torch.tensor([columns, rows], device=boxes_xyxy.device)
    boxes = (boxes_xyxy / _STRIDE).clamp(min=0).minimum(limit.repeat(2))
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    valid = (labels >= 0) & (sizes > 0).all(dim=-1)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    cells = centres.long().clamp(min=0).minimum(limit - 1)
    radii = gaussian_radius(sizes.ceil()).long()
    return CenterTargets(
        heatmaps=draw_gaussians(cells, radii, labels.where(valid, -1), num_classes, grid),
        cells=cells[..., 1] * columns + cells[..., 0],
        sizes=sizes,
        offsets=centres - cells,
        valid=valid,
    )


def centernet_loss(stacks: Sequence[Outputs], boxes_xyxy: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Weighted loss terms, the mean over the outputs of all stacks (equation 4).

    Args:
        stacks: Outputs as those of ``forward``, one of each stack.
        boxes_xyxy: Ground truth boxes, (B, M, 4), canvas pixels.
        labels: (B, M) int64, negative for rows that are not targets.

    Returns:
        ``heatmap``: penalty-reduced focal loss divided by the number of centre cells; ``size`` (times 0.1) and
        ``offset``: mean L1 distances at the centres. Scalars.

    Example:
        >>> model = saccade.create_model("centernet_resnet18", num_classes=2)
        >>> boxes, labels = torch.tensor([[[8.0, 8.0, 40.0, 40.0]]]), torch.tensor([[1]])
        >>> list(centernet_loss([model(torch.zeros(1, 3, 64, 64))], boxes, labels))
        ['heatmap', 'size', 'offset']
    """
    _, num_classes, rows, columns = stacks[0]["heatmap"].shape
    targets = center_targets(boxes_xyxy, labels, num_classes, (rows, columns))
    centres = (targets.heatmaps == 1).sum().clamp(min=1)
    coordinates = 2 * targets.valid.sum().clamp(min=1)

    def distance(predicted: Tensor, expected: Tensor) -> Tensor:
        gap = (_at_cells(predicted, targets.cells) - expected).abs()
        return torch.where(targets.valid[..., None], gap, 0.0).sum() / coordinates

    terms = [
        {
            "heatmap": penalty_reduced_focal_loss(outputs["heatmap"], targets.heatmaps) / centres,  # equation 1
            "size": distance(outputs["sizes"], targets.sizes),  # equation 3
            "offset": distance(outputs["offsets"], targets.offsets),  # equation 2
        }
        for outputs in stacks
    ]
    return {name: weight * torch.stack([term[name] for term in terms]).mean() for name, weight in _WEIGHTS.items()}


def _first_owners(targets: CenterTargets) -> Tensor:
    """First object whose centre each cell is, (B, A) int64; -1 where there is none."""
    B, M = targets.cells.shape
    none = torch.iinfo(torch.int64).max
    rows = torch.arange(M, device=targets.cells.device).expand(B, M).where(targets.valid, none)
    cells = targets.heatmaps.shape[2] * targets.heatmaps.shape[3]
    first = rows.new_full((B, cells), none).scatter_reduce_(1, targets.cells, rows, "amin")
    return torch.where(first < none, first, NEGATIVE)


def _at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Values (B, K, 2) of maps (B, 2, h, w) at cells (B, K)."""
    return maps.float().flatten(2).gather(2, cells[:, None].expand(-1, 2, -1)).transpose(1, 2)


def _grid(images: Tensor) -> tuple[int, int]:
    """Rows and columns of the heatmaps."""
    height, width = images.shape[-2:]
    return -(-height // _STRIDE), -(-width // _STRIDE)


def _head(in_channels: int, channels: int, outputs: int, bias: float | None = None) -> nn.Sequential:
    """Two convolutions; the last begins near zero, or with a bias."""
    last = nn.Conv2d(channels, outputs, 1)
    assert last.bias is not None
    if bias is None:
        nn.init.normal_(last.weight, std=0.001)
    nn.init.constant_(last.bias, bias or 0.0)
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU(inplace=True), last)


@register_model(task="detection", paper=PAPER)
def centernet_resnet18(num_classes: int = 80, weights: str | None = None) -> CenterNet:
    """CenterNet over ResNet-18 with three transposed convolutions; 15.8 M parameters, 22.7 G multiply-adds.

    Example:
        >>> model = centernet_resnet18(num_classes=3)
        >>> model.input_spec.size, model.input_spec.channel_order
        ((512, 512), 'bgr')
    """
    return CenterNet(Deconvolutions(build_backbone("resnet18")), num_classes)


@register_model(task="detection", paper=PAPER)
def centernet_dla34(num_classes: int = 80, weights: str | None = None) -> CenterNet:
    """CenterNet over DLA-34; 18.5 M parameters, of which 0.6 M are never read, 31.1 G multiply-adds.

    Example:
        >>> [tuple(one.shape[1:]) for one in centernet_dla34().features(torch.zeros(1, 3, 64, 64))]
        [(64, 16, 16)]
    """
    return CenterNet(DLAUp(DLA()), num_classes, head_channels=256)


@register_model(task="detection", paper=PAPER)
def centernet_hourglass104(num_classes: int = 80, weights: str | None = None) -> CenterNet:
    """CenterNet over two stacked hourglasses; 191 M parameters, 293 G multiply-adds.

    Example:
        >>> with torch.device("meta"):
        ...     model = centernet_hourglass104()
        >>> model.head_names, model.auxiliary_heads
        (('hm.1', 'wh.1', 'reg.1'), ('hm.0', 'wh.0', 'reg.0'))
    """
    return CenterNet(StackedHourglass(), num_classes, head_channels=256)


@register_model(task="detection", paper=PAPER)
def centernet(
    num_classes: int = 80,
    backbone: str = "resnet18",
    neck_channels: int = 256,
    head_channels: int = 64,
    weights: str | None = None,
) -> CenterNet:
    """CenterNet over any registered classifier that has feature maps, with the classifier's own normalisation.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier.
        neck_channels: Channels of the transposed convolutions.
        head_channels: Channels between the two convolutions of a head.
        weights: As everywhere.

    Example:
        >>> model = centernet(num_classes=3, backbone="mobilenet_v3_small", neck_channels=64)
        >>> model(torch.zeros(1, 3, 64, 96))["heatmap"].shape
        torch.Size([1, 3, 16, 24])
    """
    network = build_backbone(backbone)
    spec = replace(network.input_spec, size=_SPEC.size, resize="letterbox")
    return CenterNet(Deconvolutions(network, neck_channels), num_classes, head_channels, spec)
