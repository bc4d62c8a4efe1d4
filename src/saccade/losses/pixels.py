"""Cross entropy over the pixels of label maps, some of which are not labelled."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pixel_binary_cross_entropy", "pixel_cross_entropy"]


def pixel_cross_entropy(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Softmax cross entropy of segmentation, mean over the labelled pixels; zero if there are none.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64, 0..C-1 or ``ignore``.
        ignore: Label of pixels that do not count.

    Returns:
        Scalar.

    Example:
        >>> logits, labels = torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 2], [1, 255]]])
        >>> pixel_cross_entropy(logits, labels)  # log 3
        tensor(1.0986)
    """
    total = F.cross_entropy(logits, labels, ignore_index=ignore, reduction="sum")
    return total / (labels != ignore).sum().clamp(min=1)


def pixel_binary_cross_entropy(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Sigmoid cross entropy of one foreground class, mean over the labelled pixels; zero if there are none.

    Args:
        logits: (B, 1, H, W).
        labels: (B, H, W) int64, 1 foreground, 0 background, or ``ignore``.
        ignore: Label of pixels that do not count.

    Returns:
        Scalar.

    Example:
        >>> logits, labels = torch.zeros(1, 1, 2, 2), torch.tensor([[[0, 1], [1, 255]]])
        >>> pixel_binary_cross_entropy(logits, labels)  # log 2
        tensor(0.6931)
    """
    valid = labels != ignore
    each = F.binary_cross_entropy_with_logits(logits[:, 0], (labels == 1).to(logits.dtype), reduction="none")
    return (each * valid).sum() / valid.sum().clamp(min=1)
