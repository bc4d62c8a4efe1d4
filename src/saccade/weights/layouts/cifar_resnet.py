"""ResNets for CIFAR of public replications: three stages ``layer1.0.conv1``, and ``linear`` or ``fc`` at the end.

With projections in the shortcuts they are ``downsample`` (as here) or ``shortcut``; without, the shortcuts are padded
and have no tensors.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "ResNet for CIFAR"

_SHORTCUT = re.compile(r"^(layer\d+\.\d+)\.shortcut\.")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a ResNet for CIFAR: three stages of basic blocks, the first without a shortcut.

    Example:
        >>> matches({"conv1.weight", "layer1.0.conv1.weight", "layer3.0.conv1.weight", "linear.weight"})
        True
    """
    return (
        {"conv1.weight", "layer1.0.conv1.weight", "layer3.0.conv1.weight"} <= keys
        and bool({"linear.weight", "fc.weight"} & keys)
        and not {"layer4.0.conv1.weight", "layer1.0.conv3.weight"} & keys
    )


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``, whose last layer is ``linear``; as its backbone, with its prefix.

    Example:
        >>> model = saccade.create_model("resnet20_cifar")
        >>> list(convert({"layer2.0.shortcut.0.weight": torch.zeros(1), "fc.bias": torch.zeros(10)}, model))
        ['layer2.0.downsample.0.weight', 'linear.bias']
    """
    prefix = backbone_prefix(model.state_dict(), "layer1.0.conv1.weight") or ""
    return {
        prefix + _SHORTCUT.sub(r"\1.downsample.", re.sub(r"^fc\.", "linear.", name)): tensor
        for name, tensor in state.items()
    }
