"""Sampling of the anchors, or proposals, that take part in a loss."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hard_negatives", "sample_balanced", "sample_rows"]


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


@torch.no_grad()
def sample_balanced(
    positive: Tensor, negative: Tensor, count: int, share: float, generator: torch.Generator | None = None
) -> Tensor:
    """Choose anchors of each image at random, at most ``share`` of them positive; negatives fill what is missing.

    Ren et al. 2015, Faster R-CNN (arXiv 1506.01497), section 3.1.3: 256 anchors an image, at most half of them
    positive.

    Args:
        positive: (B, A) bool.
        negative: (B, A) bool; an anchor that is neither is never chosen.
        count: Anchors an image; fewer where there are not as many.
        share: Largest share of positives, 0..1.
        generator: Source of chance, on the device of the masks; torch's own if not given.

    Returns:
        (B, A) bool: chosen ones.

    Example:
        >>> positive = torch.tensor([[True, True, True, False, False, False]])
        >>> chosen = sample_balanced(positive, ~positive, count=4, share=0.25)
        >>> int((chosen & positive).sum()), int(chosen.sum())
        (1, 4)
    """
    rows, valid = sample_rows(positive, negative, count, share, generator)
    chosen = torch.zeros_like(positive, dtype=torch.uint8)
    return chosen.scatter_reduce_(1, rows, valid.to(torch.uint8), "amax").bool()


@torch.no_grad()
def sample_rows(
    positive: Tensor, negative: Tensor, count: int, share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Choose rows of each image at random as :func:`sample_balanced` does, as indices of one number an image.

    Args:
        positive: (B, R) bool.
        negative: (B, R) bool; a row that is neither is never chosen.
        count: Rows an image.
        share: Largest share of positives, 0..1.
        generator: Source of chance, on the device of the masks; torch's own if not given.

    Returns:
        Rows (B, K) int64 with K = min(count, R), positives first, and which of them are chosen, (B, K) bool: an image
        may have fewer.

    Example:
        >>> positive = torch.tensor([[False, True, False], [False, False, False]])
        >>> rows, valid = sample_rows(positive, torch.tensor([[True, False, False]] * 2), count=2, share=0.5)
        >>> rows[0].tolist(), rows[1, 0].item(), valid.tolist()
        ([1, 0], 0, [[True, True], [True, False]])
    """
    keys = torch.rand(positive.shape, generator=generator, device=positive.device)
    limit = int(count * share)
    k = min(count, positive.shape[1])
    # Positives beyond the limit are dropped at random, then come positives before negatives before all else.
    if 0 < limit < positive.shape[1]:
        ranks = keys.masked_fill(~positive, -1.0)
        threshold = ranks.topk(limit, dim=1).values[:, -1:]
        positive = positive & (ranks >= threshold)
    elif not limit:
        positive = torch.zeros_like(positive)
    value, rows = torch.where(positive, keys + 2, torch.where(negative, keys + 1, keys)).topk(k, dim=1)
    return rows, value >= 1
