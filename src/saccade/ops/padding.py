"""Padding of images of any size for networks that downsample several times."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pad_to_multiple"]


def pad_to_multiple(images: Tensor, multiple: int, plus: int = 0) -> Tensor:
    """Replicate the last row and column until height and width are multiples of ``multiple``, and ``plus`` more.

    Replicating keeps the border from resembling an edge. Coordinates do not move, so outputs are cropped with ``[...,
    :H, :W]``.

    Args:
        images: (B, C, H, W).
        multiple: Pixels.
        plus: Pixels; 1 where rows ``multiple`` apart begin with the first and end with the last, for networks whose
            coarsest locations lie on them.

    Returns:
        (B, C, H', W') with H <= H' < H + multiple.

    Example:
        >>> pad_to_multiple(torch.zeros(1, 3, 33, 64), 32).shape
        torch.Size([1, 3, 64, 64])
        >>> pad_to_multiple(torch.zeros(1, 3, 33, 64), 32, plus=1).shape
        torch.Size([1, 3, 33, 65])
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, (plus - width) % multiple, 0, (plus - height) % multiple), mode="replicate")
