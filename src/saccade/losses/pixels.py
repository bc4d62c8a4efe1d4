"""Cross entropy of label maps, in which some pixels have no ground truth."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pixel_binary_cross_entropy", "pixel_cross_entropy"]


def pixel_cross_entropy(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Softmax cross entropy, mean over the labelled pixels; zero where none is.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64, 0..C-1 or ``ignore``.
        ignore: Label of pixels that do not count.

    Returns:
        Scalar.
    """
    total = F.cross_entropy(logits, labels, ignore_index=ignore, reduction="sum")
    return total / (labels != ignore).sum().clamp(min=1)


def pixel_binary_cross_entropy(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Sigmoid cross entropy of one foreground class, mean over the labelled pixels; zero where none is.

    Args:
        logits: (B, 1, H, W).
        labels: (B, H, W) int64, 1 foreground, 0 background, or ``ignore``.
        ignore: Label of pixels that do not count.

    Returns:
        Scalar.
    """
    valid = labels != ignore
    each = F.binary_cross_entropy_with_logits(logits[:, 0], (labels == 1).to(logits.dtype), reduction="none")
    return (each * valid).sum() / valid.sum().clamp(min=1)
