"""Local response normalisation with AlexNet's formula."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(nn.Module):
    """Local response normalisation: each activation divided by the energy of neighbouring channels at its location.

    Krizhevsky et al. 2012, section 3.3: b_i = a_i / (k + alpha * sum_j a_j^2)^beta, j over ``size`` channels around i.
    Torch's function of that name, like Caffe's layer, divides alpha by ``size``; this one does not.

    Args:
        size: Channels in the sum.
        alpha: Weight of the sum.
        beta: Exponent of the denominator.
        k: Constant of the denominator.

    Example:
        >>> x = torch.full((1, 1, 1, 1), 10.0)
        >>> LocalResponseNorm(size=5, alpha=0.02, beta=0.5, k=2.0)(x)  # 10 / sqrt(2 + 0.02 * 10^2)
        tensor([[[[5.]]]])
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return F.local_response_norm(x, self.size, self.alpha * self.size, self.beta, self.k)
