"""ResNets for CIFAR of the public replication with zero-padded shortcuts: ``layer1.0.conv1 ... linear``."""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "ResNet for CIFAR (option A)"


def matches(keys: set[str]) -> bool:
    """Whether these are its names: three stages, and ``linear`` at the end."""
    return {"layer3.0.conv1.weight", "linear.weight"} <= keys and "layer4.0.conv1.weight" not in keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The state as it is."""
    return state
