"""ResNet files of torchvision, which timm's ResNets share: ``conv1 bn1 layer1.0.conv1 ... fc``.

Our ResNets have the same names, so nothing is renamed but for the prefix of a backbone. Files with frozen BatchNorm
lack ``num_batches_tracked``; the loader allows for that.
"""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision ResNet"


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a torchvision ResNet, with or without its last layer.

    Example:
        >>> matches({"conv1.weight", "fc.weight"})  # too few names to be sure
        False
    """
    return {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same names; with the prefix of the backbone where ``model`` holds the ResNet inside.

    Example:
        >>> model = saccade.create_model("unet_resnet34")  # holds a ResNet as its backbone
        >>> list(convert({"conv1.weight": torch.zeros(64, 3, 7, 7)}, model))
        ['backbone.conv1.weight']
    """
    prefix = backbone_prefix(model.state_dict(), "layer1.0.conv1.weight")
    return state if prefix is None else {prefix + name: tensor for name, tensor in state.items()}
