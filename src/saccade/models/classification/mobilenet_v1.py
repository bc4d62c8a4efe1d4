"""MobileNet: depthwise separable convolutions, and two dials for size.

Paper: Andrew G. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
2017, arXiv 1704.04861.

A 3x3 convolution filters and combines channels in one step. Split into a depthwise 3x3, which filters each channel
alone, and a 1x1, which combines them, it costs 1/N + 1/9 of the work (section 3.1) and loses little. Two numbers make
the network smaller still: the width multiplier alpha thins all layers, and the resolution multiplier rho shrinks the
image (sections 3.3 and 3.4); work falls with the square of either.

    image              3 x 224 x 224
    3x3 / 2           32 x 112 x 112
    separable         64 x 112 x 112
    separable / 2, 1 128 x  56 x  56
    separable / 2, 1 256 x  28 x  28
    separable / 2, 5 512 x  14 x  14
    separable / 2, 1 1024 x 7  x   7
    mean over space, fc 1000

Differences from the paper: table 1 gives the last depthwise convolution stride 2 on 7 x 7 locations that stay 7 x 7;
its stride is 1. Each convolution is followed by BatchNorm and ReLU as in figure 3; the files in use were trained with
ReLU6 (``activation="relu6"``, which ``weights="imagenet"`` sets automatically).

Published weights: timm.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from torch import Tensor, nn

from saccade.blocks.collect_features import collect_features
from saccade.blocks.conv_norm_act import ConvNormAct, DepthwiseSeparableConv
from saccade.blocks.make_divisible import make_divisible
from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["MobileNetV1", "mobilenet_v1", "mobilenet_v1_0_25", "mobilenet_v1_0_50", "mobilenet_v1_0_75"]

PAPER = "Howard et al. 2017, arXiv 1704.04861"

Activation = Literal["relu", "relu6"]

# Table 1: channels and strides of the separable convolutions.
LAYERS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class MobileNetV1(Classifier):
    """MobileNet classifier: stem and thirteen depthwise separable convolutions (table 1).

    Args:
        num_classes: Outputs of the fc layer.
        alpha: Width multiplier.
        rho: Resolution multiplier: the input has ``224 * rho`` pixels a side.
        activation: ``relu``, or ``relu6`` for files trained with it.
        dropout: Dropout rate before the fc layer.

    Raises:
        ConfigError: If there is no such activation.

    Example:
        >>> model = MobileNetV1(num_classes=3, alpha=0.25)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)]
    """

    stage_names = tuple(f"trunk.{number}" for number in range(1 + len(LAYERS)))
    head_names = ("head",)
    class_rows = linear_rows("head")
    feature_strides: tuple[int, ...] = (2, 4, 8, 16, 32)

    def __init__(
        self,
        num_classes: int = 1000,
        alpha: float = 1.0,
        rho: float = 1.0,
        activation: Activation = "relu",
        dropout: float = 1e-3,
    ) -> None:
        super().__init__()
        if activation not in ("relu", "relu6"):
            raise ConfigError(f"activation is '{activation}'; it must be 'relu' or 'relu6'.")
        self.num_classes = num_classes
        side = round(224 * rho)
        self.input_spec = replace(IMAGENET_SPEC, size=(side, side))
        make = partial(nn.ReLU6 if activation == "relu6" else nn.ReLU, inplace=True)
        channels = make_divisible(32 * alpha)
        layers: list[nn.Module] = [ConvNormAct(3, channels, 3, 2, activation=make)]
        ends, widths = [], []  # last layer at each stride
        for number, (width, stride) in enumerate(LAYERS, start=1):
            if stride == 2:
                ends.append(number - 1)
                widths.append(channels)
            out_channels = make_divisible(width * alpha)
            layers.append(DepthwiseSeparableConv(channels, out_channels, 3, stride, make))
            channels = out_channels
        self.trunk = nn.Sequential(*layers)
        self.feature_ends = (*ends, len(LAYERS))
        self.feature_channels = (*widths, channels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """The last feature map at each stride from 2 to 32; images (B, 3, H, W)."""
        return collect_features(self.trunk, images, self.feature_ends)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.head(self.dropout(self.trunk(images).mean((2, 3))))}


@register_model("classification", PAPER, Reported(params=4.2e6, macs=569e6, top1=70.6, source="table 6"))
def mobilenet_v1(
    num_classes: int = 1000,
    alpha: float = 1.0,
    rho: float = 1.0,
    activation: Activation = "relu",
    weights: str | None = None,
) -> MobileNetV1:
    """MobileNet at full width; 4.2 M parameters, 569 M multiply-adds.

    Example:
        >>> model = mobilenet_v1(num_classes=3, rho=160 / 224)
        >>> model.input_spec.size
        (160, 160)
    """
    return MobileNetV1(num_classes, alpha, rho, activation)


@register_model("classification", PAPER, Reported(params=2.6e6, macs=325e6, top1=68.4, source="table 6"))
def mobilenet_v1_0_75(num_classes: int = 1000, rho: float = 1.0, weights: str | None = None) -> MobileNetV1:
    """MobileNet at three quarters of the width; 2.6 M parameters, 325 M multiply-adds."""
    return MobileNetV1(num_classes, 0.75, rho)


@register_model("classification", PAPER, Reported(params=1.3e6, macs=149e6, top1=63.7, source="table 6"))
def mobilenet_v1_0_50(num_classes: int = 1000, rho: float = 1.0, weights: str | None = None) -> MobileNetV1:
    """MobileNet at half the width; 1.3 M parameters, 149 M multiply-adds."""
    return MobileNetV1(num_classes, 0.5, rho)


@register_model("classification", PAPER, Reported(params=0.5e6, macs=41e6, top1=50.6, source="table 6"))
def mobilenet_v1_0_25(num_classes: int = 1000, rho: float = 1.0, weights: str | None = None) -> MobileNetV1:
    """MobileNet at a quarter of the width; 0.5 M parameters, 41 M multiply-adds.

    Example:
        >>> mobilenet_v1_0_25(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return MobileNetV1(num_classes, 0.25, rho)
