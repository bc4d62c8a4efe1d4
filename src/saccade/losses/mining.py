"""Losses over the hardest examples alone: hard negative mining and online hard example mining (OHEM)."""

from __future__ import annotations

from torch import Tensor

from saccade.ops.sampling import hard_negatives

__all__ = ["hard_negative_loss", "ohem_loss"]


def hard_negative_loss(losses: Tensor, positive: Tensor, ratio: float = 3.0) -> Tensor:
    """Sum of the losses of positives and of the hardest negatives of each image, at most ``ratio`` for each positive.

    Liu et al. 2016, SSD (arXiv 1512.02325), section 2.2. The paper divides the sum by the number of positives.

    Args:
        losses: (B, A), of every anchor; 0 for those that are ignored.
        positive: (B, A) bool.
        ratio: Negatives for each positive.

    Returns:
        Scalar. Anchors that are not chosen have no gradient.

    Example:
        >>> losses = torch.tensor([[0.9, 0.1, 0.7, 0.8, 0.2]])
        >>> hard_negative_loss(losses, torch.tensor([[True, False, False, False, False]]), ratio=2)
        tensor(2.4000)
    """
    chosen = hard_negatives(losses, positive, ratio)
    return losses.where(chosen | positive, 0.0).sum()


def ohem_loss(losses: Tensor, count: int) -> Tensor:
    """Sum of the ``count`` largest losses of each image (Shrivastava et al. 2016, arXiv 1604.03540, section 4).

    Unlike hard negative mining it does not tell positives from negatives. Regions of interest that overlap have
    correlated losses; the paper suppresses them first.

    Args:
        losses: (B, A), of every example; 0 for those that are ignored.
        count: Examples of an image that count; all if it has fewer.

    Returns:
        Scalar. Examples that are not chosen have no gradient.

    Example:
        >>> ohem_loss(torch.tensor([[0.9, 0.1, 0.7], [0.2, 0.3, 0.1]]), count=2)
        tensor(2.1000)
    """
    return losses.topk(min(count, losses.shape[1]), dim=1, sorted=False).values.sum()
