"""Maps taken on the way through a row of layers."""

from __future__ import annotations

from collections.abc import Container, Iterable

from torch import Tensor, nn

__all__ = ["collect_features"]


def collect_features(layers: Iterable[nn.Module], x: Tensor, ends: Container[int]) -> list[Tensor]:
    """Outputs of the layers whose numbers are in ``ends``, in order.

    Args:
        layers: Run one after the other.
        x: Input of the first.
        ends: Numbers of layers, counted from 0.
    """
    maps = []
    for number, layer in enumerate(layers):
        x = layer(x)
        if number in ends:
            maps.append(x)
    return maps
