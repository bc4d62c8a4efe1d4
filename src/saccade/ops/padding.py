"""Padding of images of any size for networks that downsample several times."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pad_to_multiple"]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Replicate the last row and column until height and width are multiples of ``multiple``.

    Replicating keeps the border from resembling an edge. Coordinates do not move, so outputs are cropped with ``[...,
    :H, :W]``.

    Args:
        images: (B, C, H, W).
        multiple: Pixels.

    Returns:
        (B, C, H', W') with H <= H' < H + multiple.

    Example:
        >>> pad_to_multiple(torch.zeros(1, 3, 33, 64), 32).shape
        torch.Size([1, 3, 64, 64])
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
