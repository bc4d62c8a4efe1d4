"""Pooling as Darknet has it: maxima that keep a map's side, and YOLOv3's spatial pyramid of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SpatialPyramidPooling", "darknet_max_pool"]


def darknet_max_pool(x: Tensor, size: int = 2, stride: int = 2) -> Tensor:
    """Max pooling with Darknet's padding: size - 1 in all, the smaller half in front; the side is ceil(side / stride).

    With windows of 2 the padding is on the right and at the bottom; at stride 1 the map keeps its side, and the last
    row and column are those of one pixel less (the last pooling of the tiny networks).

    Args:
        x: (B, C, H, W).
        size: Side of the window.
        stride: Step of the window.

    Returns:
        (B, C, ceil(H / stride), ceil(W / stride)).

    Example:
        >>> darknet_max_pool(torch.tensor([[[[1.0, 4.0, 2.0]]]]), stride=1).tolist()
        [[[[4.0, 4.0, 2.0]]]]
    """
    before, after = (size - 1) // 2, size // 2
    if before == after:
        return F.max_pool2d(x, size, stride, before)
    if size == stride == 2:
        return F.max_pool2d(x, size, stride, ceil_mode=True)
    # Every window that reaches beyond the border has the border's own pixel too, whose copies change no maximum.
    return F.max_pool2d(F.pad(x, (before, after, before, after), mode="replicate"), size, stride)


class SpatialPyramidPooling(nn.Module):
    """Spatial pyramid pooling of YOLOv3-SPP and v4: maxima of 13x13, 9x9 and 5x5 windows beside the map itself.

    Two 5x5 maxima in a row cover exactly a 9x9 window and three a 13x13 one, so the larger windows are computed from
    the smaller. The largest window comes first, as in Darknet's configurations.

    Example:
        >>> SpatialPyramidPooling()(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 64, 8, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 C, H, W)."""
        x5 = darknet_max_pool(x, 5, 1)
        x9 = darknet_max_pool(x5, 5, 1)
        x13 = darknet_max_pool(x9, 5, 1)
        return torch.cat((x13, x9, x5, x), dim=1)
