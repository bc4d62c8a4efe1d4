"""ResNet files of torchvision, which timm's ResNets share: ``conv1 bn1 layer1.0.conv1 ... fc``.

Our ResNets have the same names, so nothing is renamed but for the prefix of a backbone. Files with frozen BatchNorm
lack ``num_batches_tracked``; the loader allows for that.
"""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision ResNet"


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a torchvision ResNet, with or without its last layer."""
    return {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same names; with the prefix of the backbone where ``model`` holds the ResNet inside."""
    stem = "layer1.0.conv1.weight"
    prefixes = {name.removesuffix(stem) for name in model.state_dict() if name.endswith(stem)}
    if len(prefixes) != 1:  # no ResNet in there, or two: nothing can be said about where the tensors belong
        return state
    (prefix,) = prefixes
    return {prefix + name: tensor for name, tensor in state.items()}
