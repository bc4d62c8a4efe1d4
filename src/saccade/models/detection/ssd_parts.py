"""Parts of SSD and SSDLite: what turns images into feature maps of many sizes, and what predicts from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormActSequence
from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier
from saccade.models.classification.mobilenet_v2 import InvertedResidual, MobileNetV2
from saccade.models.classification.mobilenet_v3 import MobileNetV3, Unit
from saccade.models.classification.vgg import VGG
from saccade.models.detection.dense import map_rows

__all__ = ["EXTRAS_300", "EXTRAS_512", "SSDVGG", "ClassifierFeatures", "ExtraRow", "SSDHead", "normal"]


class ExtraRow(NamedTuple):
    """Extra feature layer behind VGG-16: a 1x1 convolution, then one that makes the feature map smaller (figure 2).

    Args:
        hidden: Channels out of the 1x1.
        out_channels: Channels out.
        kernel_size: Side of the second kernel.
        stride: Stride of the second.
        padding: Padding of the second.
    """

    hidden: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: int


# conv8_2 to conv11_2 at 300 pixels: 10, 5, 3 and 1 cells a side.
EXTRAS_300: Final = (
    ExtraRow(256, 512, 3, 2, 1),
    ExtraRow(128, 256, 3, 2, 1),
    ExtraRow(128, 256, 3, 1, 0),
    ExtraRow(128, 256, 3, 1, 0),
)
# conv8_2 to conv12_2 at 512 pixels: 16, 8, 4, 2 and 1 cells a side.
EXTRAS_512: Final = (
    ExtraRow(256, 512, 3, 2, 1),
    ExtraRow(128, 256, 3, 2, 1),
    ExtraRow(128, 256, 3, 2, 1),
    ExtraRow(128, 256, 3, 2, 1),
    ExtraRow(128, 256, 4, 1, 1),
)
_SMALLEST = 268  # pixels a side: the last extra layers have no cell below that


class SSDVGG(nn.Module):
    """VGG-16 as SSD uses it: L2-normalised conv4_3, atrous fc6, fc7, and extra feature layers (section 3, figure 2).

    Args:
        vgg: VGG-16 without its head; its pool3 and pool5 are changed.
        extras: Rows of the extra layers.

    Attributes:
        out_channels: Channels of each feature map.
        strides: Strides of each; those of unpadded layers are what the canvas of the paper divides to.
        stage_names: Parts from the stem to the last stage.
        neck_names: Parts behind them.

    Example:
        >>> from saccade.models.classification.base import build_backbone
        >>> with torch.device("meta"):
        ...     features = SSDVGG(build_backbone("vgg16"), EXTRAS_300)
        >>> [tuple(one.shape[1:]) for one in features(torch.zeros(1, 3, 300, 300, device="meta"))]
        [(512, 38, 38), (1024, 19, 19), (512, 10, 10), (256, 5, 5), (256, 3, 3), (256, 1, 1)]
    """

    stage_names = (*(f"trunk.{number}" for number in range(5)), "fc6", "fc7")
    neck_names = ("scale", "extras")

    def __init__(self, vgg: VGG, extras: Sequence[ExtraRow]) -> None:
        super().__init__()
        self.trunk = vgg.trunk
        stages = _stages(self.trunk)
        stages[2][-1] = nn.MaxPool2d(2, 2, ceil_mode=True)  # 75 x 75 becomes 38 x 38
        stages[4][-1] = nn.MaxPool2d(3, 1, padding=1)  # pool5 keeps the stride at 16
        self.scale = nn.Parameter(torch.full((512,), 20.0))
        # Every fourth filter and every third pixel of VGG's 7x7, which therefore sees as far with holes of 6.
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=6, dilation=6)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        inputs = (1024, *(row.out_channels for row in extras[:-1]))
        self.extras = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, row.hidden, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(row.hidden, row.out_channels, row.kernel_size, row.stride, row.padding),
                nn.ReLU(inplace=True),
            )
            for channels, row in zip(inputs, extras, strict=True)
        )
        xavier(self.fc6, self.fc7, self.extras)
        self.out_channels = (512, 1024, *(row.out_channels for row in extras))
        self.strides = (8, 16, 32, 64, 100, 300) if extras is EXTRAS_300 else (8, 16, 32, 64, 128, 256, 512)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps conv4_3, fc7, conv8_2 and so on, fine to coarse; images (B, 3, H, W) with H, W >= 268.

        Raises:
            ConfigError: If the canvas is too small for the last extra layer.
        """
        height, width = images.shape[-2:]
        if min(height, width) < _SMALLEST:
            raise ConfigError(
                f"a canvas of {height}x{width} pixels is too small for SSD over VGG-16, whose last layers need "
                f"{_SMALLEST} a side. Train and predict at a larger size (its own is 300 or 512), or choose 'ssd' or "
                "'ssdlite', which take any canvas."
            )
        x, maps = images, []
        for number, stage in enumerate(_stages(self.trunk)):  # (B, 512, 19, 19) at 300 pixels
            for layer in stage:
                if number == 3 and isinstance(layer, nn.MaxPool2d):  # x is conv4_3, (B, 512, 38, 38)
                    # Its values are larger than those of the other maps: each location is scaled to length 20, and the
                    # network learns from there (section 3.1; Liu et al. 2015, ParseNet, equations 1 to 4).
                    maps.append(F.normalize(x) * self.scale.view(1, -1, 1, 1))
                x = layer(x)
        x = F.relu(self.fc7(F.relu(self.fc6(x))))  # (B, 1024, 19, 19)
        maps.append(x)
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        return maps


class ClassifierFeatures(nn.Module):
    """Feature maps of any classifier, and extra ones behind them, each of half the side.

    MobileNets give what the first unit of the next stage expands the map to, 6 times the channels, and their last map
    (Sandler et al. 2018, section 6.2; Howard et al. 2019, section 6.3). Others give what their ``features`` does.

    Args:
        body: A classifier without its head.
        levels: Number of feature maps in all.
        finest_stride: Stride of the finest.
        lite: Extra layers with a depthwise 3x3 between 1x1, in place of a whole one behind a 1x1.

    Raises:
        ConfigError: If the classifier has more maps than there are levels, or none of such a stride.

    Attributes:
        out_channels: Channels of each feature map.
        strides: Stride of each.
        stage_names: Parts from the stem to the last stage.
        neck_names: Parts behind them.

    Example:
        >>> from saccade.models.classification.base import build_backbone
        >>> features = ClassifierFeatures(build_backbone("resnet18"), levels=5, finest_stride=8).eval()
        >>> [tuple(one.shape[1:]) for one in features(torch.zeros(1, 3, 128, 128))]
        [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2), (256, 1, 1)]
    """

    neck_names = ("extras",)

    def __init__(self, body: Classifier, levels: int, finest_stride: int, lite: bool = False) -> None:
        super().__init__()
        own = [index for index, stride in enumerate(body.feature_strides) if stride >= finest_stride]
        if not own or finest_stride < 4:
            raise ConfigError(
                f"finest_stride is {finest_stride}; the backbone's feature maps have the strides "
                f"{', '.join(map(str, body.feature_strides))}. Choose one of them from 4 on."
            )
        if levels <= len(own):
            raise ConfigError(
                f"levels is {levels}; the backbone alone has {len(own)} feature maps from stride {finest_stride} on, "
                f"and at least one is added. Choose {len(own) + 1} or more."
            )
        self.first = own[0]
        self.body = body
        self.stage_names = tuple(f"body.{stage}" for stage in body.stage_names)
        self.tapped = _strided_units(body, own[:-1])  # by index in the trunk of a MobileNet
        channels = [body.feature_channels[index] for index in own]
        if isinstance(body, (MobileNetV2, MobileNetV3)):
            expansions = [cast(nn.Sequential, _inner(body.trunk[index])[0])[0] for index in self.tapped]
            channels[:-1] = [cast(nn.Conv2d, convolution).out_channels for convolution in expansions]
        extra = (512, 256, 256, *[128] * levels)[: levels - len(own)]
        layer = _lite_extra if lite else _extra
        self.extras = nn.ModuleList(layer(before, after) for before, after in pairwise((channels[-1], *extra)))
        self.out_channels = (*channels, *extra)
        last = body.feature_strides[-1]
        self.strides = (
            *(body.feature_strides[index] for index in own),
            *(last * 2**k for k in range(1, len(extra) + 1)),
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps fine to coarse; the side of each extra one is half of the one before, rounded up."""
        maps = self._tap(images) if self.tapped else self.body.features(images)[self.first :]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps

    def _tap(self, x: Tensor) -> list[Tensor]:
        """Expansions of a MobileNet before each halving, and its last map."""
        assert isinstance(self.body, (MobileNetV2, MobileNetV3))
        maps = []
        for index, layer in enumerate(self.body.trunk):
            if index not in self.tapped:
                x = layer(x)
                continue
            for number, part in enumerate(_inner(layer)):  # a unit that strides has no shortcut
                x = part(x)
                if number == 0:
                    maps.append(x)
        return [*maps, x]


class SSDHead(nn.Module):
    """Predictors of SSD: on each feature map one convolution for the classes and one for the boxes (section 2.1).

    Args:
        in_channels: Channels of each feature map.
        boxes: Default boxes at each location of each map.
        num_classes: Classes without background.
        lite: A depthwise 3x3 and a 1x1 convolution in place of each 3x3 (SSDLite).

    Attributes:
        class_layers: Names of the layers that have rows of classes, one a map.

    Example:
        >>> head = SSDHead((16, 8), (4, 6), num_classes=2)
        >>> codes, logits = head([torch.zeros(1, 16, 2, 2), torch.zeros(1, 8, 1, 1)])
        >>> codes.shape, logits.shape  # 2 * 2 * 4 + 6 boxes; background is the first column
        (torch.Size([1, 22, 4]), torch.Size([1, 22, 3]))
    """

    def __init__(self, in_channels: Sequence[int], boxes: Sequence[int], num_classes: int, lite: bool = False) -> None:
        super().__init__()
        self.columns = num_classes + 1
        layer = _lite_predictor if lite else partial(nn.Conv2d, kernel_size=3, padding=1)
        pairs = list(zip(in_channels, boxes, strict=True))
        self.classes = nn.ModuleList(layer(channels, count * self.columns) for channels, count in pairs)
        self.boxes = nn.ModuleList(layer(channels, count * 4) for channels, count in pairs)
        self.class_layers = tuple(f"classes.{level}.1" if lite else f"classes.{level}" for level in range(len(pairs)))
        (normal if lite else xavier)(self)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Box codes (B, A, 4) and logits (B, A, 1 + num_classes), level by level, row by row, cell by cell."""
        pairs = list(zip(maps, self.boxes, self.classes, strict=True))
        codes = torch.cat([map_rows(layer(x), 4) for x, layer, _ in pairs], dim=1)
        logits = torch.cat([map_rows(layer(x), self.columns) for x, _, layer in pairs], dim=1)
        return codes, logits


def xavier(*parts: nn.Module) -> None:
    """Glorot's initialisation of all convolutions, as the paper has it for new layers (section 3)."""
    for module in _convolutions(*parts):
        nn.init.xavier_uniform_(module.weight)


def normal(*parts: nn.Module) -> None:
    """Weights of all convolutions from N(0, 0.03), as the authors of SSDLite have it."""
    for module in _convolutions(*parts):
        nn.init.normal_(module.weight, std=0.03)


def _convolutions(*parts: nn.Module) -> list[nn.Conv2d]:
    found = [module for part in parts for module in part.modules() if isinstance(module, nn.Conv2d)]
    for module in found:
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return found


def _extra(in_channels: int, out_channels: int) -> nn.Sequential:
    extra = nn.Sequential(
        ConvNormActSequence(in_channels, out_channels // 2),
        ConvNormActSequence(out_channels // 2, out_channels, 3, stride=2),
    )
    xavier(extra)
    return extra


def _lite_extra(in_channels: int, out_channels: int) -> nn.Sequential:
    hidden = out_channels // 2
    extra = nn.Sequential(
        ConvNormActSequence(in_channels, hidden, activation=nn.ReLU6),
        ConvNormActSequence(hidden, hidden, 3, stride=2, groups=hidden, activation=nn.ReLU6),
        ConvNormActSequence(hidden, out_channels, activation=nn.ReLU6),
    )
    normal(extra)
    return extra


def _lite_predictor(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        ConvNormActSequence(in_channels, in_channels, 3, groups=in_channels, activation=nn.ReLU6),
        nn.Conv2d(in_channels, out_channels, 1),
    )


def _stages(trunk: nn.Sequential) -> list[nn.Sequential]:
    return cast(list[nn.Sequential], list(trunk))


def _strided_units(body: Classifier, maps: Sequence[int]) -> tuple[int, ...]:
    """Units of a MobileNet that follow its feature maps; none for other networks."""
    if not isinstance(body, (MobileNetV2, MobileNetV3)):
        return ()
    return tuple(body.feature_ends[index] + 1 for index in maps)


def _inner(unit: nn.Module) -> nn.Sequential:
    """Layers of a unit that begins with an expansion."""
    assert isinstance(unit, (InvertedResidual, Unit))
    return unit.block if isinstance(unit, Unit) else unit.conv
