r"""Hourglass-104: the backbone of ``centernet_hourglass104``.

Papers: Alejandro Newell, Kaiyu Yang, Jia Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, arXiv
1603.06937; in this size, Hei Law, Jia Deng, "CornerNet: Detecting Objects as Paired Keypoints", ECCV 2018, arXiv
1808.01244, section 3.5.

An hourglass halves the resolution five times and doubles it five times, and at every size adds the feature map of its
downsampling path to that of its upsampling path. Two of them are stacked: the second refines the feature map of the
first, and the whole loss is applied to the outputs of both (intermediate supervision).

    image           3 x H   x W
    pre           256 x H/4 x W/4    7x7 / 2, then a residual block / 2
    kps.0         256 x H/4 x W/4    hourglass, channels 256 256 384 384 384 512 down to stride 128
    cnvs.0        256 x H/4 x W/4    3x3                                           --> heads, in training only
    inters.0      256 x H/4 x W/4    1x1 of the input plus 1x1 of cnvs.0, ReLU, residual block
    kps.1, cnvs.1                    the same again                                --> heads

    hourglass of depth n:   x -> up1 (blocks) ---------------------------------------> + -> out
                             \-> low1 (block / 2, block) -> depth n - 1 -> low3 -> x 2 --^

Differences from the papers: strided residual blocks instead of pooling, and two residual blocks a size, are
CornerNet's, whose pooling of corners CenterNet leaves out.

Published weights: https://github.com/xingyizhou/CenterNet (MIT); names are theirs, but for the shortcuts, which are
called ``skip`` there and ``downsample`` here, as in ResNet, whose basic block this is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.conv_norm_act import ConvNormAct, ConvNormActSequence
from saccade.models.classification.resnet import BasicBlock

__all__ = ["Hourglass", "StackedHourglass"]

_CHANNELS = (256, 256, 384, 384, 384, 512)
_BLOCKS = (2, 2, 2, 2, 2, 4)
_Conv = functools.partial(ConvNormAct, activation=nn.ReLU)


class Hourglass(nn.Module):
    """Hourglass: downsampling and upsampling with a shortcut at every size (Newell et al. 2016, figure 3).

    Args:
        channels: At the size of the input, and after each halving.
        blocks: Residual blocks at each of these sizes.

    Example:
        >>> Hourglass(channels=(8, 8, 16), blocks=(1, 1, 2))(torch.zeros(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, channels: Sequence[int] = _CHANNELS, blocks: Sequence[int] = _BLOCKS) -> None:
        super().__init__()
        own, lower, count = channels[0], channels[1], blocks[0]
        self.up1 = nn.Sequential(*(BasicBlock(own, own) for _ in range(count)))
        self.low1 = nn.Sequential(
            BasicBlock(own, lower, stride=2), *(BasicBlock(lower, lower) for _ in range(count - 1))
        )
        self.low2: nn.Module
        if len(channels) > 2:
            self.low2 = Hourglass(channels[1:], blocks[1:])
        else:
            self.low2 = nn.Sequential(*(BasicBlock(lower, lower) for _ in range(blocks[1])))
        self.low3 = nn.Sequential(*(BasicBlock(lower, lower) for _ in range(count - 1)), BasicBlock(lower, own))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), H and W multiples of 2 ** (sizes - 1), to the same shape."""
        low = self.low3(self.low2(self.low1(x)))
        out: Tensor = self.up1(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")
        return out


class StackedHourglass(nn.Module):
    """Hourglasses in a row: images to one feature map of stride 4 from each.

    Args:
        stacks: Hourglasses.
        channels: Of an hourglass: at stride 4, and after each halving.
        blocks: Residual blocks at each of these sizes.

    Example:
        >>> network = StackedHourglass(channels=(16, 16, 24), blocks=(1, 1, 1))
        >>> network.multiple, [tuple(one.shape) for one in network(torch.zeros(1, 3, 64, 64))]
        (16, [(1, 16, 16, 16), (1, 16, 16, 16)])
    """

    def __init__(self, stacks: int = 2, channels: Sequence[int] = _CHANNELS, blocks: Sequence[int] = _BLOCKS) -> None:
        super().__init__()
        own = self.out_channels = channels[0]
        self.stacks = stacks
        self.multiple = 4 * 2 ** (len(channels) - 1)
        self.pre = nn.Sequential(_Conv(3, own // 2, 7, 2), BasicBlock(own // 2, own, stride=2))
        self.kps = nn.ModuleList(Hourglass(channels, blocks) for _ in range(stacks))
        self.cnvs = nn.ModuleList(_Conv(own, own, 3) for _ in range(stacks))
        between = range(stacks - 1)
        self.inters = nn.ModuleList(BasicBlock(own, own) for _ in between)
        self.inters_ = nn.ModuleList(ConvNormActSequence(own, own, activation=None) for _ in between)
        self.cnvs_ = nn.ModuleList(ConvNormActSequence(own, own, activation=None) for _ in between)
        names = ["pre"]
        for stack in range(stacks):
            names += [f"kps.{stack}", f"cnvs.{stack}"]
            if stack < stacks - 1:
                names += [f"inters_.{stack}", f"cnvs_.{stack}", f"inters.{stack}"]
        self.stage_names, self.neck_names = tuple(names), ()

    def unused_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W), sides multiples of ``multiple``, to a map (B, C, H / 4, W / 4) of each hourglass."""
        x = self.pre(images)
        maps: list[Tensor] = []
        for stack, (hourglass, conv) in enumerate(zip(self.kps, self.cnvs, strict=True)):
            maps.append(conv(hourglass(x)))
            if stack < len(self.inters):
                x = F.relu(self.inters_[stack](x) + self.cnvs_[stack](maps[-1]))
                x = self.inters[stack](x)
        return maps
