"""Base of bottom-up keypoint networks: heatmaps of parts and part affinity fields, which are grouped into people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.losses.masked_l2 import masked_l2_loss
from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.keypoints.part_layout import PartLayout
from saccade.ops.padding import pad_to_multiple
from saccade.ops.part_fields import draw_fields, draw_heatmaps, labelled_cells
from saccade.structures.batch import pad_targets
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec

__all__ = [
    "CAFFE_SPEC",
    "STRIDE",
    "PartFieldModel",
    "PredictionBranch",
    "backbone_at_stride_8",
    "start_as_background",
]

STRIDE = 8
# The published networks see BGR / 256 - 0.5.
CAFFE_SPEC = InputSpec(
    (368, 368), resize="letterbox", pad_multiple=STRIDE, mean=(128.0,) * 3, std=(256.0,) * 3, channel_order="bgr"
)


class PredictionBranch(nn.Module):
    """Branch of a stage: hidden layers, then a 1x1 convolution to its maps, without ReLU.

    Args:
        hidden: The layers before it.
        in_channels: Channels that these give.
        out_channels: Maps.

    Example:
        >>> PredictionBranch(nn.Identity(), 8, 19)(torch.zeros(1, 8, 4, 6)).shape
        torch.Size([1, 19, 4, 6])
    """

    def __init__(self, hidden: nn.Module, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.output = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, out_channels, h, w)."""
        out: Tensor = self.output(self.hidden(x))
        return out


def start_as_background(stages: Iterable[nn.Module]) -> None:
    """Let every stage predict background at first: weights from N(0, 0.01), and a bias of one for background alone.

    Args:
        stages: Modules with two branches, ``heatmaps`` and ``fields``.

    Example:
        >>> stage = nn.Module()
        >>> stage.heatmaps, stage.fields = (PredictionBranch(nn.Identity(), 8, maps) for maps in (3, 4))
        >>> start_as_background([stage])
        >>> stage.heatmaps(torch.zeros(1, 8, 1, 1)).flatten().tolist()
        [0.0, 0.0, 1.0]
    """
    for stage in stages:
        for branch in (stage.heatmaps, stage.fields):
            assert isinstance(branch, PredictionBranch)
            assert branch.output.bias is not None
            nn.init.normal_(branch.output.weight, std=0.01)
            nn.init.zeros_(branch.output.bias)
            if branch is stage.heatmaps:
                with torch.no_grad():
                    branch.output.bias[-1] = 1.0


class PartFieldModel(Model):
    """Base of bottom-up networks: targets, losses and decoding; a subclass writes ``stage_maps``.

    Every stage predicts P + 1 heatmaps, the last one of background, and 2 L fields at stride 8, and has a loss for
    either. The graph gives the maps of the last stage; people are put together after it (``finish`` is
    ``group_people``), in checkpoints and exported files too.

    Args:
        layout: Parts and limbs.
        backbone: Feature extractor; see :func:`backbone_at_stride_8`.
        sigma: Standard deviation of the Gaussians, pixels.
        limb_width: Largest distance from a limb at which its field is not zero, pixels.

    Raises:
        ConfigError: If ``sigma`` or ``limb_width`` is not above 0.
    """

    task = "keypoints"
    target_names = ("keypoints",)
    decoded_keys = ("keypoints", "point_scores", "scores", "count")
    finish = "group_people"

    def __init__(self, layout: PartLayout, backbone: Classifier, sigma: float, limb_width: float) -> None:
        super().__init__()
        for name, value in (("sigma", sigma), ("limb_width", limb_width)):
            if not value > 0:
                raise ConfigError(f"{name} is {value}; it is a number of pixels above 0.")
        self.layout = layout
        self.num_classes = len(layout.points)
        self.point_layout = layout.point_layout
        self.sigma, self.limb_width = sigma, limb_width
        self.backbone = backbone
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.multiple = max(*self.feature_strides, STRIDE)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.input_spec = replace(
            backbone.input_spec, size=(368, 368), resize="letterbox", pad_multiple=STRIDE, fixed=False
        )
        self.finish_options: dict[str, Any] = {
            "limbs": [list(limb) for limb in layout.limbs],
            "points": list(layout.points),
            "stride": STRIDE,
        }

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps of the backbone."""
        return self.backbone.features(images)

    @property
    def map_channels(self) -> int:
        """Channels of :meth:`map_features`."""
        return sum(self.feature_channels[level] for level in self._levels)

    @property
    def _levels(self) -> list[int]:
        """The last feature map if its stride is 8, else all of stride 8 or more."""
        levels = [level for level, stride in enumerate(self.feature_strides) if stride >= STRIDE]
        return levels[-1:] if self.feature_strides[-1] == STRIDE else levels

    def map_features(self, images: Tensor) -> Tensor:
        """Features of the backbone at stride 8, of images whose sides are multiples of ``multiple``.

        Its last map; where that has a larger stride (HRNet, transformers), all of stride 8 or more, enlarged and
        joined, as HRNetV2 does.
        """
        maps = self.features(images)
        enlarged = []
        for level in self._levels:
            factor = self.feature_strides[level] // STRIDE
            one = maps[level]
            if factor > 1:
                one = F.interpolate(one, scale_factor=float(factor), mode="bilinear", align_corners=False)
            enlarged.append(one)
        return torch.cat(enlarged, 1)

    def stage_maps(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Heatmaps (B, P + 1, h, w) and fields (B, 2 L, h, w) of every stage."""
        raise NotImplementedError

    def _maps(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The maps of every stage for images of any size."""
        height, width = (-(-side // STRIDE) for side in images.shape[-2:])
        maps = self.stage_maps(pad_to_multiple(images, self.multiple))
        return [(one[..., :height, :width].float(), other[..., :height, :width].float()) for one, other in maps]

    def forward(self, images: Tensor) -> Outputs:
        """``heatmaps`` (B, P + 1, h, w) and ``fields`` (B, 2 L, h, w) of the last stage; h is H / 8, rounded up."""
        heatmaps, fields = self._maps(images)[-1]
        return {"heatmaps": heatmaps, "fields": fields}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``heatmaps_1``, ``fields_1`` and so on: masked squared error of both branches of every stage.

        Args:
            images: As ``forward`` takes them.
            targets: ``keypoints`` (B, N, K, 3) in pixels. Where there are ``boxes`` and ``iscrowd``, nothing is learnt
                in the boxes of crowds and of people without labelled points, but for what lies in those of labelled
                people.
        """
        maps = self._maps(images)
        size = (maps[0][0].shape[-2], maps[0][0].shape[-1])
        heatmaps, fields, mask = self.map_targets(targets, size)
        terms = {}
        for number, (own_heatmaps, own_fields) in enumerate(maps, start=1):
            terms[f"heatmaps_{number}"] = masked_l2_loss(own_heatmaps, heatmaps, mask)
            terms[f"fields_{number}"] = masked_l2_loss(own_fields, fields, mask)
        return terms

    @torch.no_grad()
    def map_targets(self, targets: Targets, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Target heatmaps (B, P + 1, h, w), fields (B, 2 L, h, w), and the mask (B, 1, h, w) of the loss.

        Args:
            targets: As ``loss`` takes them.
            size: (h, w).
        """
        padded = pad_targets(targets)
        keypoints = padded["keypoints"].float()
        points, known = self.layout.gather(keypoints)
        heatmaps = draw_heatmaps(points, known, size, STRIDE, self.sigma)
        background = 1 - heatmaps.amax(1, keepdim=True)
        fields = draw_fields(points, known, self.layout.limbs, size, STRIDE, self.limb_width)
        if "boxes" not in padded:
            return torch.cat((heatmaps, background), 1), fields, torch.ones_like(background)
        visible = keypoints[..., 2] > 0
        labelled = visible.any(-1)
        if "iscrowd" in padded:
            labelled &= ~padded["iscrowd"].bool()
        boxes = _around(padded["boxes"].float(), keypoints[..., :2], visible, self.sigma)
        mask = labelled_cells(boxes, labelled, size, STRIDE)
        return torch.cat((heatmaps, background), 1), fields, mask

    def decode(self, outputs: Outputs) -> Decoded:
        """``heatmaps`` (B, P, h, w) without background, and ``fields``; ``finish`` makes people of them."""
        return {"heatmaps": outputs["heatmaps"][:, : len(self.layout.parts)], "fields": outputs["fields"]}

    def begin(self, step: str, data: VisionDataset) -> None:
        """Refuse data whose points are not those of the persons whose limbs the network was built for.

        Raises:
            ConfigError: With the remedy.
        """
        names = tuple(data.info.class_names)
        if self.layout.names and names != self.layout.names:
            raise ConfigError(
                f"{data.info.name} has {len(names)} points without a skeleton ({', '.join(names[:4])}, ...) that are "
                f"not the known ones of persons ({', '.join(self.layout.names[:4])}, ...), so the limbs are unknown. "
                "Pass --model-args.skeleton, pairs of points that a limb joins, or write 'skeleton' into the data set."
            )


def _around(boxes_xyxy: Tensor, points: Tensor, visible: Tensor, margin: float) -> Tensor:
    """Boxes (B, N, 4), which need not hold all points of their person, enlarged to hold these and a margin."""
    first, last = boxes_xyxy.split(2, dim=-1)
    hidden = ~visible[..., None]
    first = torch.minimum(first, (points - margin).masked_fill(hidden, torch.inf).amin(-2))
    last = torch.maximum(last, (points + margin).masked_fill(hidden, -torch.inf).amax(-2))
    return torch.cat((first, last), dim=-1)


def backbone_at_stride_8(name: str) -> Classifier:
    """Classifier by its builder name as a backbone whose last feature map has a stride of 8, or a multiple of it.

    Raises:
        ConfigError: If its last stride is no multiple of 8.

    Example:
        >>> backbone_at_stride_8("resnet18").feature_strides[-1]
        8
    """
    backbone = build_backbone(name, output_stride=STRIDE)
    stride = backbone.feature_strides[-1]
    if stride % STRIDE:
        raise ConfigError(f"backbone '{name}' ends at stride {stride}, which is no multiple of {STRIDE}.")
    return backbone
