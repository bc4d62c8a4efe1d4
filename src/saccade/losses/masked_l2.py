"""Masked squared error of maps, by which networks for many people learn."""

from __future__ import annotations

from torch import Tensor

__all__ = ["masked_l2_loss"]


def masked_l2_loss(maps: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Masked L2 loss: half of the squared error, summed over channels and cells, mean over the images.

    Where the mask is 0 nothing is learnt, so that people whom nobody labelled are not learnt as background (Cao et al.
    2017, equation 5; the half is that of the authors' Euclidean loss).

    Args:
        maps: (B, C, H, W).
        targets: (B, C, H, W).
        mask: (B, 1, H, W), 0..1.

    Returns:
        Scalar.

    Example:
        >>> maps, mask = torch.full((1, 2, 1, 3), 2.0), torch.tensor([[[[1.0, 1.0, 0.0]]]])
        >>> masked_l2_loss(maps, torch.zeros(1, 2, 1, 3), mask)
        tensor(8.)
    """
    return ((maps - targets).square() * mask).sum() / (2 * len(maps))
