"""ResNets for images of 32 x 32 pixels, 20 to 1202 layers.

Paper: Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv 1512.03385, section 4.2.

The networks with which the paper studies depth itself: 6 n + 2 layers, three stages of n basic blocks with 16, 32 and
64 channels, and nothing else. At 110 layers they still gain; at 1202 they still train, and overfit.

    image         3 x 32 x 32
    3x3, BN      16 x 32 x 32
    n blocks     16 x 32 x 32
    n blocks     32 x 16 x 16
    n blocks     64 x  8 x  8
    mean over space, fc 10

Differences from the paper: shortcuts that change the shape are projections (option B) unless ``shortcut="padding"``,
which is the paper's choice for these networks (option A): every second pixel, and zeros for the channels that are new.
The paper does not specify where the zeros go; they go on both sides of the channels, as in the public replication whose
checkpoints are in use. Parameters of the 20-layer network: 269,722 with option A, 272,474 with projections.

Published weights: ``cifar10_padding`` is that replication's
(https://github.com/akamaster/pytorch_resnet_cifar10, BSD-2-Clause), which sets ``shortcut="padding"`` and the mean and
deviation of ImageNet, with which it was trained. ``cifar10`` and ``cifar100``, of 20 to 56 layers, are those of
https://github.com/chenyaofo/pytorch-cifar-models (BSD-3-Clause), with projections and a normalisation of their own.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier
from saccade.models.classification.resnet import BasicBlock
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

__all__ = [
    "CIFAR_SPEC",
    "CifarResNet",
    "PaddedShortcut",
    "resnet20_cifar",
    "resnet32_cifar",
    "resnet44_cifar",
    "resnet56_cifar",
    "resnet110_cifar",
    "resnet1202_cifar",
]

PAPER = "He et al., CVPR 2016, arXiv 1512.03385 (CIFAR)"
SOURCE = "table 6; top-1 on CIFAR-10"

# Mean and standard deviation of CIFAR-10's training pixels.
CIFAR_SPEC = InputSpec(size=(32, 32), mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))

Shortcut = Literal["projection", "padding"]


class PaddedShortcut(nn.Module):
    """Parameter-free shortcut (option A of section 3.3): every second pixel, zeros for the new channels.

    Args:
        more: Number of new channels, even.

    Example:
        >>> PaddedShortcut(16)(torch.ones(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C + more, H / 2, W / 2)."""
        side = self.more // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))


class CifarResNet(Classifier):
    """ResNet for images of 32 x 32 pixels: three stages of ``depth`` basic blocks.

    Args:
        depth: n; the network has 6 n + 2 layers.
        num_classes: Outputs of the fc layer.
        shortcut: Where the shape changes: ``projection`` (option B) or ``padding`` (option A).

    Raises:
        ConfigError: If there is no such shortcut.

    Example:
        >>> model = CifarResNet(depth=1)  # 8 layers
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 32, 32))]
        [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    """

    stage_names = ("conv1", "bn1", "layer1", "layer2", "layer3")
    head_names = ("linear",)
    class_rows = linear_rows("linear")
    input_spec = CIFAR_SPEC
    feature_channels = (16, 32, 64)
    feature_strides = (1, 2, 4)

    def __init__(self, depth: int, num_classes: int = 10, shortcut: Shortcut = "projection") -> None:
        super().__init__()
        if shortcut not in ("projection", "padding"):
            raise ConfigError(f"shortcut is '{shortcut}'; it must be 'projection' or 'padding'.")
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = []
        channels = 16
        for width in self.feature_channels:
            first = BasicBlock(channels, width, stride=1 if width == channels else 2)
            if width != channels and shortcut == "padding":
                first.downsample = PaddedShortcut(width - channels)
            stages.append(nn.Sequential(first, *(BasicBlock(width, width) for _ in range(depth - 1))))
            channels = width
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):  # He et al. 2015, arXiv 1502.01852
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.linear.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the three stages, at strides 1, 2 and 4; images (B, 3, H, W)."""
        x = F.relu(self.bn1(self.conv1(images)))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.linear(self.features(images)[-1].mean((2, 3)))}


@register_model("classification", PAPER, Reported(params=0.27e6, top1=91.25, source=SOURCE))
def resnet20_cifar(num_classes: int = 10, shortcut: Shortcut = "projection", weights: str | None = None) -> CifarResNet:
    """ResNet-20 for CIFAR; 0.27 M parameters, 41 M multiply-adds.

    Example:
        >>> resnet20_cifar()(torch.zeros(1, 3, 32, 32))["logits"].shape
        torch.Size([1, 10])
    """
    return CifarResNet(3, num_classes, shortcut)


@register_model("classification", PAPER, Reported(params=0.46e6, top1=92.49, source=SOURCE))
def resnet32_cifar(num_classes: int = 10, shortcut: Shortcut = "projection", weights: str | None = None) -> CifarResNet:
    """ResNet-32 for CIFAR; 0.47 M parameters, 69 M multiply-adds."""
    return CifarResNet(5, num_classes, shortcut)


@register_model("classification", PAPER, Reported(params=0.66e6, top1=92.83, source=SOURCE))
def resnet44_cifar(num_classes: int = 10, shortcut: Shortcut = "projection", weights: str | None = None) -> CifarResNet:
    """ResNet-44 for CIFAR; 0.66 M parameters, 97 M multiply-adds."""
    return CifarResNet(7, num_classes, shortcut)


@register_model("classification", PAPER, Reported(params=0.85e6, top1=93.03, source=SOURCE))
def resnet56_cifar(num_classes: int = 10, shortcut: Shortcut = "projection", weights: str | None = None) -> CifarResNet:
    """ResNet-56 for CIFAR; 0.86 M parameters, 126 M multiply-adds."""
    return CifarResNet(9, num_classes, shortcut)


@register_model("classification", PAPER, Reported(params=1.7e6, top1=93.57, source=SOURCE))
def resnet110_cifar(
    num_classes: int = 10, shortcut: Shortcut = "projection", weights: str | None = None
) -> CifarResNet:
    """ResNet-110 for CIFAR; 1.7 M parameters, 253 M multiply-adds.

    Example:
        >>> model = resnet110_cifar(shortcut="padding")  # option A has no parameters in its shortcuts
        >>> sum(parameter.numel() for parameter in model.parameters())
        1727962
    """
    return CifarResNet(18, num_classes, shortcut)


@register_model("classification", PAPER, Reported(params=19.4e6, top1=92.07, source=SOURCE))
def resnet1202_cifar(
    num_classes: int = 10, shortcut: Shortcut = "projection", weights: str | None = None
) -> CifarResNet:
    """ResNet-1202 for CIFAR; 19.4 M parameters, 2.8 G multiply-adds."""
    return CifarResNet(200, num_classes, shortcut)
