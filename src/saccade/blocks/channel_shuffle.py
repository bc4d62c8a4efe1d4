"""Channel shuffle: the groups of one grouped convolution dealt out to all groups of the next."""

from __future__ import annotations

from torch import Tensor

__all__ = ["channel_shuffle"]


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel n * g + i of the result is channel i * C / g + n of ``x``, with g groups.

    Zhang et al. 2018, ShuffleNet, section 3.1: channels as a (g, C / g) table, transposed, read off row by row. (The
    transpose of a (C / g, g) table is the inverse, which is found in some replications.)

    Args:
        x: (B, C, H, W), C a multiple of ``groups``.
        groups: g.

    Example:
        >>> channel_shuffle(torch.arange(6.0).view(1, 6, 1, 1), 2).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    batch, channels, height, width = x.shape
    table = x.view(batch, groups, channels // groups, height, width)
    return table.transpose(1, 2).reshape(batch, channels, height, width)
