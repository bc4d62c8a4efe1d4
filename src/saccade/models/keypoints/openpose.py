"""OpenPose: heatmaps of parts and fields along limbs, refined in stages, from which any number of people is read.

Paper: Zhe Cao, Tomas Simon, Shih-En Wei, Yaser Sheikh, "Realtime Multi-Person 2D Pose Estimation using Part Affinity
Fields", CVPR 2017, arXiv 1611.08050.

A heatmap shows where any person has a left elbow, not whose it is. So the network also predicts, for every limb, a
field of vectors that point along it; a shoulder and an elbow belong together if the field on the line between them
points from one to the other. The time that takes does not grow with the number of people, as it does where a detector
goes first and every person is looked at alone.

    image      3 x 368 x 368    BGR / 256 - 0.5
    VGG-19   512 x  46 x  46    up to conv4_2
    neck     128 x  46 x  46    3x3 256, 3x3 128: the features F
    stage 1   19 x  46 x  46    3x3 128 three times, 1x1 512, 1x1: heatmaps of 18 parts and of background
              38 x  46 x  46    a branch of the same form: x and y of 19 fields
    stage 2   from F and both predictions: 7x7 128 five times, 1x1 128, 1x1, again in two branches
    ...
    stage 6   its maps go to the grouping (``ops.group_parts``)

Differences from the paper: each limb is an assignment of its own, as there, but people are put together from the surest
connection on, whatever its limb. Fields reach beyond the ends of a limb by the limb's width, as in the authors' code.
Where people have no labelled points, boxes instead of outlines leave cells out of the loss, but for cells in boxes of
people who have. ``limb_span`` adds limbs over one or more points in between (the authors' redundant limbs of 2019,
arXiv 1812.08008, go further), which join people whose points in between are hidden. Weights start from He's
initialisation, predictions from background everywhere.

Published weights: https://github.com/CMU-Perceptual-Computing-Lab/openpose, for use that is not commercial, so there is
no row for them. Files that were converted from Caffe keep its names and are read by ``weights.layouts.openpose``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier
from saccade.models.classification.vgg import VGG, WIDTHS
from saccade.models.keypoints.part_fields import (
    CAFFE_SPEC,
    PartFieldModel,
    PredictionBranch,
    backbone_at_stride_8,
    start_as_background,
)
from saccade.models.keypoints.part_layout import PartLayout, layout_for
from saccade.models.registry import register_model
from saccade.structures.class_rows import ClassRows

__all__ = ["OpenPose", "openpose_coco"]

PAPER = "Cao et al., CVPR 2017, arXiv 1611.08050"


def _row(in_channels: int, *layers: tuple[int, int]) -> nn.Sequential:
    """Convolutions of (kernel size, channels), each with a ReLU."""
    row: list[nn.Module] = []
    for kernel_size, channels in layers:
        row += [nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*row)


class Stage(nn.Module):
    """Stage of OpenPose: two branches of one form that do not see each other.

    Args:
        in_channels: Channels of its input.
        channels: Of its 3x3 or 7x7 convolutions, 128 in the paper.
        outputs: Numbers of heatmaps and of components of fields.
        first: Whether it is the first stage, which has smaller kernels.
    """

    def __init__(self, in_channels: int, channels: int, outputs: tuple[int, int], first: bool) -> None:
        super().__init__()
        layers = [(3, channels)] * 3 + [(1, 4 * channels)] if first else [(7, channels)] * 5 + [(1, channels)]
        last = layers[-1][1]
        self.heatmaps = PredictionBranch(_row(in_channels, *layers), last, outputs[0])
        self.fields = PredictionBranch(_row(in_channels, *layers), last, outputs[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and fields of (B, C, h, w)."""
        return self.heatmaps(x), self.fields(x)


class OpenPose(PartFieldModel):
    """OpenPose: a backbone, a neck of two convolutions, and stages of two branches (figure 3).

    Args:
        layout: Parts and limbs.
        backbone: Feature extractor.
        stages: Stages, 6 in the paper.
        channels: Channels of the features and of the convolutions in a stage, 128 in the paper.
        sigma: As for :class:`PartFieldModel`.
        limb_width: As for :class:`PartFieldModel`.

    Raises:
        ConfigError: If there is no stage.

    Example:
        >>> model = openpose_coco(backbone="mobilenet_v1_0_25", stages=2, channels=16)
        >>> {name: tuple(maps.shape) for name, maps in model(torch.zeros(1, 3, 64, 96)).items()}
        {'heatmaps': (1, 19, 8, 12), 'fields': (1, 38, 8, 12)}
    """

    neck_names = ("neck",)

    def __init__(
        self,
        layout: PartLayout,
        backbone: Classifier,
        stages: int = 6,
        channels: int = 128,
        sigma: float = 7.0,
        limb_width: float = 8.0,
    ) -> None:
        super().__init__(layout, backbone, sigma, limb_width)
        if stages < 1:
            raise ConfigError(f"stages is {stages}; there must be at least one.")
        self.neck = _row(self.map_channels, (3, 2 * channels), (3, channels))
        outputs = (len(layout.parts) + 1, 2 * len(layout.limbs))
        self.stages = nn.ModuleList(
            Stage(channels if first else channels + sum(outputs), channels, outputs, first)
            for first in (number == 0 for number in range(stages))
        )
        self.head_names = tuple(f"stages.{number}" for number in range(stages))
        for module in (*self.neck.modules(), *self.stages.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        start_as_background(self.stages)

    def stage_maps(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Heatmaps (B, P + 1, h, w) and fields (B, 2 L, h, w) of every stage."""
        features = self.neck(self.map_features(images))  # (B, C, h, w)
        maps: list[tuple[Tensor, Tensor]] = []
        for stage in self.stages:
            # Fields, then heatmaps, then features, as the published weights have them.
            maps.append(stage(features if not maps else torch.cat((maps[-1][1], maps[-1][0], features), 1)))
        return maps


def _class_rows(layout: PartLayout, stages: int, channels: int) -> dict[str, ClassRows]:
    """Rows of each point: of the heatmaps, behind which stands background, and of the stages that read them."""
    rows = {
        f"stages.{number}.heatmaps.output.{part}": ClassRows(after=1)
        for number in range(stages)
        for part in ("weight", "bias")
    }
    reads = ClassRows(fixed=2 * len(layout.limbs), axes=(1,), after=1 + channels)
    return rows | {
        f"stages.{number}.{branch}.hidden.0.weight": reads
        for number in range(1, stages)
        for branch in ("heatmaps", "fields")
    }


def _vgg19_front() -> Classifier:
    """VGG-19 up to conv4_2, with its names; the input is the one of the published network."""
    front = VGG((2, 2, 4, 2), fc_channels=1, num_classes=1, widths=WIDTHS[:4])
    front.remove_head()
    last = front.trunk[3]
    assert isinstance(last, nn.Sequential)
    front.trunk[3] = last[:-1]  # without its pooling
    front.stage_names = tuple(f"trunk.{number}" for number in range(4))
    front.feature_strides = (2, 4, 8, 8)
    front.input_spec = CAFFE_SPEC
    return front


@register_model("keypoints", PAPER)
def openpose_coco(
    num_classes: int = 18,
    skeleton: Sequence[Sequence[int]] | None = None,
    limb_span: int = 1,
    backbone: str = "",
    stages: int = 6,
    channels: int = 128,
    sigma: float = 7.0,
    limb_width: float = 8.0,
    weights: str | None = None,
) -> OpenPose:
    """OpenPose for persons of COCO; 52.3 M parameters, 136 G multiply-adds at 368 x 368.

    Args:
        num_classes: Points: 18 with a neck in the published order, 17 in COCO's, or those of another skeleton.
        skeleton: Pairs of points that a limb joins, from 0, for other points; a run takes it from its data set.
        limb_span: Limbs join parts that are so many limbs of the skeleton apart or fewer; 1 as published. More join
            people whose points in between are hidden.
        backbone: Builder name of a classifier, whose maps of stride 8 or more are joined if the last has not stride 8;
            empty: VGG-19 up to conv4_2.
        stages: Stages.
        channels: Channels of the features and of the convolutions in a stage.
        sigma: Standard deviation of the Gaussians that stand for points, pixels.
        limb_width: Largest distance from a limb at which its field is not zero, pixels.
        weights: As everywhere.

    Raises:
        ConfigError: If other points have no skeleton.

    Example:
        >>> model = openpose_coco(num_classes=3, skeleton=[(0, 1), (1, 2)], backbone="resnet18", stages=1, channels=8)
        >>> model(torch.zeros(1, 3, 64, 64))["fields"].shape
        torch.Size([1, 4, 8, 8])
    """
    layout = layout_for(num_classes, skeleton, limb_span)
    front = backbone_at_stride_8(backbone) if backbone else _vgg19_front()
    model = OpenPose(layout, front, stages, channels, sigma, limb_width)
    if not layout.names:  # the maps of persons do not follow the number of points
        model.class_rows = _class_rows(layout, stages, channels)
    if not backbone:
        model.input_spec = CAFFE_SPEC
    return model
