"""Dice loss: overlap of regions, which does not mind how small the foreground is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["dice_loss"]


def dice_loss(probabilities: Tensor, labels: Tensor, ignore: int = 255, smooth: float = 1.0) -> Tensor:
    """One minus the Dice coefficient, mean over classes.

    For each class, over all pixels of the batch that have a ground truth, with probabilities p and ground truth g of 0
    or 1: ``1 - (2 sum p g + s) / (sum p + sum g + s)``. The idea is Milletari et al. 2016 (V-Net, arXiv 1606.04797,
    section 3), whose denominator has squares; this is the form without (Sudre et al. 2017, arXiv 1707.03237), weights
    aside.

    Args:
        probabilities: (B, C, H, W), 0..1. With C = 1 the only class is the foreground, label 1.
        labels: (B, H, W) int64, class numbers or ``ignore``.
        ignore: Label of pixels that do not count.
        smooth: s: with it a class that is absent and not predicted costs nothing, and no pixel at all gives 0 and not 0
            / 0.

    Returns:
        Scalar, 0..1.
    """
    classes = probabilities.shape[1]
    valid = (labels != ignore).unsqueeze(1)
    if classes == 1:
        ground_truth = (labels == 1).unsqueeze(1)
    else:
        ground_truth = F.one_hot(labels.masked_fill(labels == ignore, 0), classes).movedim(-1, 1)
    predicted = probabilities * valid
    ground_truth = ground_truth * valid
    common = (predicted * ground_truth).sum((0, 2, 3))
    total = predicted.sum((0, 2, 3)) + ground_truth.sum((0, 2, 3))
    return (1 - (2 * common + smooth) / (total + smooth)).mean()
