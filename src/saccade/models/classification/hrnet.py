"""HRNet: high resolution from the first layer to the last.

Paper: Jingdong Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020, arXiv
1908.07919 (first: Ke Sun, Bin Xiao, Dong Liu, Jingdong Wang, CVPR 2019, arXiv 1902.09212).

Other networks downsample to coarse feature maps and, for dense tasks, upsample them again. HRNet keeps a feature map at
a quarter of the image's resolution from beginning to end, adds coarser ones in parallel stage by stage, and fuses all
of them again and again: each feature map becomes the sum of all, resampled to its size.

    image           3 x 224 x 224
    two 3x3 / 2    64 x 56 x 56
    4 bottlenecks 256 x 56 x 56
    stage 2         w x 56 x 56   2w x 28 x 28                                   1 module
    stage 3         w x 56 x 56   2w x 28 x 28   4w x 14 x 14                    4 modules
    stage 4         w x 56 x 56   2w x 28 x 28   4w x 14 x 14   8w x 7 x 7       3 modules
    head          128, 256, 512, 1024 channels; each added to the next after a 3x3 / 2; 1x1 2048; mean; fc 1000

    module: 4 basic blocks in each branch, then fusion (section 3.2):
        branch r gets  sum over x of  x itself               where x = r
                                      3x3 / 2, (r - x) times where x is finer
                                      1x1, nearest upsampling where x is coarser

Differences from the paper: none in the layers; w is 18, 30, 32, 40, 44, 48 or 64, and ``hrnet_w18_small`` is the
authors' small network of their code. Figures of operations in the authors' tables are multiply-adds divided by 2^30.

Published weights: timm, converted from the authors', under the authors' names, which these are.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.classification.resnet import BasicBlock, Bottleneck
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "HRModule", "HRNet", "HRShape", "hrnet_w18", "hrnet_w18_small", "hrnet_w30", "hrnet_w32", "hrnet_w40",
    "hrnet_w44", "hrnet_w48", "hrnet_w64",
]  # fmt: skip

PAPER = "Wang et al., TPAMI 2020, arXiv 1908.07919"


@dataclass(frozen=True)
class HRShape:
    """Sizes of an HRNet: width, modules a stage, blocks a branch.

    Args:
        width: Channels of the finest branch (w).
        modules: Modules of stages 2, 3 and 4.
        blocks: Basic blocks in each branch of a module.
        first_blocks: Bottlenecks of stage 1.
        first_width: Channels of the 3x3 convolutions in these bottlenecks.

    Example:
        >>> HRNet(HRShape(width=18, modules=(1, 1, 1), blocks=1)).feature_channels
        (18, 36, 72, 144)
    """

    width: int
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4
    first_blocks: int = 4
    first_width: int = 64


def _convolution(in_channels: int, out_channels: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _fusion(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    """Layers from branch ``source`` to branch ``target``, before upsampling."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(nn.Conv2d(widths[source], widths[target], 1, bias=False), nn.BatchNorm2d(widths[target]))
    down = [_convolution(widths[source], widths[source], 2) for _ in range(target - source - 1)]
    return nn.Sequential(*down, _convolution(widths[source], widths[target], 2, relu=False))


class HRModule(nn.Module):
    """HRNet module: basic blocks in each branch, then fusion of all branches (figure 3).

    Args:
        widths: Channels of the branches, fine to coarse.
        blocks: Basic blocks in each branch.

    Attributes:
        upsampling: How a coarser branch comes to the size of a finer one, as arguments of ``F.interpolate``; the
            authors' networks for segmentation have bilinear upsampling here.

    Example:
        >>> module = HRModule(widths=(8, 16), blocks=1)
        >>> [tuple(one.shape) for one in module([torch.zeros(1, 8, 16, 16), torch.zeros(1, 16, 8, 8)])]
        [(1, 8, 16, 16), (1, 16, 8, 8)]
    """

    upsampling: Mapping[str, Any] = {"mode": "nearest"}

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in widths
        )
        numbers = range(len(widths))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fusion(widths, source, target) for source in numbers) for target in numbers
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Feature maps of the branches, fine to coarse -> the same shapes."""
        maps = [branch(one) for branch, one in zip(self.branches, maps, strict=True)]
        fused = []
        for target, layers in enumerate(self.fuse_layers):
            assert isinstance(layers, nn.ModuleList)
            size = maps[target].shape[2:]
            total = None
            for source, layer in enumerate(layers):
                part = layer(maps[source])
                if source > target:
                    part = F.interpolate(part, size, **self.upsampling)
                total = part if total is None else total + part
            assert total is not None
            fused.append(F.relu(total))
        return fused


class HRNet(Classifier):
    """HRNet classifier: stem, four stages of parallel branches, classification head (section 3).

    Args:
        shape: Sizes of the network.
        num_classes: Outputs of the fc layer.

    Example:
        >>> model = HRNet(HRShape(width=18, modules=(1, 1, 1), blocks=1))
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(18, 16, 16), (36, 8, 8), (72, 4, 4), (144, 2, 2)]
    """

    stage_names = (
        "conv1", "bn1", "conv2", "bn2", "layer1", "transition1", "stage2", "transition2", "stage3", "transition3",
        "stage4", "incre_modules", "downsamp_modules", "final_layer",
    )  # fmt: skip
    head_names = ("classifier",)
    class_rows = linear_rows("classifier")
    unused_by_features = ("incre_modules", "downsamp_modules", "final_layer", "classifier")
    input_spec = IMAGENET_SPEC
    feature_strides: tuple[int, ...] = (4, 8, 16, 32)

    def __init__(self, shape: HRShape, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(3, 64, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        first = 4 * shape.first_width
        units = [Bottleneck(64 if number == 0 else first, shape.first_width) for number in range(shape.first_blocks)]
        self.layer1 = nn.Sequential(*units)
        widths = tuple(shape.width * 2**number for number in range(4))
        self.transition1 = nn.ModuleList(
            [_convolution(first, widths[0]), nn.Sequential(_convolution(first, widths[1], 2))]
        )
        self.stage2 = _stage(widths[:2], shape.modules[0], shape.blocks)
        self.transition2 = _new_branch(widths[:3])
        self.stage3 = _stage(widths[:3], shape.modules[1], shape.blocks)
        self.transition3 = _new_branch(widths)
        self.stage4 = _stage(widths, shape.modules[2], shape.blocks)
        self.feature_channels = widths
        # Head: every branch to 32, 64, 128, 256 times 4 channels, joined from fine to coarse.
        hidden = (32, 64, 128, 256)
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(width, inner)) for width, inner in zip(widths, hidden, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(4 * finer, 4 * coarser, 3, 2, padding=1),
                nn.BatchNorm2d(4 * coarser),
                nn.ReLU(inplace=True),
            )
            for finer, coarser in itertools.pairwise(hidden)
        )
        self.final_layer = nn.Sequential(
            nn.Conv2d(4 * hidden[-1], 2048, 1), nn.BatchNorm2d(2048), nn.ReLU(inplace=True)
        )
        self.classifier = nn.Linear(2048, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the four branches, at strides 4 to 32; images (B, 3, H, W)."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))  # (B, 64, H/4, W/4)
        x = self.layer1(x)
        maps: list[Tensor] = self.stage2([branch(x) for branch in self.transition1])
        for transition, stage in ((self.transition2, self.stage3), (self.transition3, self.stage4)):
            maps = stage([*maps, transition[-1](maps[-1])])
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        maps = self.features(images)
        x = self.incre_modules[0](maps[0])
        for down, widen, one in zip(self.downsamp_modules, self.incre_modules[1:], maps[1:], strict=True):
            x = widen(one) + down(x)
        return {"logits": self.classifier(self.final_layer(x).mean((2, 3)))}


def _stage(widths: tuple[int, ...], modules: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(HRModule(widths, blocks) for _ in range(modules)))


def _new_branch(widths: tuple[int, ...]) -> nn.ModuleList:
    """Transition: old branches stay as they are; the new one is a strided 3x3 of the coarsest."""
    old = [nn.Identity() for _ in widths[:-1]]
    return nn.ModuleList([*old, nn.Sequential(_convolution(widths[-2], widths[-1], 2))])


@register_model("classification", PAPER)
def hrnet_w18_small(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W18-Small of the authors' code, one module a stage; 13.2 M parameters, 1.6 G multiply-adds.

    Example:
        >>> hrnet_w18_small(num_classes=3).eval()(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return HRNet(HRShape(16, (1, 1, 1), 2, 1, 32), num_classes)


@register_model(
    "classification",
    PAPER,
    Reported(params=21.3e6, macs=3.99 * 2**30, top1=76.8, source="the authors' table of ImageNet networks"),
)
def hrnet_w18(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W18; 21.3 M parameters, 4.3 G multiply-adds."""
    return HRNet(HRShape(18), num_classes)


@register_model(
    "classification",
    PAPER,
    Reported(params=37.7e6, macs=7.55 * 2**30, top1=78.2, source="the authors' table of ImageNet networks"),
)
def hrnet_w30(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W30; 37.7 M parameters, 8.1 G multiply-adds."""
    return HRNet(HRShape(30), num_classes)


@register_model(
    "classification",
    PAPER,
    Reported(params=41.2e6, macs=8.31 * 2**30, top1=78.5, source="the authors' table of ImageNet networks"),
)
def hrnet_w32(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W32; 41.2 M parameters, 8.9 G multiply-adds."""
    return HRNet(HRShape(32), num_classes)


@register_model(
    "classification",
    PAPER,
    Reported(params=57.6e6, macs=11.8 * 2**30, top1=78.9, source="the authors' table of ImageNet networks"),
)
def hrnet_w40(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W40; 57.6 M parameters, 12.7 G multiply-adds."""
    return HRNet(HRShape(40), num_classes)


@register_model(
    "classification",
    PAPER,
    Reported(params=67.1e6, macs=13.9 * 2**30, top1=78.9, source="the authors' table of ImageNet networks"),
)
def hrnet_w44(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W44; 67.1 M parameters, 14.9 G multiply-adds."""
    return HRNet(HRShape(44), num_classes)


@register_model(
    "classification",
    PAPER,
    Reported(params=77.5e6, macs=16.1 * 2**30, top1=79.3, source="the authors' table of ImageNet networks"),
)
def hrnet_w48(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W48; 77.5 M parameters, 17.3 G multiply-adds."""
    return HRNet(HRShape(48), num_classes)


@register_model(
    "classification",
    PAPER,
    Reported(params=128.1e6, macs=26.9 * 2**30, top1=79.5, source="the authors' table of ImageNet networks"),
)
def hrnet_w64(num_classes: int = 1000, weights: str | None = None) -> HRNet:
    """HRNet-W64; 128.1 M parameters, 28.9 G multiply-adds."""
    return HRNet(HRShape(64), num_classes)
