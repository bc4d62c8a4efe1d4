r"""DLA-34 with its upsampling path: the backbone of ``centernet_dla34``.

Paper: Fisher Yu, Dequan Wang, Evan Shelhamer, Trevor Darrell, "Deep Layer Aggregation", CVPR 2018, arXiv 1707.06484.

Where other networks add a few skips between shallow and deep layers, deep layer aggregation joins them in trees: a node
takes the outputs of two blocks, and those of earlier nodes, and mixes them by a 1x1 convolution (hierarchical
aggregation, figure 3). Then the stages are joined from coarse to fine, two at a time, until one fine feature map is
left that all of them went into (iterative aggregation, figures 2 and 4).

    base_layer 7x7        16 x H    x W
    level0     3x3        16 x H    x W
    level1     3x3 / 2    32 x H/2  x W/2
    level2     tree of 2  64 x H/4  x W/4    ---> ida_2 --> 64 x H/4 x W/4
    level3     tree of 4 128 x H/8  x W/8    ---> ida_1 --^
    level4     tree of 4 256 x H/16 x W/16   ---> ida_0 --^
    level5     tree of 2 512 x H/32 x W/32   ----^

    tree of 2:  x -> block -> block -> root      tree of 4:  x -> tree of 2 -> tree of 2, whose root also takes the
                        \------------^                            pooled x and the output of the first

Differences from the paper: none in the network; the upsampling path is the one of CenterNet's authors (arXiv
1904.07850, figure 6c). Their network has 554,728 parameters that nothing reads: the ImageNet classifier ``fc``, and in
each tree of four blocks a projection whose result the inner tree makes again. They are kept, so that the number of
parameters and the files are the authors'; their gradient is zero.

Published weights: https://github.com/xingyizhou/CenterNet (MIT); names are theirs. The backbone's ImageNet weights of
https://github.com/ucbdrive/dla (BSD-3-Clause) are read as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormActSequence

__all__ = ["DLA", "DLAUp", "IDAUp", "Tree"]

_CHANNELS = (16, 32, 64, 128, 256, 512)  # DLA-34, table 1
_LEVELS = (1, 2, 2, 1)  # depth of the trees of levels 2 to 5


class Block(nn.Module):
    """Basic residual block, whose shortcut may be given.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both convolutions.
        stride: Stride of the first.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """(B, in_channels, H, W) and the shortcut (B, out_channels, H / stride, W / stride) to the latter's shape."""
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Root(nn.Module):
    """Aggregation node: a 1x1 convolution over all that it joins, BN, ReLU (equation 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Tensors (B, C_i, H, W) to (B, out_channels, H, W)."""
        out: Tensor = self.relu(self.bn(self.conv(torch.cat(list(inputs), dim=1))))
        return out


class Tree(nn.Module):
    """Hierarchical aggregation of 2 ** depth blocks (equation 3, figure 3).

    Args:
        depth: 1 for two blocks and their root; else the two halves are trees.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first block.
        passes_input: Whether the last root takes the pooled input too.
        joined: Channels of the outputs of other trees that the last root takes.

    Example:
        >>> Tree(2, 8, 16, stride=2, passes_input=True)(torch.zeros(1, 8, 16, 16)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        passes_input: bool = False,
        joined: int = 0,
    ) -> None:
        super().__init__()
        self.depth, self.passes_input = depth, passes_input
        joined += in_channels if passes_input else 0
        self.tree1: nn.Module
        self.tree2: nn.Module
        if depth == 1:
            self.tree1 = Block(in_channels, out_channels, stride)
            self.tree2 = Block(out_channels, out_channels)
            self.root = Root(2 * out_channels + joined, out_channels)
        else:
            self.tree1 = Tree(depth - 1, in_channels, out_channels, stride)
            self.tree2 = Tree(depth - 1, out_channels, out_channels, joined=out_channels + joined)
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        # In a tree of trees nothing reads it: see "Differences from the paper".
        self.project: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.project = ConvNormActSequence(in_channels, out_channels, activation=None)

    def forward(self, x: Tensor, joined: Sequence[Tensor] = ()) -> Tensor:
        """(B, in_channels, H, W), with what its root joins, to (B, out_channels, H / stride, W / stride)."""
        pooled = self.downsample(x)
        joined = (*joined, pooled) if self.passes_input else tuple(joined)
        if self.depth > 1:
            first = self.tree1(x)
            last: Tensor = self.tree2(first, (*joined, first))
            return last
        first = self.tree1(x, self.project(pooled))
        joint: Tensor = self.root((self.tree2(first, first), first, *joined))
        return joint


class DLA(nn.Module):
    """DLA of figure 4 and table 1: stem, two plain stages, four trees.

    Args:
        channels: Of the six levels; those of DLA-34 if not given.
        depths: Depth of the trees of the levels 2 to 5.

    Example:
        >>> [tuple(level.shape[1:]) for level in DLA()(torch.zeros(1, 3, 64, 64))]
        [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    """

    stage_names = ("base_layer", "level0", "level1", "level2", "level3", "level4", "level5")

    def __init__(self, channels: Sequence[int] = _CHANNELS, depths: Sequence[int] = _LEVELS) -> None:
        super().__init__()
        self.out_channels = tuple(channels[2:])
        self.base_layer = ConvNormActSequence(3, channels[0], 7)
        self.level0 = ConvNormActSequence(channels[0], channels[0], 3)
        self.level1 = ConvNormActSequence(channels[0], channels[1], 3, stride=2)
        trees = [
            Tree(depth, channels[level - 1], channels[level], stride=2, passes_input=level > 2)
            for level, depth in enumerate(depths, start=2)
        ]
        self.level2, self.level3, self.level4, self.level5 = trees
        self.fc = nn.Conv2d(channels[-1], 1000, 1)  # as in the files; nothing reads it
        _initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the outputs of levels 2 to 5, at strides 4, 8, 16 and 32."""
        levels = [self.level2(self.level1(self.level0(self.base_layer(images))))]
        for level in (self.level3, self.level4, self.level5):
            levels.append(level(levels[-1]))
        return levels


class IDAUp(nn.Module):
    """Iterative deep aggregation of feature maps into the finest of them (equation 1).

    All maps come to the same channels and size by a 1x1 convolution and a transposed convolution a channel; then each
    is joined with the result so far by a 3x3 convolution.

    Args:
        out_channels: Channels of the result.
        in_channels: Channels of each map, fine to coarse.
        factors: Stride of each map over that of the finest.

    Example:
        >>> maps = [torch.zeros(1, 8, 16, 16), torch.zeros(1, 16, 8, 8)]
        >>> [tuple(joined.shape) for joined in IDAUp(8, (8, 16), (1, 2))(maps)]
        [(1, 8, 16, 16)]
    """

    def __init__(self, out_channels: int, in_channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        self.count = len(in_channels)
        for index, (channels, factor) in enumerate(zip(in_channels, factors, strict=True)):
            same = channels == out_channels
            self.add_module(f"proj_{index}", nn.Identity() if same else ConvNormActSequence(channels, out_channels))
            self.add_module(f"up_{index}", nn.Identity() if factor == 1 else _bilinear(out_channels, factor))
            if index:
                self.add_module(f"node_{index}", ConvNormActSequence(2 * out_channels, out_channels, 3))
        _initialise(self)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps, fine to coarse, to the result after each join, all of the size of the finest."""
        same = [
            self.get_submodule(f"up_{index}")(self.get_submodule(f"proj_{index}")(level))
            for index, level in enumerate(maps)
        ]
        joined = [same[0]]
        for index, level in enumerate(same[1:], start=1):
            joined.append(self.get_submodule(f"node_{index}")(torch.cat((joined[-1], level), dim=1)))
        return joined[1:]


class DLAUp(nn.Module):
    """DLA and its upsampling path: images to one feature map of stride 4.

    Args:
        base: The backbone.

    Example:
        >>> [tuple(level.shape) for level in DLAUp(DLA())(torch.zeros(1, 3, 64, 64))]
        [(1, 64, 16, 16)]
    """

    stacks = 1
    multiple = 32

    def __init__(self, base: DLA) -> None:
        super().__init__()
        self.base = base
        self.dla_up = nn.ModuleDict()
        channels = list(base.out_channels)
        self.out_channels = channels[0]
        # Coarse to fine: level 4 takes level 5 in, then level 3 those two, then level 2 those three.
        for index, level in enumerate(reversed(range(len(channels) - 1))):
            finest = channels[level]
            factors = [1] + [2] * (len(channels) - 1 - level)
            self.dla_up[f"ida_{index}"] = IDAUp(finest, channels[level:], factors)
            channels[level:] = [finest] * len(channels[level:])
        # What nothing reads comes first: training the last stages leaves it out.
        self.stage_names = ("base.fc", *(f"base.{name}" for name in base.stage_names))
        self.neck_names = ("dla_up",)

    def unused_parameters(self) -> list[nn.Parameter]:
        """Parameters of the authors' files that nothing reads."""
        outer = [tree.project for tree in self.base.modules() if isinstance(tree, Tree) and tree.depth > 1]
        return [parameter for part in (*outer, self.base.fc) for parameter in part.parameters()]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W), H and W multiples of 32, to a single feature map (B, C, H / 4, W / 4)."""
        levels = self.base(images)
        for index in range(len(levels) - 1):
            first = len(levels) - 2 - index
            levels[first + 1 :] = self.dla_up[f"ida_{index}"](levels[first:])
        return levels[-1:]


def _bilinear(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Upsampling by a transposed convolution a channel, which begins as bilinear interpolation."""
    up = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, padding=factor // 2, groups=channels, bias=False)
    side = 1 - ((torch.arange(2 * factor) + 0.5) / factor - 1).abs()
    with torch.no_grad():
        up.weight.copy_((side[:, None] * side).expand_as(up.weight))
    return up


def _initialise(module: nn.Module) -> None:
    """Convolutions from N(0, 2 / n), n the inputs of the backward pass, as in the authors' code."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.kernel_size[0] * part.kernel_size[1] * part.out_channels
            nn.init.normal_(part.weight, std=math.sqrt(2 / fan_out))
