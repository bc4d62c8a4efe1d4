"""Images of any size for networks that halve their maps several times."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pad_to_multiple"]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of ``multiple``.

    Repeating keeps the border from looking like an edge. Coordinates do not move, so answers are cropped with ``[...,
    :H, :W]``.

    Args:
        images: (B, C, H, W).
        multiple: Pixels.

    Returns:
        (B, C, H', W') with H <= H' < H + multiple.
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
