"""Losses of DSNT: distance between expected and true coordinates, and regularisers of the heatmaps' shape.

Nibali et al. 2018, arXiv 1801.07372. Heatmaps are probabilities, (B, K, H, W), each of sum one. Coordinates are
normalised: the image covers -1 to 1 in x and in y, and the centre of cell x (counted from 0) of n is at (2x + 1) / n
- 1, so that no cell centre lies on the border. Every loss has one value a keypoint, (B, K); :func:`masked_mean` leaves
out keypoints that are not labelled.
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
    """Euclidean distance between predicted and true coordinates, ``L_euc = ||p - mu||_2``.

    Args:
        coordinates: Predictions, (B, K, 2), x and y, normalised.
        targets: (B, K, 2), x and y, normalised.

    Returns:
        (B, K), >= 0.

    Example:
        >>> euclidean_loss(torch.tensor([[[0.3, 0.4], [0.5, 0.5]]]), torch.tensor([[[0.0, 0.0], [0.5, 0.5]]]))
        tensor([[0.5000, 0.0000]])
    """
    return torch.linalg.vector_norm(coordinates - targets, dim=-1)


def variance_regularizer(heatmaps: Tensor, sigma: float) -> Tensor:
    """Variance regulariser of heatmaps: ``L_var = (Var x - sigma^2)^2 + (Var y - sigma^2)^2``.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        sigma: Target standard deviation in cells. The variance is in cells too, not in the normalised units of the
            paper, so that the weight of the term does not depend on the resolution.

    Returns:
        (B, K), >= 0.

    Example:
        >>> heatmaps = gaussian(torch.zeros(1, 1, 2), (16, 16), sigma=1.0)
        >>> [variance_regularizer(heatmaps, sigma).round(decimals=2).item() for sigma in (1.0, 2.0)]
        [0.0, 18.0]
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
    """Kullback-Leibler regulariser: divergence D(Z || N(p, sigma^2)) of heatmaps from Gaussians at the targets.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        targets: (B, K, 2), x and y, normalised.
        sigma: Standard deviation of the Gaussian in cells.

    Returns:
        (B, K), >= 0.

    Example:
        >>> targets = torch.zeros(1, 1, 2)
        >>> flat, exact = torch.full((1, 1, 8, 8), 1 / 64), gaussian(targets, (8, 8), sigma=1.0)
        >>> kl_regularizer(flat, targets, 1.0), kl_regularizer(exact, targets, 1.0)
        (tensor([[2.9289]]), tensor([[0.]]))
    """
    return _divergence(heatmaps, _target(heatmaps, targets, sigma))


def js_regularizer(heatmaps: Tensor, targets: Tensor, sigma: float) -> Tensor:
    """Jensen-Shannon regulariser: symmetric divergence between heatmaps and Gaussians at the targets.

    It is at most log 2, which keeps heatmaps far from their target from dominating the loss.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        targets: (B, K, 2), x and y, normalised.
        sigma: Standard deviation of the Gaussian in cells.

    Returns:
        (B, K), 0 to log 2.

    Example:
        >>> targets = torch.zeros(1, 1, 2)
        >>> flat, exact = torch.full((1, 1, 8, 8), 1 / 64), gaussian(targets, (8, 8), sigma=1.0)
        >>> js_regularizer(flat, targets, 1.0), js_regularizer(exact, targets, 1.0)
        (tensor([[0.3198]]), tensor([[0.]]))
    """
    wanted = _target(heatmaps, targets, sigma)
    middle = 0.5 * (heatmaps + wanted)
    return 0.5 * _divergence(heatmaps, middle) + 0.5 * _divergence(wanted, middle)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is true; zero, with a gradient of zero, if it is true nowhere.

    Args:
        values: Losses of keypoints, (B, K).
        mask: (B, K) bool, which of them count.

    Returns:
        Scalar.

    Example:
        >>> masked_mean(torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[True, False, True]]))
        tensor(3.5000)
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _target(heatmaps: Tensor, targets: Tensor, sigma: float) -> Tensor:
    return gaussian(targets.to(heatmaps.dtype), (heatmaps.shape[-2], heatmaps.shape[-1]), sigma)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * ((p + EPSILON).log() - (q + EPSILON).log())).sum((-2, -1))
