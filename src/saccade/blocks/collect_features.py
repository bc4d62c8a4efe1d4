"""Feature maps from the intermediate layers of a sequence of layers."""

from __future__ import annotations

from collections.abc import Container, Iterable

from torch import Tensor, nn

__all__ = ["collect_features"]


def collect_features(layers: Iterable[nn.Module], x: Tensor, ends: Container[int]) -> list[Tensor]:
    """Run layers one after the other and collect the outputs of those whose indices are in ``ends``.

    Args:
        layers: The layers, in order.
        x: Input of the first.
        ends: Indices of layers, counted from 0.

    Returns:
        Feature maps of the chosen layers, in order.

    Example:
        >>> pools = [torch.nn.MaxPool2d(2) for _ in range(3)]
        >>> [features.shape[-1] for features in collect_features(pools, torch.zeros(1, 3, 32, 32), {0, 2})]
        [16, 4]
    """
    features = []
    for index, layer in enumerate(layers):
        x = layer(x)
        if index in ends:
            features.append(x)
    return features
