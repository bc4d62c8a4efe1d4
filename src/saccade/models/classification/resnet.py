"""ResNet: deep residual networks, 18 to 152 layers.

Paper: Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv 1512.03385.

Stacking more plain layers makes even the *training* error rise. If a few layers have only to learn the difference F(x)
= H(x) - x from their input, doing nothing is easy (F = 0) and depth stops hurting. So every block adds its input to its
output: y = F(x) + x (equation 1), with a 1x1 projection of x where the shape changes, y = F(x) + W x (equation 2,
option B of section 3.3).

    image            3 x H    x W
    conv1 7x7 / 2   64 x H/2  x W/2    C1
    max pool 3x3/2  64 x H/4  x W/4
    layer1          64 x H/4  x W/4    C2      (x 4 channels for the bottleneck nets of 50 layers and more)
    layer2         128 x H/8  x W/8    C3
    layer3         256 x H/16 x W/16   C4
    layer4         512 x H/32 x W/32   C5
    mean over space, fc

    basic block                                bottleneck block
    x -> 3x3 -> BN -> ReLU -> 3x3 -> BN -> +   x -> 1x1 -> BN -> ReLU -> 3x3 -> BN -> ReLU -> 1x1 (x 4) -> BN -> +
    x ---------------------------- (W x) --^   x ------------------------------------------------ (W x) ---------^

Differences from the paper: the layers of ``resnet18``, ``resnet34`` and ``resnet50_v1`` are the paper's. ``resnet50``,
``resnet101`` and ``resnet152`` are the form called v1.5, in which a bottleneck has its stride in its 3x3 instead of its
first 1x1 (which throws away three quarters of its input); that is the form whose weights are published. In all of them
the last BN of every block starts at gamma = 0, so that each block begins as the identity, and the fc layer starts from
N(0, 0.01) (Goyal et al. 2017, arXiv 1706.02677, section 5.1). ``output_stride`` replaces the stride of the last stages
by dilation, for dense models.

Published weights: torchvision and timm use the key names of this file.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "BottleneckV1",
    "ResNet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet50_v1",
    "resnet101",
    "resnet152",
]

PAPER = "He et al., CVPR 2016, arXiv 1512.03385"


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Projection shortcut, W of equation 2; None where the shape stays the same."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Basic residual block: two 3x3 convolutions and a shortcut (figure 5, left).

    Args:
        in_channels: Channels of the input.
        width: Channels of both convolutions.
        stride: Stride of the first convolution.
        dilations: Of the first and of the second convolution; they differ where a stage trades its stride for dilation.

    Example:
        >>> BasicBlock(64, 128, stride=2)(torch.zeros(1, 64, 16, 16)).shape
        torch.Size([1, 128, 8, 8])
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=first, dilation=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=second, dilation=second, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = _projection(in_channels, width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Last BN of the block, whose gamma starts at zero."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + shortcut)  # equations 1 and 2; the second ReLU follows the sum


class Bottleneck(nn.Module):
    """Bottleneck residual block: 1x1, 3x3 and 1x1 convolutions and a shortcut (figure 5, right).

    Args:
        in_channels: Channels of the input.
        width: Channels of the 3x3; the output has four times as many.
        stride: Stride of the 3x3.
        dilations: As in the basic block; the only 3x3 here takes the first.

    Example:
        >>> Bottleneck(256, 128, stride=2)(torch.zeros(1, 256, 16, 16)).shape
        torch.Size([1, 512, 8, 8])
    """

    expansion = 4
    stride_in_1x1 = False
    groups = 1  # of the 3x3, each with ``group_width`` channels in 64 of the width (ResNeXt)
    group_width = 64

    def __init__(self, in_channels: int, width: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        out_channels = width * self.expansion
        inner = width * self.group_width // 64 * self.groups
        stride_1x1, stride_3x3 = (stride, 1) if self.stride_in_1x1 else (1, stride)
        dilation = dilations[0]
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride_1x1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(
            inner, inner, 3, stride_3x3, padding=dilation, dilation=dilation, groups=self.groups, bias=False
        )
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Last BN of the block, whose gamma starts at zero."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, 4 * width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + shortcut)


class BottleneckV1(Bottleneck):
    """Bottleneck as in the paper: the first 1x1 convolution carries the stride.

    Example:
        >>> block = BottleneckV1(256, 128, stride=2)
        >>> block.conv1.stride, block.conv2.stride
        ((2, 2), (1, 1))
    """

    stride_in_1x1 = True


class ResNet(Classifier):
    """ResNet classifier: stem, four stages of residual blocks, global mean, fc (table 1).

    Args:
        block: ``BasicBlock``, ``Bottleneck`` or ``BottleneckV1``.
        depths: Blocks in each of the four stages.
        num_classes: Outputs of the fc layer.
        output_stride: Stride of C5: 32, or 16 or 8, where the last one or two stages keep their resolution and dilate
            by 2 (and 4) instead.

    Raises:
        ConfigError: If ``output_stride`` is none of these.

    Example:
        >>> model = ResNet(BasicBlock, (1, 1, 1, 1), output_stride=16)  # the last stage dilated
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 4, 4)]
    """

    stage_names = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    head_names = ("fc",)
    class_rows = linear_rows("fc")
    input_spec = IMAGENET_SPEC

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: Sequence[int],
        num_classes: int = 1000,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"ResNet has no output_stride {output_stride}; choose 8, 16 or 32.")
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)

        in_channels, stride, dilation = 64, 4, 1
        stages, strides = [], [2]
        for number, depth in enumerate(depths, start=1):
            wanted = 1 if number == 1 else 2
            step = wanted if stride * wanted <= output_stride else 1
            first_dilation, dilation = dilation, dilation * wanted // step
            width = 64 * 2 ** (number - 1)
            blocks: list[nn.Module] = [block(in_channels, width, step, (first_dilation, dilation))]
            in_channels = width * block.expansion
            blocks += [block(in_channels, width, 1, (dilation, dilation)) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            stride *= step
            strides.append(stride)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        self.feature_channels = (64, *(64 * 2**number * block.expansion for number in range(4)))
        self.feature_strides = tuple(strides)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Section 3.4, after He et al. 2015 (arXiv 1502.01852): variance 2 / fan, which keeps the size of
                # activations through ReLU.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, (BasicBlock, Bottleneck)):
                nn.init.zeros_(module.last_norm.weight)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps C1 to C5, of ``feature_strides``; images (B, 3, H, W)."""
        c1 = self.relu(self.bn1(self.conv1(images)))  # (B, 64, H/2, W/2)
        maps = [c1]
        x = self.maxpool(c1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        c5 = self.features(images)[-1]
        return {"logits": self.fc(self.avgpool(c5).flatten(1))}


@register_model("classification", PAPER, Reported(macs=1.8e9, top1=72.12, source="table 1; ten crops, table 2"))
def resnet18(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNet-18, of basic blocks; 11.7 M parameters, 1.8 G multiply-adds.

    Example:
        >>> resnet18(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, output_stride)


@register_model("classification", PAPER, Reported(macs=3.6e9, top1=75.48, source="table 1; ten crops, table 3"))
def resnet34(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNet-34, of basic blocks; 21.8 M parameters, 3.7 G multiply-adds."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, output_stride)


@register_model("classification", PAPER, Reported(macs=3.8e9, top1=77.15, source="table 1; ten crops, table 3"))
def resnet50(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNet-50 v1.5, of bottlenecks; 25.6 M parameters, 4.1 G multiply-adds.

    Example:
        >>> model = resnet50(num_classes=3, output_stride=8)  # for dense models
        >>> model.feature_channels, model.feature_strides
        ((64, 256, 512, 1024, 2048), (2, 4, 8, 8, 8))
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, output_stride)


@register_model("classification", PAPER, Reported(macs=3.8e9, top1=77.15, source="table 1; ten crops, table 3"))
def resnet50_v1(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNet-50 as in the paper, of bottlenecks; 25.6 M parameters, 3.9 G multiply-adds."""
    return ResNet(BottleneckV1, (3, 4, 6, 3), num_classes, output_stride)


@register_model("classification", PAPER, Reported(macs=7.6e9, top1=78.25, source="table 1; ten crops, table 3"))
def resnet101(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNet-101 v1.5, of bottlenecks; 44.5 M parameters, 7.8 G multiply-adds."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, output_stride)


@register_model("classification", PAPER, Reported(macs=11.3e9, top1=78.57, source="table 1; ten crops, table 3"))
def resnet152(num_classes: int = 1000, output_stride: int = 32, weights: str | None = None) -> ResNet:
    """ResNet-152 v1.5, of bottlenecks; 60.2 M parameters, 11.5 G multiply-adds."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, output_stride)
