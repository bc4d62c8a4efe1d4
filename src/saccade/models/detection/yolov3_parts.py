"""What YOLOv3 and YOLOv4 share: a detector of backbone and pyramid, joints of the pyramid, and the tiny pyramid.

The tiny backbone is YOLOv2's too.

Layers are registered in the order of Darknet's configuration files, predictions among them, so that ``.weights`` files
are read by position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.blocks.darknet_pool import SpatialPyramidPooling, darknet_max_pool
from saccade.models.base import Outputs
from saccade.models.classification.darknet53 import LEAKY
from saccade.models.detection.anchor_yolo import Anchors, AnchorYOLO
from saccade.models.detection.yolo_cells import CellMatches
from saccade.models.detection.yolo_loss import YoloLoss, yolo_loss
from saccade.ops.nms import NmsSettings

__all__ = [
    "Pyramid",
    "PyramidYOLO",
    "TinyDarknet",
    "TinyPyramid",
    "YOLOBackbone",
    "init_as_darknet",
    "leaky_conv",
    "upsample_and_join",
    "yolov3_joint",
]

leaky_conv = partial(ConvNormAct, activation=LEAKY)


def init_as_darknet(part: nn.Module) -> None:
    """Weights of convolutions with He's variance, as Darknet draws them; those of predictions stay small."""
    for module in part.modules():
        if isinstance(module, ConvNormAct):
            nn.init.kaiming_normal_(module.conv.weight, mode="fan_in", nonlinearity="relu")


def yolov3_joint(in_channels: int, channels: int, pooling: bool = False) -> nn.Sequential:
    """Five alternating 1x1 and 3x3 convolutions, which every level of YOLOv3's pyramid has.

    Args:
        in_channels: Channels in.
        channels: Channels out, and of the 1x1 convolutions; the 3x3 ones have twice as many.
        pooling: With spatial pyramid pooling, and a 1x1 convolution behind it, in the middle (YOLOv3-SPP, YOLOv4).

    Example:
        >>> len(yolov3_joint(64, 16)), yolov3_joint(64, 16, pooling=True)(torch.zeros(1, 64, 8, 8)).shape
        (5, torch.Size([1, 16, 8, 8]))
    """
    pooled = (SpatialPyramidPooling(), leaky_conv(4 * channels, channels)) if pooling else ()
    return nn.Sequential(
        leaky_conv(in_channels, channels),
        leaky_conv(channels, 2 * channels, 3),
        leaky_conv(2 * channels, channels),
        *pooled,
        leaky_conv(channels, 2 * channels, 3),
        leaky_conv(2 * channels, channels),
    )


def upsample_and_join(coarse: Tensor, fine: Tensor, fine_first: bool = False) -> Tensor:
    """Coarser map at the size of the finer one, and the finer one, one behind the other along the channels.

    Args:
        coarse: (B, C, h, w).
        fine: (B, D, H, W).
        fine_first: Put the finer one in front (YOLOv4).

    Returns:
        (B, C + D, H, W).

    Example:
        >>> upsample_and_join(torch.zeros(1, 8, 3, 3), torch.zeros(1, 4, 5, 6)).shape
        torch.Size([1, 12, 5, 6])
    """
    # To the size of the finer map rather than by 2: the same for multiples of 32, and other sizes work too.
    coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
    return torch.cat((fine, coarse) if fine_first else (coarse, fine), dim=1)


class YOLOBackbone(Protocol):
    """What a backbone has: its stages, and feature maps, of which the pyramid takes the last."""

    stage_names: tuple[str, ...]
    feature_channels: tuple[int, ...]

    def features(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to feature maps, fine to coarse, the last of stride 32."""
        ...


class TinyDarknet(nn.Module):
    """Backbone of tiny YOLOv2 and v3: seven 3x3 convolutions, max pooling before all but the first, last at stride 1.

    Example:
        >>> [tuple(level.shape) for level in TinyDarknet().features(torch.zeros(1, 3, 64, 64))]
        [(1, 256, 4, 4), (1, 1024, 2, 2)]
    """

    stage_names: tuple[str, ...] = tuple(f"stages.{number}" for number in range(7))
    feature_channels: tuple[int, ...] = (256, 1024)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128, 256, 512, 1024)
        self.stages = nn.ModuleList(leaky_conv(widths[index], widths[index + 1], 3) for index in range(7))
        init_as_darknet(self)

    def features(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to feature maps of stride 16 and 32."""
        x = self.stages[0](images)
        for stage in self.stages[1:5]:
            x = stage(darknet_max_pool(x))
        fine = x
        x = self.stages[5](darknet_max_pool(x))
        return [fine, self.stages[6](darknet_max_pool(x, stride=1))]


class Pyramid(nn.Module):
    """Base of the pyramids: feature maps of the backbone to those from which boxes are predicted.

    A subclass has a 1x1 convolution ``predict3``, ``predict4``, ``predict5`` for each of its levels of stride 8, 16 and
    32, which ``forward`` leaves to the detector.

    Attributes:
        out_channels: Of the maps of ``forward``, fine to coarse.
    """

    out_channels: tuple[int, ...]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps, fine to coarse, to as many."""
        raise NotImplementedError


class TinyPyramid(Pyramid):
    """Pyramid of YOLOv3-tiny and YOLOv4-tiny: strides 16 and 32, with one 3x3 convolution each.

    Args:
        in_channels: Of the two feature maps.
        outputs: Channels of the predictions of each level, fine to coarse.
        pooling: With spatial pyramid pooling, and a 1x1 convolution behind it, where the levels part; no configuration
            of the authors has it.

    Example:
        >>> pyramid = TinyPyramid((256, 1024), outputs=(255, 255))
        >>> [tuple(level.shape) for level in pyramid([torch.zeros(1, 256, 4, 4), torch.zeros(1, 1024, 2, 2)])]
        [(1, 256, 4, 4), (1, 512, 2, 2)]
    """

    out_channels = (256, 512)

    def __init__(self, in_channels: Sequence[int], outputs: Sequence[int], pooling: bool = False) -> None:
        super().__init__()
        c4, c5 = in_channels
        pooled = (SpatialPyramidPooling(), leaky_conv(4 * 256, 256)) if pooling else ()
        self.joint5 = nn.Sequential(leaky_conv(c5, 256), *pooled)
        self.expand5 = leaky_conv(256, 512, 3)
        self.predict5 = nn.Conv2d(512, outputs[1], 1)
        self.reduce4 = leaky_conv(256, 128)
        self.expand4 = leaky_conv(128 + c4, 256, 3)
        self.predict4 = nn.Conv2d(256, outputs[0], 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps of stride 16 and 32 to as many."""
        c4, c5 = maps
        p5 = self.joint5(c5)
        p4 = upsample_and_join(self.reduce4(p5), c4)
        return [self.expand4(p4), self.expand5(p5)]


class PyramidYOLO(AnchorYOLO):
    """YOLO of a backbone and a pyramid, each level of which predicts for its anchors.

    A subclass implements ``claim``.

    Args:
        num_classes: Classes without background.
        backbone: A module with what :class:`YOLOBackbone` names.
        pyramid: Makes the pyramid from the channels of its feature maps and the outputs of each level.
        anchors: Width and height of the anchors of each level, fine to coarse, pixels. A backbone of two feature maps
            has levels of stride 16 and 32, others of 8 as well.
        nms: Settings of suppression.
        loss: Kinds and weights of the loss terms.
        xy_scales: How far a centre reaches at each level, fine to coarse (``ops.box_coding``).

    Raises:
        ConfigError: If the anchors do not fit the levels.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: YOLOBackbone,
        pyramid: Callable[[Sequence[int], Sequence[int]], Pyramid],
        anchors: Anchors,
        nms: NmsSettings,
        loss: YoloLoss,
        xy_scales: Sequence[float],
    ) -> None:
        strides = (8, 16, 32)[-len(backbone.feature_channels) :]
        levels = range(len(strides))
        predictions = [f"pyramid.predict{stride.bit_length() - 1}" for stride in strides]
        super().__init__(num_classes, anchors, strides, predictions, nms, xy_scales)
        self.backbone = backbone
        self.pyramid = pyramid(backbone.feature_channels[-len(strides) :], [self.outputs_of(level) for level in levels])
        self.feature_channels = self.pyramid.out_channels
        self.stage_names = tuple(f"backbone.{stage}" for stage in backbone.stage_names)
        self.neck_names = tuple(
            name for child, _ in self.pyramid.named_children() if (name := f"pyramid.{child}") not in self.head_names
        )
        self.loss_settings = loss
        self.ignore = loss.ignore
        init_as_darknet(self.pyramid)
        self.reset_predictions()

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the pyramid, fine to coarse, from which boxes are predicted."""
        maps: list[Tensor] = self.pyramid(self.backbone.features(images)[-len(self.feature_strides) :])
        return maps

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        """Last map of each level, fine to coarse, (B, anchors x (5 + classes), H, W)."""
        maps = zip(self.head_names, self.features(images), strict=True)
        return [self.get_submodule(name)(level) for name, level in maps]

    def loss_terms(
        self, outputs: Outputs, matches: CellMatches, boxes_xyxy: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """See :func:`saccade.models.detection.yolo_loss.yolo_loss`."""
        return yolo_loss(outputs, matches, boxes_xyxy, labels, self.loss_settings, self.size_coding)
