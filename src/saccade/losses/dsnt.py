"""Losses of DSNT: distance of expected coordinates, and regularisers that give heatmaps a shape.

Nibali et al. 2018, arXiv 1801.07372. Heatmaps are probabilities, (B, K, H, W), each of sum one. Coordinates are
normalised: the image covers -1 to 1 in x and in y, and the centre of cell x (counted from 0) of n is at (2x + 1) / n
- 1, so that no cell centre lies on the border. Every loss gives one value a point, (B, K); :func:`masked_mean` leaves
out points without a ground truth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.ops.heatmaps import expectation, gaussian, normalized_cells

__all__ = [
    "euclidean_loss",
    "js_regularizer",
    "kl_regularizer",
    "masked_mean",
    "variance_regularizer",
]

# Below the smallest probability that matters, above the smallest float32: log of an empty cell stays finite.
EPSILON = 1e-24


def euclidean_loss(coordinates: Tensor, targets: Tensor) -> Tensor:
    """L_euc = ||p - mu||_2: (B, K, 2) twice to (B, K)."""
    return torch.linalg.vector_norm(coordinates - targets, dim=-1)


def variance_regularizer(heatmaps: Tensor, sigma: float) -> Tensor:
    """L_var = (Var x - sigma^2)^2 + (Var y - sigma^2)^2 of each heatmap.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        sigma: Wanted standard deviation in cells. The variance is in cells too, not in the normalised units of the
            paper, so that the weight of the term does not depend on the resolution.

    Returns:
        (B, K).
    """
    means = expectation(heatmaps)
    total = torch.zeros_like(means[..., 0])
    for axis, marginal in ((0, heatmaps.sum(-2)), (1, heatmaps.sum(-1))):
        count = marginal.shape[-1]
        distance = (normalized_cells(count, heatmaps) - means[..., axis : axis + 1]) * (count / 2)
        variance = (marginal * distance**2).sum(-1)  # E[(x - mu)^2]
        total = total + (variance - sigma**2) ** 2
    return total


def kl_regularizer(heatmaps: Tensor, targets: Tensor, sigma: float) -> Tensor:
    """Kullback-Leibler divergence D(Z || N(p, sigma^2)) of each heatmap from a Gaussian at the ground truth.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        targets: (B, K, 2), x and y, normalised.
        sigma: Standard deviation of the Gaussian in cells.

    Returns:
        (B, K), >= 0.
    """
    return _divergence(heatmaps, _target(heatmaps, targets, sigma))


def js_regularizer(heatmaps: Tensor, targets: Tensor, sigma: float) -> Tensor:
    """Jensen-Shannon divergence between each heatmap and a Gaussian at the ground truth.

    It is symmetric and at most log 2, which keeps far-away heatmaps from ruling the loss.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        targets: (B, K, 2), x and y, normalised.
        sigma: Standard deviation of the Gaussian in cells.

    Returns:
        (B, K), 0 to log 2.
    """
    ground_truth = _target(heatmaps, targets, sigma)
    middle = 0.5 * (heatmaps + ground_truth)
    return 0.5 * _divergence(heatmaps, middle) + 0.5 * _divergence(ground_truth, middle)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is true; zero, with a gradient of zero, where it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _target(heatmaps: Tensor, targets: Tensor, sigma: float) -> Tensor:
    return gaussian(targets.to(heatmaps.dtype), (heatmaps.shape[-2], heatmaps.shape[-1]), sigma)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * ((p + EPSILON).log() - (q + EPSILON).log())).sum((-2, -1))
