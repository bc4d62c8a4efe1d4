"""Stochastic depth: residual branches dropped at random in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["StochasticDepth", "linear_rates"]


class StochasticDepth(nn.Module):
    """Stochastic depth (drop path): drops the residual branch of an image with probability ``p`` in training.

    Branches that stay are scaled by 1 / (1 - p). Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv
    1603.09382, section 3; called drop-connect in EfficientNet. Scaling in training has the same mean as the paper's
    scaling in evaluation.

    Args:
        p: Probability that the branch of an image is dropped, 0 to below 1.

    Example:
        >>> drop, branch = StochasticDepth(0.5), torch.ones(1000, 1)
        >>> drop(branch).unique().tolist(), drop.eval()(branch).unique().tolist()
        ([0.0, 2.0], [1.0])
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> the same shape."""
        if not self.training or self.p == 0.0:
            return branch
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        kept = torch.empty(shape, dtype=branch.dtype, device=branch.device).bernoulli_(1.0 - self.p)
        return branch * (kept / (1.0 - self.p))

    def extra_repr(self) -> str:
        """Probability, as ``print`` shows it."""
        return f"p={self.p}"


def linear_rates(last: float, blocks: int, from_first: bool = True) -> list[float]:
    """Drop rates of stochastic depth that rise linearly with depth (equation 4, as later networks count blocks).

    Args:
        last: Rate of the last block.
        blocks: Number of blocks.
        from_first: The first block has rate 0 and the last ``last`` (Swin, ConvNeXt); otherwise block i of n, counted
            from 0, has ``last * i / n`` (EfficientNet), so that the last block's rate is ``last / n`` below ``last``.

    Returns:
        Rate of each block.

    Example:
        >>> linear_rates(0.2, 3), linear_rates(0.2, 2, from_first=False)
        ([0.0, 0.1, 0.2], [0.0, 0.1])
    """
    intervals = max(blocks - 1, 1) if from_first else blocks
    return [last * index / intervals for index in range(blocks)]
