"""Darknet-53: the residual network below YOLOv3.

Paper: Joseph Redmon, Ali Farhadi, "YOLOv3: An Incremental Improvement", 2018, arXiv 1804.02767, section 2.4.

Darknet-19's pairs of 1x1 and 3x3 convolutions, each pair with a shortcut around it, and strided 3x3 convolutions in
place of pooling. As accurate as ResNet-152 in the authors' hands, at twice its speed, because it has fewer and wider
layers.

    image               3 x 256 x 256
    3x3                32 x 256 x 256
    3x3 / 2, 1 unit    64 x 128 x 128
    3x3 / 2, 2 units  128 x  64 x  64
    3x3 / 2, 8 units  256 x  32 x  32
    3x3 / 2, 8 units  512 x  16 x  16
    3x3 / 2, 4 units 1024 x   8 x   8
    mean over space, fc 1000

    unit: x + 3x3(1x1(x)), the 1x1 to half of the channels

Differences from the paper: none in the layers (table 1). Names of modules are timm's.

Published weights: timm's ``darknet53.c2ns_in1k`` was trained with a leaky slope of 0.01 where Darknet has 0.1; it loads
into ``darknet53(negative_slope=0.01)``. The authors' ``darknet53.weights`` loads as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from saccade.blocks.collect_features import collect_features
from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.blocks.dark_residual import DarkResidual
from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier
from saccade.models.classification.darknet19 import DARKNET_SPEC
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["Darknet53", "DarknetStage", "darknet53"]

PAPER = "Redmon and Farhadi 2018, arXiv 1804.02767"

DEPTHS = (1, 2, 8, 8, 4)  # residual units of each stage
LEAKY = partial(nn.LeakyReLU, 0.1, inplace=True)  # with Darknet's slope


class DarknetStage(nn.Module):
    """A strided 3x3, then residual units.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        depth: Residual units.
        activation: Makes the activations.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv_down = ConvNormAct(in_channels, out_channels, 3, 2, activation=activation)
        units = (DarkResidual(out_channels, out_channels // 2, activation) for _ in range(depth))
        self.blocks = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / 2, W / 2)."""
        out: Tensor = self.blocks(self.conv_down(x))
        return out


class Darknet53(Classifier):
    """Stem, five stages, mean, fc (table 1).

    Args:
        num_classes: Outputs of the fc layer.
        activation: Makes the activations; a leaky ReLU of Darknet's slope if not given.
    """

    stage_names = ("stem", *(f"stages.{number}" for number in range(5)))
    head_names = ("head.fc",)
    class_rows = linear_rows("head.fc")
    input_spec = replace(DARKNET_SPEC, size=(256, 256))
    feature_channels = (64, 128, 256, 512, 1024)
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(
        self,
        num_classes: int = 1000,
        activation: Callable[[], nn.Module] = LEAKY,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.ModuleDict({"conv1": ConvNormAct(3, 32, 3, activation=activation)})
        widths = (32, *self.feature_channels)
        self.stages = nn.ModuleList(
            self._stage(widths[number], widths[number + 1], depth, activation) for number, depth in enumerate(DEPTHS)
        )
        self.head = nn.ModuleDict({"fc": nn.Linear(widths[-1], num_classes)})
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # Darknet's make_convolutional_layer: He's variance
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def _stage(self, in_channels: int, out_channels: int, depth: int, activation: Callable[[], nn.Module]) -> nn.Module:
        return DarknetStage(in_channels, out_channels, depth, activation)

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps at strides 2 to 32; images (B, 3, H, W)."""
        return collect_features(self.stages, self.stem["conv1"](images), range(5))

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.head["fc"](self.features(images)[-1].mean((2, 3)))}


@register_model("classification", PAPER, Reported(top1=77.2, source="table 2"))
def darknet53(num_classes: int = 1000, negative_slope: float = 0.1, weights: str | None = None) -> Darknet53:
    """Darknet-53, of 53 layers with the fully connected one; 41.6 M parameters, 9.3 G multiply-adds at 256 x 256.

    Args:
        num_classes: Classes.
        negative_slope: Of the leaky ReLU; timm's files have 0.01.
        weights: As everywhere.

    Example:
        >>> model = darknet53(num_classes=3)
        >>> [tuple(feature_map.shape[1:]) for feature_map in model.features(torch.zeros(1, 3, 64, 64))][-1]
        (1024, 2, 2)
    """
    return Darknet53(num_classes, partial(nn.LeakyReLU, negative_slope, inplace=True))
