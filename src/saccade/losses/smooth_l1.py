"""Losses of box codes: L1, smooth L1 and balanced L1, value by value."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["balanced_l1_loss", "l1_loss", "smooth_l1_loss"]


def l1_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """L1 loss ``|x|`` of each difference x.

    Args:
        predictions: Any shape.
        targets: Same shape.

    Returns:
        Same shape, not reduced.

    Example:
        >>> l1_loss(torch.tensor([0.0, 3.0]), torch.tensor([0.5, 1.0]))
        tensor([0.5000, 2.0000])
    """
    return (predictions - targets).abs()


def smooth_l1_loss(predictions: Tensor, targets: Tensor, beta: float = 1.0) -> Tensor:
    """Smooth L1 loss of each difference x: ``x^2 / (2 beta)`` below beta, ``|x| - beta / 2`` from there on.

    Girshick 2015, Fast R-CNN (arXiv 1504.08083), equation 3, with beta = 1; smaller values are nearer to L1.

    Args:
        predictions: Any shape.
        targets: Same shape.
        beta: Difference at which the square ends, >= 0; 0 is L1.

    Returns:
        Same shape, not reduced.

    Example:
        >>> smooth_l1_loss(torch.tensor([0.0, 3.0]), torch.tensor([0.5, 1.0]), beta=1.0)
        tensor([0.1250, 1.5000])
    """
    return F.smooth_l1_loss(predictions, targets, reduction="none", beta=beta)


def balanced_l1_loss(
    predictions: Tensor, targets: Tensor, beta: float = 1.0, alpha: float = 0.5, gamma: float = 1.5
) -> Tensor:
    """Balanced L1 loss of each difference: small differences pull harder than under smooth L1, outliers are capped.

    Pang et al. 2019, Libra R-CNN (arXiv 1904.02701), equations 9 and 10. The slope is ``alpha log(b |x| / beta + 1)``
    below beta and gamma from there on, with ``b = exp(gamma / alpha) - 1`` so that both meet.

    Args:
        predictions: Any shape.
        targets: Same shape.
        beta: Difference from which the slope is gamma, above 0; the paper's is 1.
        alpha: Strength of small differences; the smaller, the stronger.
        gamma: Slope of outliers.

    Returns:
        Same shape, not reduced.

    Example:
        >>> balanced_l1_loss(torch.tensor([0.0, 3.0]), torch.tensor([0.5, 1.0]))
        tensor([0.4006, 2.5786])
    """
    b = math.exp(gamma / alpha) - 1
    distance = (predictions - targets).abs() / beta
    inside = distance.clamp(max=1)
    inlier = alpha / b * (b * inside + 1) * torch.log1p(b * inside) - alpha * inside
    # Beyond beta the clamped part is the constant, and the rest a line.
    return beta * (inlier + gamma * (distance - inside))
