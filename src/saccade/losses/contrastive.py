"""Contrastive loss: images of one class together, images of two classes a margin apart."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["contrastive_loss"]


def contrastive_loss(first: Tensor, second: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Contrastive loss of pairs of embeddings, mean over the pairs.

    Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping", equation 4: with the
    Euclidean distance D, ``D^2 / 2`` for a pair of one class, ``max(0, margin - D)^2 / 2`` for a pair of two. The
    gradient of two equal vectors of different classes is 0 rather than undefined.

    Args:
        first: (P, D).
        second: (P, D).
        same: (P,) bool, whether a pair is of one class.
        margin: Distance beyond which different pairs are left alone.

    Returns:
        Scalar.

    Example:
        >>> first, second = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.6, 0.0], [0.6, 0.0]])
        >>> contrastive_loss(first, second, torch.tensor([True, False]))  # (0.36 + 0.16) / 4
        tensor(0.1300)
    """
    squared = (first - second).square().sum(-1)
    there = squared > 0
    distance = torch.where(there, squared.where(there, torch.ones_like(squared)).sqrt(), torch.zeros_like(squared))
    return torch.where(same, squared, (margin - distance).clamp(min=0).square()).mean() / 2
