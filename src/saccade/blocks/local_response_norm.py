"""Local response normalisation, as the paper writes it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(nn.Module):
    """A unit is damped by what its neighbours in other channels say at the same place.

    Krizhevsky et al. 2012, section 3.3: b_i = a_i / (k + alpha * sum_j a_j^2)^beta, j over ``size`` channels around i.
    Torch's function of that name, like Caffe's layer, divides alpha by ``size``; this one does not.

    Args:
        size: Channels in the sum.
        alpha: As in the paper.
        beta: As in the paper.
        k: As in the paper.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return F.local_response_norm(x, self.size, self.alpha * self.size, self.beta, self.k)
