"""Lightweight OpenPose: MobileNet, one stage of prediction and one of refinement, for a CPU.

Paper: Daniil Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018, arXiv 1811.12004.

Heatmaps, fields and grouping are those of OpenPose. VGG-19 gives way to MobileNet up to conv5_5, whose stride stays 8
and whose view is widened by a dilation; both branches of a stage share all but their last two layers; and a 7x7
convolution becomes a block of 1x1, 3x3 and 3x3 with dilation, with as wide a view and a shortcut. One stage of
refinement is kept of five.

    image       3 x 368 x 368    BGR / 256 - 0.5
    MobileNet 512 x  46 x  46    conv1 to conv5_5
    neck      128 x  46 x  46    1x1, three separable convolutions with ELU and a shortcut, 3x3
    stage 1   trunk of three 3x3 128, then 1x1 512, 1x1 for heatmaps (19) and for fields (38)
    stage 2   five refinement blocks 128, then 1x1 128, 1x1 for either

Differences from the paper: predictions start from background everywhere. Targets, loss and grouping are those of
``openpose_coco``.

Published weights: https://github.com/Daniil-Osokin/lightweight-human-pose-estimation.pytorch (Apache-2.0); files that
were downloaded are read by ``weights.layouts.lightweight_openpose``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.blocks.depthwise_conv import DepthwiseConv2d
from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier
from saccade.models.classification.mobilenet_v1 import MobileNetV1
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

__all__ = ["LightweightOpenPose", "lightweight_openpose"]

PAPER = "Osokin 2018, arXiv 1811.12004"


def _conv(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    """Convolution with bias and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2), nn.ReLU(inplace=True)
    )


def _conv_norm(channels: int, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution with bias, BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def _separable(channels: int) -> nn.Sequential:
    """Depthwise separable convolution with ELU in place of BatchNorm."""
    return nn.Sequential(
        DepthwiseConv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.ELU(inplace=True),
    )


class Neck(nn.Module):
    """Neck: the features of the backbone in fewer channels, which all stages read.

    Args:
        in_channels: Channels of the backbone.
        channels: Channels out.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.align = _conv(in_channels, channels, 1)
        self.trunk = nn.Sequential(*(_separable(channels) for _ in range(3)))
        self.conv = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h, w)."""
        x = self.align(x)
        out: Tensor = self.conv(x + self.trunk(x))
        return out


class RefinementBlock(nn.Module):
    """Refinement block: 1x1, then two 3x3, the second with a dilation of 2, and a shortcut (figure 4).

    Args:
        in_channels: Channels in.
        channels: Channels out.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.initial = _conv(in_channels, channels, 1)
        self.trunk = nn.Sequential(_conv_norm(channels), _conv_norm(channels, dilation=2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h, w)."""
        x = self.initial(x)
        out: Tensor = x + self.trunk(x)
        return out


class Stage(nn.Module):
    """Stage: a shared trunk, then two branches of two 1x1 convolutions.

    Args:
        trunk: Gives (B, channels, h, w).
        channels: Of the trunk.
        hidden: Of the first 1x1 convolution of a branch.
        outputs: Numbers of heatmaps and of components of fields.
    """

    def __init__(self, trunk: nn.Module, channels: int, hidden: int, outputs: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heatmaps, self.fields = (
            PredictionBranch(_conv(channels, hidden, 1), hidden, number) for number in outputs
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and fields of (B, C, h, w)."""
        x = self.trunk(x)
        return self.heatmaps(x), self.fields(x)


class LightweightOpenPose(PartFieldModel):
    """Lightweight OpenPose: a backbone, a neck, one stage of prediction and further ones of refinement.

    Args:
        layout: Parts and limbs.
        backbone: Feature extractor.
        stages: The first and those of refinement, 2 as published.
        channels: Channels of the features and of the stages, 128 in the paper.
        sigma: As for :class:`PartFieldModel`.
        limb_width: As for :class:`PartFieldModel`.

    Raises:
        ConfigError: If there is no stage.

    Example:
        >>> model = lightweight_openpose(backbone="mobilenet_v1_0_25", channels=16)
        >>> {name: tuple(maps.shape) for name, maps in model(torch.zeros(1, 3, 64, 96)).items()}
        {'heatmaps': (1, 19, 8, 12), 'fields': (1, 38, 8, 12)}
    """

    neck_names = ("neck",)

    def __init__(
        self,
        layout: PartLayout,
        backbone: Classifier,
        stages: int = 2,
        channels: int = 128,
        sigma: float = 7.0,
        limb_width: float = 8.0,
    ) -> None:
        super().__init__(layout, backbone, sigma, limb_width)
        if stages < 1:
            raise ConfigError(f"stages is {stages}; there must be at least one.")
        outputs = (len(layout.parts) + 1, 2 * len(layout.limbs))
        self.neck = Neck(self.map_channels, channels)
        first = nn.Sequential(*(_conv(channels, channels) for _ in range(3)))
        self.stages = nn.ModuleList([Stage(first, channels, 4 * channels, outputs)])
        for _ in range(stages - 1):
            trunk = nn.Sequential(
                RefinementBlock(channels + sum(outputs), channels),
                *(RefinementBlock(channels, channels) for _ in range(4)),
            )
            self.stages.append(Stage(trunk, channels, channels, outputs))
        start_as_background(self.stages)
        self.head_names = tuple(f"stages.{number}" for number in range(stages))

    def stage_maps(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Heatmaps (B, P + 1, h, w) and fields (B, 2 L, h, w) of every stage."""
        features = self.neck(self.map_features(images))  # (B, C, h, w)
        maps: list[tuple[Tensor, Tensor]] = []
        for stage in self.stages:
            maps.append(stage(features if not maps else torch.cat((features, *maps[-1]), 1)))
        return maps


def _class_rows(layout: PartLayout, stages: int, channels: int) -> dict[str, ClassRows]:
    """Rows of each point: of the heatmaps, behind which stands background, and of the stages that read them."""
    outputs = (f"stages.{number}.heatmaps.output.{part}" for number in range(stages) for part in ("weight", "bias"))
    reads = ClassRows(fixed=channels, axes=(1,), after=1 + 2 * len(layout.limbs))
    inputs = (f"stages.{number}.trunk.0.initial.0.weight" for number in range(1, stages))
    return dict.fromkeys(outputs, ClassRows(after=1)) | dict.fromkeys(inputs, reads)


def _mobilenet_front() -> Classifier:
    """MobileNet up to conv5_5 at stride 8: conv4_2 keeps the size, conv5_1 has a dilation of 2."""
    front = MobileNetV1(num_classes=1)
    front.remove_head()
    front.trunk = front.trunk[:12]
    for layer, stride, dilation in ((6, 1, 1), (7, 1, 2)):
        depthwise = front.get_submodule(f"trunk.{layer}.dconv")
        assert isinstance(depthwise, ConvNormAct)
        channels = depthwise.conv.in_channels
        depthwise.conv = DepthwiseConv2d(
            channels, channels, 3, stride, dilation, dilation=dilation, groups=channels, bias=False
        )
        nn.init.kaiming_normal_(depthwise.conv.weight, mode="fan_out", nonlinearity="relu")
    front.stage_names = tuple(f"trunk.{number}" for number in range(12))
    front.feature_ends, front.feature_channels, front.feature_strides = (1, 3, 11), (64, 128, 512), (2, 4, 8)
    front.input_spec = CAFFE_SPEC
    return front


@register_model("keypoints", PAPER)
def lightweight_openpose(
    num_classes: int = 18,
    skeleton: Sequence[Sequence[int]] | None = None,
    limb_span: int = 1,
    backbone: str = "",
    stages: int = 2,
    channels: int = 128,
    sigma: float = 7.0,
    limb_width: float = 8.0,
    weights: str | None = None,
) -> LightweightOpenPose:
    """Lightweight OpenPose for persons of COCO; 4.1 M parameters, 7.7 G multiply-adds at 256 x 456.

    Args:
        num_classes: Points: 18 with a neck in the published order, 17 in COCO's, or those of another skeleton.
        skeleton: Pairs of points that a limb joins, from 0, for other points; a run takes it from its data set.
        limb_span: Limbs join parts that are so many limbs of the skeleton apart or fewer; 1 as published. More join
            people whose points in between are hidden.
        backbone: Builder name of a classifier, whose maps of stride 8 or more are joined if the last has not stride 8;
            empty: MobileNet up to conv5_5.
        stages: The first stage and those of refinement.
        channels: Channels of the features and of the stages.
        sigma: Standard deviation of the Gaussians that stand for points, pixels.
        limb_width: Largest distance from a limb at which its field is not zero, pixels.
        weights: As everywhere.

    Raises:
        ConfigError: If other points have no skeleton.

    Example:
        >>> model = lightweight_openpose(num_classes=17, backbone="mobilenet_v1_0_25", stages=1, channels=8).eval()
        >>> list(model.predict(torch.zeros(1, 3, 64, 64))), model.finish
        (['heatmaps', 'fields'], 'group_people')
    """
    layout = layout_for(num_classes, skeleton, limb_span)
    front = backbone_at_stride_8(backbone) if backbone else _mobilenet_front()
    model = LightweightOpenPose(layout, front, stages, channels, sigma, limb_width)
    if not layout.names:  # the maps of persons do not follow the number of points
        model.class_rows = _class_rows(layout, stages, channels)
    if not backbone:
        model.input_spec = CAFFE_SPEC
    return model
