"""ResNets for CIFAR of the public replication with zero-padded shortcuts: ``layer1.0.conv1 ... linear``."""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "ResNet for CIFAR (option A)"


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a ResNet for CIFAR: three stages, and ``linear`` at the end.

    Example:
        >>> matches({"layer3.0.conv1.weight", "linear.weight", "linear.bias"})
        True
    """
    return {"layer3.0.conv1.weight", "linear.weight"} <= keys and "layer4.0.conv1.weight" not in keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The state unchanged: the names are this library's too."""
    return state
