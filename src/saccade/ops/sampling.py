"""Sampling of the anchors that take part in a loss."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hard_negatives"]


@torch.no_grad()
def hard_negatives(losses: Tensor, positive: Tensor, ratio: float = 3.0) -> Tensor:
    """Hard negative mining: of each image the negatives with the highest loss, at most ``ratio`` for each positive.

    Liu et al. 2016, SSD, section 2.2 "Hard negative mining". An image without positives keeps no negative.

    Args:
        losses: (B, A), of every anchor.
        positive: (B, A) bool.
        ratio: Negatives for each positive.

    Returns:
        (B, A) bool: chosen negatives. Of equal losses the earlier anchors are chosen.

    Example:
        >>> losses = torch.tensor([[0.9, 0.1, 0.7, 0.8]])
        >>> hard_negatives(losses, torch.tensor([[True, False, False, False]]), ratio=2).tolist()
        [[False, False, True, True]]
    """
    order = losses.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return (ranks < ratio * positive.sum(dim=1, keepdim=True)) & ~positive
