"""Truncated SVD of a layer: equal at full rank, and off by exactly the singular values that are left out."""

from __future__ import annotations

import pytest
import torch

from saccade.blocks.low_rank_linear import LowRankLinear, truncate_linear
from saccade.errors import ConfigError


def test_the_error_is_that_of_the_values_left_out() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(20, 12)
    values = torch.linalg.svdvals(layer.weight.detach())
    x = torch.randn(5, 20)
    errors = []
    for rank in (1, 4, 8, 12):
        thin = truncate_linear(layer, rank)
        assert thin[0].bias is None
        product = (thin[1].weight @ thin[0].weight).detach()
        error = (product - layer.weight.detach()).norm()
        assert torch.allclose(error, values[rank:].norm(), atol=1e-5)  # Eckart and Young 1936
        errors.append(float(error))
    assert errors == sorted(errors, reverse=True)
    assert torch.allclose(thin(x), layer(x), atol=1e-5)


def test_a_rank_beyond_the_layer_is_named() -> None:
    with pytest.raises(ConfigError, match="rank 13 of a layer with 20 inputs and 12 outputs; it must be 1 to 12"):
        LowRankLinear(20, 12, 13)
