"""Cross entropy over the pixels of label maps, some of which are not labelled."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pixel_binary_cross_entropy", "pixel_cross_entropy"]


def pixel_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    ignore: int = 255,
    weight_map: Tensor | None = None,
    class_weights: Sequence[float] = (),
    gamma: float = 0.0,
) -> Tensor:
    """Softmax cross entropy of segmentation, mean over the labelled pixels; zero if there are none.

    With a ``weight_map`` it is U-Net's (Ronneberger et al. 2015, equation 1): each pixel's term is multiplied, and the
    mean is still over the number of pixels. With ``class_weights`` it is the weighted mean, as in torch. With ``gamma``
    it is the focal loss over a softmax: each term is multiplied by ``(1 - p) ** gamma``, p the probability of the
    pixel's class (Lin et al. 2017, arXiv 1708.02002, equation 4, which has a sigmoid).

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64, 0..C-1 or ``ignore``.
        ignore: Label of pixels that do not count.
        weight_map: (B, H, W), weight of each pixel.
        class_weights: C numbers, weight of the pixels of each class; empty: all 1.
        gamma: How fast pixels that are already right lose their weight; 0 is plain cross entropy.

    Returns:
        Scalar.

    Example:
        >>> logits, labels = torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 2], [1, 255]]])
        >>> pixel_cross_entropy(logits, labels)  # log 3
        tensor(1.0986)
        >>> pixel_cross_entropy(logits, labels, gamma=2.0)  # (1 - 1 / 3) ** 2 log 3
        tensor(0.4883)
    """
    weights = logits.new_tensor(tuple(class_weights)) if class_weights else None
    each = F.cross_entropy(logits, labels, weight=weights, ignore_index=ignore, reduction="none")
    if gamma:
        right = logits.softmax(1).gather(1, labels.masked_fill(labels == ignore, 0).unsqueeze(1)).squeeze(1)
        each = each * (1 - right) ** gamma
    if weight_map is not None:
        each = each * weight_map
    valid = labels != ignore
    if weights is None:
        return each.sum() / valid.sum().clamp(min=1)
    total = (weights[labels.masked_fill(~valid, 0)] * valid).sum()
    return each.sum() / total.clamp(min=1e-12)


def pixel_binary_cross_entropy(
    logits: Tensor, labels: Tensor, ignore: int = 255, weight_map: Tensor | None = None, gamma: float = 0.0
) -> Tensor:
    """Sigmoid cross entropy of one foreground class, mean over the labelled pixels; zero if there are none.

    Args:
        logits: (B, 1, H, W).
        labels: (B, H, W) int64, 1 foreground, 0 background, or ``ignore``.
        ignore: Label of pixels that do not count.
        weight_map: (B, H, W), weight of each pixel.
        gamma: As in :func:`pixel_cross_entropy`.

    Returns:
        Scalar.

    Example:
        >>> logits, labels = torch.zeros(1, 1, 2, 2), torch.tensor([[[0, 1], [1, 255]]])
        >>> pixel_binary_cross_entropy(logits, labels)  # log 2
        tensor(0.6931)
    """
    valid = labels != ignore
    ground_truth = (labels == 1).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits[:, 0], ground_truth, reduction="none") * valid
    if gamma:
        probability = logits[:, 0].sigmoid()
        each = each * (ground_truth - probability).abs() ** gamma  # 1 - p of what the pixel is
    if weight_map is not None:
        each = each * weight_map
    return each.sum() / valid.sum().clamp(min=1)
