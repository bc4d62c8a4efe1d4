"""GoogLeNet: wide modules of several kernel sizes, kept cheap by 1x1 convolutions.

Paper: Christian Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv 1409.4842.

The right kernel size differs from location to location, so an inception module runs 1x1, 3x3, 5x5 and a pooling side by
side and concatenates their outputs. That would be far too much work if 1x1 convolutions did not first reduce the
channels that the large kernels see. Two small classifiers halfway up push gradients into the lower layers while the
network is trained, and are thrown away afterwards; the mean over space replaces AlexNet's large fully connected layers.

    image              3 x 224 x 224
    conv 7x7 / 2      64 x 112 x 112
    pool 3x3 / 2, LRN 64 x  56 x  56
    conv 1x1, 3x3    192 x  56 x  56, LRN
    pool 3x3 / 2     192 x  28 x  28
    inception 3a, 3b 480 x  28 x  28
    pool 3x3 / 2     480 x  14 x  14
    inception 4a-4e  832 x  14 x  14       auxiliary classifiers on 4a and 4d
    pool 3x3 / 2     832 x   7 x   7
    inception 5a, 5b 1024 x  7 x   7
    mean over space, dropout 0.4, fc 1000

    inception:  x -> 1x1 --------------->|
                x -> 1x1 -> 3x3 -------->| concatenated
                x -> 1x1 -> 5x5 -------->|
                x -> max pool 3x3 -> 1x1 >|

Differences from the paper: none in the layers of ``googlenet``. It does not print an initialisation; weights start from
Glorot's and biases from 0.2, as in the replication that Caffe publishes. ``googlenet_bn`` is the form whose weights
torchvision publishes: BatchNorm in place of biases and LRN, a second 3x3 where the paper has the 5x5, a 2x2 window in
the last pooling, dropout 0.2 at the end, and auxiliary classifiers that average to 4 x 4 locations by equal parts
rather than by overlapping windows of 5 at stride 3. Auxiliary classifiers are no part of ``forward``; they add their
terms in ``loss``.

Published weights: torchvision, for ``googlenet_bn``; trained on pixels of -1..1, as its row of the table states.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.local_response_norm import LocalResponseNorm
from saccade.models.base import Outputs, Targets
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.batch import pad_targets
from saccade.structures.class_rows import linear_rows

__all__ = ["AuxiliaryClassifier", "GoogLeNet", "Inception", "googlenet", "googlenet_bn"]

PAPER = "Szegedy et al., CVPR 2015, arXiv 1409.4842"

# Table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj.
MODULES: Final = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Convolution(nn.Module):
    """Convolution that keeps the size, with a bias or a BatchNorm, and ReLU.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Odd side of the kernel.
        stride: Stride of the kernel.
        batch_norm: BatchNorm in place of the bias.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out = self.conv(x)
        return F.relu(out if self.bn is None else self.bn(out), inplace=True)


class Inception(nn.Module):
    """Inception module: 1x1, 3x3, 5x5 and pooling branches side by side, concatenated (figure 2b).

    Args:
        in_channels: Channels in.
        widths: A row of ``MODULES``.
        batch_norm: Whether to build the form with BatchNorm, whose third branch has a 3x3.

    Example:
        >>> Inception(192, MODULES["3a"])(torch.zeros(1, 192, 28, 28)).shape
        torch.Size([1, 256, 28, 28])
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], batch_norm: bool = False) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, projection = widths
        convolution = partial(Convolution, batch_norm=batch_norm)
        self.branch1 = convolution(in_channels, one, 1)
        self.branch2 = nn.Sequential(convolution(in_channels, reduce3, 1), convolution(reduce3, three, 3))
        large = 3 if batch_norm else 5
        self.branch3 = nn.Sequential(convolution(in_channels, reduce5, 1), convolution(reduce5, five, large))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), convolution(in_channels, projection, 1))
        self.out_channels = one + three + five + projection

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, 1x1 + 3x3 + 5x5 + pool proj, H, W)."""
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), dim=1)


class AuxiliaryClassifier(nn.Module):
    """Auxiliary classifier: pooling to 4 x 4, 1x1 convolution, two fully connected layers (section 5).

    Args:
        in_channels: Channels in.
        num_classes: Outputs.
        batch_norm: Whether to build the form with BatchNorm.

    Example:
        >>> AuxiliaryClassifier(512, num_classes=3)(torch.zeros(2, 512, 14, 14)).shape
        torch.Size([2, 3])
    """

    def __init__(self, in_channels: int, num_classes: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.overlapping = not batch_norm
        self.conv = Convolution(in_channels, 128, 1, batch_norm=batch_norm)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, 14, 14) -> logits (B, num_classes); other sizes are pooled to 4 x 4."""
        if self.overlapping and min(x.shape[2:]) >= 5:
            x = F.avg_pool2d(x, 5, 3)
        x = self.conv(F.adaptive_avg_pool2d(x, 4))  # (B, 128, 4, 4)
        out: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))
        return out


class GoogLeNet(Classifier):
    """GoogLeNet classifier: nine inception modules and two auxiliary classifiers (table 1).

    Args:
        num_classes: Outputs of all three classifiers.
        batch_norm: Whether to build the form with BatchNorm, which torchvision publishes.
        dropout: Dropout rate before the last layer.

    Attributes:
        auxiliary_weight: Weight of the auxiliary classifiers' losses (section 5).

    Example:
        >>> model = GoogLeNet(num_classes=3)
        >>> images, targets = torch.zeros(2, 3, 64, 64), [{"labels": torch.tensor(0)}, {"labels": torch.tensor(2)}]
        >>> sorted(model.loss(images, targets))
        ['auxiliary1', 'auxiliary2', 'classification']
    """

    stage_names = ("conv1", "conv2", "conv3", *(f"inception{name}" for name in MODULES))
    head_names = ("fc",)
    auxiliary_heads = ("aux1", "aux2")
    class_rows = linear_rows("fc", "aux1.fc2", "aux2.fc2")
    unused_by_features = ("fc", "aux1", "aux2")
    input_spec = IMAGENET_SPEC
    feature_channels = (64, 192, 480, 832, 1024)
    feature_strides = (2, 4, 8, 16, 32)
    auxiliary_weight: float = 0.3

    def __init__(self, num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.4) -> None:
        super().__init__()
        self.num_classes = num_classes
        convolution = partial(Convolution, batch_norm=batch_norm)
        self.norm = nn.Identity() if batch_norm else LocalResponseNorm()
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.last_pool = nn.MaxPool2d(2, 2, ceil_mode=True) if batch_norm else self.pool
        self.conv1 = convolution(3, 64, 7, 2)
        self.conv2 = convolution(64, 64, 1)
        self.conv3 = convolution(64, 192, 3)
        channels = 192
        taps = {}
        for name, widths in MODULES.items():
            module = Inception(channels, widths, batch_norm)
            channels = taps[name] = module.out_channels
            self.add_module(f"inception{name}", module)
        self.aux1 = AuxiliaryClassifier(taps["4a"], num_classes, batch_norm)
        self.aux2 = AuxiliaryClassifier(taps["4d"], num_classes, batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.constant_(layer.bias, 0.2)
        for last in (self.aux1.fc2, self.aux2.fc2, self.fc):
            nn.init.zeros_(last.bias)

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs of conv1, conv3 and every module by name."""
        maps = {"1": self.conv1(images)}  # (B, 64, H/2, W/2)
        x = self.norm(self.pool(maps["1"]))
        x = maps["2"] = self.norm(self.conv3(self.conv2(x)))  # (B, 192, H/4, W/4)
        for name in MODULES:
            if name in ("3a", "4a", "5a"):
                x = self.last_pool(x) if name == "5a" else self.pool(x)
            x = maps[name] = self.get_submodule(f"inception{name}")(x)
        return maps

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of conv1, conv3, 3b, 4e and 5b, at strides 2 to 32; images (B, 3, H, W)."""
        maps = self._maps(images)
        return [maps[name] for name in ("1", "2", "3b", "4e", "5b")]

    def _classify(self, last: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(last.mean((2, 3))))
        return logits

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self._classify(self._maps(images)["5b"])}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Classification loss, and those of the two auxiliary classifiers at ``auxiliary_weight`` (section 5)."""
        labels = pad_targets(targets)["labels"]
        maps = self._maps(images)
        logits = {
            "classification": (1.0, self._classify(maps["5b"])),
            "auxiliary1": (self.auxiliary_weight, self.aux1(maps["4a"])),
            "auxiliary2": (self.auxiliary_weight, self.aux2(maps["4d"])),
        }
        return {name: weight * self.criterion(value.float(), labels) for name, (weight, value) in logits.items()}


@register_model("classification", PAPER, Reported(params=6.8e6, macs=1.5e9, source="table 1, without auxiliary heads"))
def googlenet(num_classes: int = 1000, dropout: float = 0.4, weights: str | None = None) -> GoogLeNet:
    """GoogLeNet as in the paper; 13.4 M parameters, 7.0 M without the auxiliary classifiers, 1.6 G multiply-adds.

    Example:
        >>> googlenet(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return GoogLeNet(num_classes, False, dropout)


@register_model("classification", PAPER)
def googlenet_bn(num_classes: int = 1000, dropout: float = 0.2, weights: str | None = None) -> GoogLeNet:
    """GoogLeNet with BatchNorm, as torchvision publishes it; 13.0 M parameters (6.6 M), 1.5 G multiply-adds."""
    return GoogLeNet(num_classes, True, dropout)
