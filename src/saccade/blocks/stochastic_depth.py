"""Stochastic depth: residual branches that are left out at random while training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["StochasticDepth", "linear_rates"]


class StochasticDepth(nn.Module):
    """Leaves out a residual branch, image by image, with probability ``p``; what stays is scaled by 1 / (1 - p).

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv 1603.09382, section 3; called drop-connect in
    EfficientNet and drop path elsewhere. Scaling in training, and nothing in evaluation, has the same mean as the
    paper's scaling in evaluation.

    Args:
        p: Probability that the branch of an image is left out, 0 to below 1.
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
        """Shown by ``print``."""
        return f"p={self.p}"


def linear_rates(last: float, blocks: int, from_first: bool = True) -> list[float]:
    """Rates that rise linearly with depth up to ``last`` (the paper's equation 4, as later networks count it).

    Args:
        last: Rate of the last block.
        blocks: How many there are.
        from_first: The first block has rate 0 and the last ``last`` (Swin, ConvNeXt); otherwise block i of n, counted
            from 0, has ``last * i / n`` (EfficientNet), and the last stays a step below.

    Example:
        >>> linear_rates(0.2, 3), linear_rates(0.2, 2, from_first=False)
        ([0.0, 0.1, 0.2], [0.0, 0.1])
    """
    steps = max(blocks - 1, 1) if from_first else blocks
    return [last * index / steps for index in range(blocks)]
