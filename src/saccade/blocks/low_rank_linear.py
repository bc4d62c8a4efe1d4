"""A fully connected layer as the product of two thin ones."""

from __future__ import annotations

import torch
from torch import nn

from saccade.errors import ConfigError

__all__ = ["LowRankLinear", "truncate_linear"]


class LowRankLinear(nn.Sequential):
    """Two fully connected layers without a nonlinearity between them: ``rank (in + out)`` weights for ``in out``.

    Girshick 2015, Fast R-CNN (arXiv 1504.08083), section 3.1: the first has no bias.

    Args:
        in_features: Inputs.
        out_features: Outputs.
        rank: Outputs of the first layer.

    Raises:
        ConfigError: If the rank is less than 1 or more than inputs or outputs.

    Example:
        >>> layer = LowRankLinear(25088, 4096, rank=1024)
        >>> layer(torch.zeros(2, 25088)).shape, sum(parameter.numel() for parameter in layer.parameters())
        (torch.Size([2, 4096]), 29888512)
    """

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        if not 1 <= rank <= min(in_features, out_features):
            raise ConfigError(
                f"rank {rank} of a layer with {in_features} inputs and {out_features} outputs; it must be 1 to "
                f"{min(in_features, out_features)}."
            )
        super().__init__(nn.Linear(in_features, rank, bias=False), nn.Linear(rank, out_features))


@torch.no_grad()
def truncate_linear(layer: nn.Linear, rank: int) -> LowRankLinear:
    """The best approximation of a fully connected layer by two of a rank: truncated singular value decomposition.

    ``W = U S V'`` becomes ``S_t V_t'`` and ``U_t`` (equation 5), with the largest ``t`` singular values; the bias goes
    to the second.

    Args:
        layer: With a bias.
        rank: t.

    Returns:
        Two layers, whose product is off by the singular values that are left out.

    Example:
        >>> layer = torch.nn.Linear(6, 4)
        >>> thin, x = truncate_linear(layer, rank=4), torch.randn(3, 6)
        >>> torch.allclose(thin(x), layer(x), atol=1e-5)  # of full rank
        True
    """
    thin = LowRankLinear(layer.in_features, layer.out_features, rank).to(layer.weight.device)
    left, values, right = torch.linalg.svd(layer.weight.double(), full_matrices=False)
    first, second = thin
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    first.weight.copy_(values[:rank, None] * right[:rank])
    second.weight.copy_(left[:, :rank])
    second.bias.copy_(layer.bias)
    return thin.to(layer.weight.dtype)
