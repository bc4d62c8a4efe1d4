"""Feature pyramid network: coarse, meaningful maps added to fine ones (Lin et al., CVPR 2017, arXiv 1612.03144)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ExtraLevels", "FeaturePyramid"]

ExtraLevels = Literal["none", "pool", "p5", "c5"]


class FeaturePyramid(nn.Module):
    """Feature pyramid of one width over the feature maps of a backbone.

        C5 --- 1x1 ------------------- M5 --- 3x3 --- P5 --- (extra) P6, P7
        C4 --- 1x1 --- + --- M4 --- 3x3 --- P4
                       ^ M5, upsampled to the size of C4 (nearest)
        ...

    Args:
        in_channels: Channels of the backbone's feature maps, fine to coarse.
        out_channels: Channels of every level (the paper: 256).
        extra: Levels beyond the coarsest: ``none``; ``pool``: one, every second value of P5 (the FPN paper, footnote
            2); ``p5`` or ``c5``: two by 3x3 convolutions of stride 2 with a ReLU between, from P5 (as torchvision
            publishes RetinaNet) or from C5 (the RetinaNet paper, footnote 2).

    Attributes:
        out_channels: Channels of every level.
        extra_levels: Number of levels beyond those of the backbone.

    Example:
        >>> maps = [torch.zeros(1, 128, 8, 8), torch.zeros(1, 256, 4, 4), torch.zeros(1, 512, 2, 2)]
        >>> [tuple(one.shape[1:]) for one in FeaturePyramid((128, 256, 512), 64, extra="p5")(maps)]
        [(64, 8, 8), (64, 4, 4), (64, 2, 2), (64, 1, 1), (64, 1, 1)]
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 256, extra: ExtraLevels = "none") -> None:
        super().__init__()
        self.out_channels = out_channels
        self.extra = extra
        self.extra_levels = {"none": 0, "pool": 1}.get(extra, 2)
        self.inner_blocks = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.layer_blocks = nn.ModuleList(nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in in_channels)
        if self.extra_levels == 2:
            coarsest = out_channels if extra == "p5" else in_channels[-1]
            self.p6 = nn.Conv2d(coarsest, out_channels, 3, stride=2, padding=1)
            self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps (B, C, H, W), fine to coarse, to as many of ``out_channels``, and the extra levels."""
        merged = self.inner_blocks[-1](maps[-1])
        levels = [self.layer_blocks[-1](merged)]
        for index in range(len(maps) - 2, -1, -1):
            lateral = self.inner_blocks[index](maps[index])
            merged = lateral + F.interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            levels.insert(0, self.layer_blocks[index](merged))
        if self.extra == "pool":
            levels.append(F.max_pool2d(levels[-1], 1, stride=2))
        elif self.extra_levels:
            p6 = self.p6(levels[-1] if self.extra == "p5" else maps[-1])
            levels += [p6, self.p7(F.relu(p6))]
        return levels
