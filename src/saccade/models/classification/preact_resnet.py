"""Pre-activation ResNet: residual units with an identity path from the input to the sum.

Paper: Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016,
arXiv 1603.05027.

In ResNet a ReLU follows each sum, so a signal is cut once a unit. If both the shortcut and what follows the sum are the
identity, x_L = x_l + sum F(x_i) (equation 4): every unit is connected to every other by a plain sum, forwards and
backwards, and networks of 1001 layers learn. To get there, BatchNorm and ReLU move before the convolutions.

Figure 4, with W a convolution; "+" adds the shortcut:

    original                   x -> W BN ReLU W BN -> + -> ReLU
    bn_after_addition          x -> W BN ReLU W    -> + -> BN ReLU
    relu_before_addition       x -> W BN ReLU W BN ReLU -> +
    relu_only_preactivation    x -> ReLU W BN ReLU W BN -> +
    full_preactivation         x -> BN ReLU W BN ReLU W -> +

    ImageNet: stem of ResNet (7x7 / 2, BN, ReLU, pool), four stages    CIFAR: 3x3, three stages of 16, 32, 64 (x 4)

Special units (section 6 of the appendix): where the shape changes, and in the first unit, the pre-activation comes
before the shortcut parts, so both see it; after the last unit follows one more activation. A projection is normalised
where the branch's last convolution is. The stride is in the first convolution of a unit.

Differences from the paper: the paper compares the five orders on CIFAR networks of 110 and 164 layers; here every
network takes ``order``. Its ImageNet networks are of 200 layers; ``preact_resnet18`` to ``152`` have the depths of the
first paper, with the stem's BN and ReLU and those of the first unit.

Published weights: none under this layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.classification.cifar_resnet import CIFAR_SPEC
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "Order",
    "PreActResNet",
    "ResidualUnit",
    "UnitShape",
    "preact_resnet18",
    "preact_resnet34",
    "preact_resnet50",
    "preact_resnet101",
    "preact_resnet110_cifar",
    "preact_resnet152",
    "preact_resnet164_cifar",
    "preact_resnet1001_cifar",
]

PAPER = "He et al., ECCV 2016, arXiv 1603.05027"

Order = Literal[
    "original", "bn_after_addition", "relu_before_addition", "relu_only_preactivation", "full_preactivation"
]


@dataclass(frozen=True)
class UnitShape:
    """Shape of a residual unit: channels in, inside and out, stride, position in the network.

    Args:
        in_channels: Channels in.
        width: Channels of the 3x3.
        out_channels: Channels out; four times the width in a bottleneck.
        stride: Stride of the unit, in its first convolution or in a bottleneck's 3x3.
        stride_in_3x3: Whether a bottleneck has its stride in the 3x3.
        first: Whether this is the first unit of the network.

    Example:
        >>> bottleneck = UnitShape(in_channels=64, width=64, out_channels=256)
        >>> len(ResidualUnit(bottleneck).convs)
        3
    """

    in_channels: int
    width: int
    out_channels: int
    stride: int = 1
    stride_in_3x3: bool = False
    first: bool = False


class ResidualUnit(nn.Module):
    """Residual unit, basic or bottleneck, with BatchNorm and ReLU in one of the orders of figure 4.

    Args:
        shape: Channels and stride; a bottleneck where it widens to four times.
        order: Order of convolution, BN, ReLU and sum.

    Example:
        >>> unit = ResidualUnit(UnitShape(16, 32, 32, stride=2), order="full_preactivation")
        >>> unit(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, shape: UnitShape, order: Order = "full_preactivation") -> None:
        super().__init__()
        self.order = order
        self.first = shape.first
        width, stride = shape.width, shape.stride
        if shape.out_channels == width:
            kernels = [(shape.in_channels, width, 3, stride), (width, width, 3, 1)]
        else:
            early, late = (1, stride) if shape.stride_in_3x3 else (stride, 1)
            kernels = [
                (shape.in_channels, width, 1, early),
                (width, width, 3, late),
                (width, shape.out_channels, 1, 1),
            ]
        self.convs = nn.ModuleList(
            nn.Conv2d(first, second, side, step, padding=side // 2, bias=False) for first, second, side, step in kernels
        )
        before = order == "full_preactivation"
        self.norms = nn.ModuleList(nn.BatchNorm2d(first if before else second) for first, second, _, _ in kernels)
        self.projection: nn.Module | None = None
        if stride != 1 or shape.in_channels != shape.out_channels:
            convolution = nn.Conv2d(shape.in_channels, shape.out_channels, 1, stride, bias=False)
            plain = order in ("full_preactivation", "bn_after_addition")
            self.projection = convolution if plain else nn.Sequential(convolution, nn.BatchNorm2d(shape.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        order, last = self.order, len(self.convs) - 1
        start = x
        if order == "full_preactivation":
            start = F.relu(self.norms[0](x))
        elif order == "relu_only_preactivation":
            start = F.relu(x)
        shortcut = x
        if self.first or self.projection is not None:
            shortcut = start if self.projection is None else self.projection(start)
        y = start
        for number, convolution in enumerate(self.convs):
            y = convolution(y)
            if order == "full_preactivation":
                y = F.relu(self.norms[number + 1](y)) if number < last else y
            elif order == "bn_after_addition":
                y = F.relu(self.norms[number](y)) if number < last else y
            else:
                y = self.norms[number](y)
                y = F.relu(y) if number < last or order == "relu_before_addition" else y
        y = y + shortcut  # equation 1
        if order == "original":
            return F.relu(y)
        return F.relu(self.norms[last](y)) if order == "bn_after_addition" else y


class PreActResNet(Classifier):
    """Pre-activation ResNet classifier: stem, stages of residual units, last activation, global mean, fc.

    Args:
        depths: Units in each stage: four for ImageNet, three for CIFAR.
        bottleneck: Whether units are bottlenecks: three convolutions that widen to four times.
        num_classes: Outputs of the fc layer.
        order: Order of the layers in each unit (figure 4).

    Raises:
        ConfigError: If there is no such order.

    Example:
        >>> model = PreActResNet((1, 1, 1), bottleneck=True, num_classes=10)  # three stages: CIFAR
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 32, 32))]
        [(64, 32, 32), (128, 16, 16), (256, 8, 8)]
    """

    head_names = ("fc",)
    class_rows = linear_rows("fc")

    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool,
        num_classes: int = 1000,
        order: Order = "full_preactivation",
    ) -> None:
        super().__init__()
        if order not in get_args(Order):
            raise ConfigError(f"there is no unit order '{order}'.{did_you_mean(order, get_args(Order))}")
        self.num_classes = num_classes
        self.order = order
        cifar = len(depths) == 3
        channels, stride = (16, 1) if cifar else (64, 4)
        self.input_spec = CIFAR_SPEC if cifar else IMAGENET_SPEC
        side, step = (3, 1) if cifar else (7, 2)
        self.conv1 = nn.Conv2d(3, channels, side, step, padding=side // 2, bias=False)
        # On CIFAR the stem's activation is that of the first pre-activation unit; other orders need their own.
        self.bn1 = None if cifar and order == "full_preactivation" else nn.BatchNorm2d(channels)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, padding=1)
        widths = [channels * 2**number for number in range(len(depths))]
        stages, strides, wide = [], [], []
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            out_channels = 4 * width if bottleneck else width
            units = []
            for unit in range(depth):
                halves = 2 if unit == 0 and number > 0 else 1
                shape = UnitShape(channels, width, out_channels, halves, cifar, first=number == unit == 0)
                units.append(ResidualUnit(shape, order))
                channels, stride = out_channels, stride * halves
            stages.append(nn.Sequential(*units))
            strides.append(stride)
            wide.append(channels)
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm2d(channels) if order == "full_preactivation" else None
        self.fc = nn.Linear(channels, num_classes)
        stem = ("conv1",) if self.bn1 is None else ("conv1", "bn1")
        end = () if self.norm is None else ("norm",)
        self.stage_names = (*stem, *(f"stages.{number}" for number in range(len(depths))), *end)
        self.feature_channels = tuple(wide) if cifar else (widths[0], *wide)
        self.feature_strides = tuple(strides) if cifar else (2, *strides)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):  # He et al. 2015, arXiv 1502.01852
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.fc.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the stem (on ImageNet) and of the stages, the last activated; images (B, 3, H, W)."""
        x = self.conv1(images)
        if self.bn1 is not None:
            x = F.relu(self.bn1(x))
        maps = [x] if len(self.feature_channels) > len(self.stages) else []
        x = self.maxpool(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.norm is not None:
            maps[-1] = F.relu(self.norm(x))
        elif self.order == "relu_only_preactivation":
            maps[-1] = F.relu(x)
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.fc(self.features(images)[-1].mean((2, 3)))}


@register_model("classification", PAPER)
def preact_resnet18(
    num_classes: int = 1000, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-18; 11.7 M parameters, 1.8 G multiply-adds.

    Example:
        >>> preact_resnet18(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return PreActResNet((2, 2, 2, 2), False, num_classes, order)


@register_model("classification", PAPER)
def preact_resnet34(
    num_classes: int = 1000, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-34; 21.8 M parameters, 3.7 G multiply-adds."""
    return PreActResNet((3, 4, 6, 3), False, num_classes, order)


@register_model("classification", PAPER)
def preact_resnet50(
    num_classes: int = 1000, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-50; 25.5 M parameters, 3.9 G multiply-adds."""
    return PreActResNet((3, 4, 6, 3), True, num_classes, order)


@register_model("classification", PAPER)
def preact_resnet101(
    num_classes: int = 1000, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-101; 44.5 M parameters, 7.6 G multiply-adds."""
    return PreActResNet((3, 4, 23, 3), True, num_classes, order)


@register_model("classification", PAPER, Reported(top1=78.9, source="table 5, one crop of 320"))
def preact_resnet152(
    num_classes: int = 1000, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-152; 60.2 M parameters, 11.3 G multiply-adds."""
    return PreActResNet((3, 8, 36, 3), True, num_classes, order)


@register_model("classification", PAPER, Reported(params=1.7e6, top1=93.63, source="table 2; top-1 on CIFAR-10"))
def preact_resnet110_cifar(
    num_classes: int = 10, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-110 for CIFAR, of basic units; 1.7 M parameters, 253 M multiply-adds.

    Example:
        >>> preact_resnet110_cifar(order="relu_before_addition").order  # one of the five of figure 4
        'relu_before_addition'
    """
    return PreActResNet((18, 18, 18), False, num_classes, order)


@register_model("classification", PAPER, Reported(params=1.7e6, top1=94.54, source="table 4; top-1 on CIFAR-10"))
def preact_resnet164_cifar(
    num_classes: int = 10, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-164 for CIFAR, of bottleneck units; 1.7 M parameters, 248 M multiply-adds."""
    return PreActResNet((18, 18, 18), True, num_classes, order)


@register_model("classification", PAPER, Reported(params=10.2e6, top1=95.08, source="table 4; top-1 on CIFAR-10"))
def preact_resnet1001_cifar(
    num_classes: int = 10, order: Order = "full_preactivation", weights: str | None = None
) -> PreActResNet:
    """Pre-activation ResNet-1001 for CIFAR, of bottleneck units; 10.3 M parameters, 1.5 G multiply-adds."""
    return PreActResNet((111, 111, 111), True, num_classes, order)
