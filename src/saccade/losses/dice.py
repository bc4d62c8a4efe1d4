"""Dice loss: region overlap, insensitive to class imbalance."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["dice_loss"]


def dice_loss(probabilities: Tensor, labels: Tensor, ignore: int = 255, smooth: float = 1.0) -> Tensor:
    """Dice loss: one minus the Dice coefficient, mean over classes.

    For each class, over all labelled pixels of the batch, with probabilities p and ground truth g of 0 or 1: ``1 - (2
    sum p g + s) / (sum p + sum g + s)``. The loss was proposed by Milletari et al. 2016 (V-Net, arXiv 1606.04797,
    section 3) with squares in the denominator; this is the form without them (Sudre et al. 2017, arXiv 1707.03237) and
    without class weights.

    Args:
        probabilities: (B, C, H, W), 0..1. With C = 1 the only class is the foreground, label 1.
        labels: (B, H, W) int64, 0..C-1 (with C = 1, 0 background and 1 foreground) or ``ignore``.
        ignore: Label of pixels that do not count.
        smooth: s: with it the loss of a class that is neither present nor predicted is 0, and so is that of a batch
            without labelled pixels, not 0 / 0.

    Returns:
        Scalar, 0..1.

    Example:
        >>> probabilities, labels = torch.full((1, 1, 4, 4), 0.5), torch.zeros(1, 4, 4).long()
        >>> labels[:, :2] = 1  # the upper half is foreground
        >>> dice_loss(probabilities, labels), dice_loss((labels == 1).float().unsqueeze(1), labels)
        (tensor(0.4706), tensor(0.))
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
