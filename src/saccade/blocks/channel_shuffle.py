"""Channel shuffle: mixes the channels of a grouped convolution's groups before the next grouped convolution."""

from __future__ import annotations

from torch import Tensor

__all__ = ["channel_shuffle"]


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle: channel n * g + i of the output is channel i * C / g + n of ``x``, with g groups.

    Zhang et al. 2018, ShuffleNet, section 3.1: the channels as a (g, C / g) table are transposed and flattened. (The
    transpose of a (C / g, g) table is the inverse, which some replications use.)

    Args:
        x: (B, C, H, W), C a multiple of ``groups``.
        groups: g.

    Returns:
        (B, C, H, W).

    Example:
        >>> channel_shuffle(torch.arange(6.0).view(1, 6, 1, 1), 2).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    batch, channels, height, width = x.shape
    table = x.view(batch, groups, channels // groups, height, width)
    return table.transpose(1, 2).reshape(batch, channels, height, width)
