"""Passthrough of YOLOv2: a fine feature map at half its sides, with what lay side by side in channels."""

from __future__ import annotations

from torch import Tensor

__all__ = ["passthrough"]


def passthrough(x: Tensor) -> Tensor:
    """Feature map at half its sides and four times its channels, in the order of Darknet's ``reorg`` layer.

    Redmon and Farhadi 2017 (YOLOv2), section 2, "fine-grained features". Plain space-to-depth moves the four pixels of
    each 2x2 block to four channels. Darknet does so on the same numbers read as a map of a quarter of the channels and
    twice the sides, and reads what comes out as a map of half the sides. Neighbours of its output therefore are not
    neighbours of the image in general; weights trained so need just this order.

    Args:
        x: (B, C, H, W) with C a multiple of 4, H and W even.

    Returns:
        (B, 4 C, H / 2, W / 2).

    Example:
        >>> x = torch.arange(16.0).view(1, 4, 2, 2)
        >>> passthrough(x).shape, passthrough(x).flatten().tolist()[:8]
        (torch.Size([1, 16, 1, 1]), [0.0, 2.0, 8.0, 10.0, 1.0, 3.0, 9.0, 11.0])
    """
    B, C, H, W = x.shape
    blocks = x.reshape(B, C // 4, H, 2, W, 2)  # map of C / 4 channels and sides 2 H and 2 W, its 2x2 blocks apart
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(B, 4 * C, H // 2, W // 2)
