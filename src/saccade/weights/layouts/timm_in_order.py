"""Files of timm whose layers are in this library's order under other names: VGG, MobileNetV2, EfficientNet B0 to B4.

The names alone do not identify the layer of a unit without knowing the unit; the order does. So the n-th tensor
of the file is the n-th of the network, which is taken only if all of them, the head's apart, have as many elements.
(timm's MobileNetV3 and its EfficientNets from B5 on have another eps or padding than ours and are other networks.)
"""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "timm, in order"


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a VGG, MobileNetV2 or EfficientNet of timm.

    Example:
        >>> matches({"conv_stem.weight", "conv_head.weight", "blocks.1.0.conv_pwl.weight"})
        True
    """
    return {
        "conv_stem.weight",
        "conv_head.weight",
        "blocks.1.0.conv_pwl.weight",
    } <= keys or "pre_logits.fc1.weight" in keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``; kernels of fully connected layers become matrices."""
    own = model.state_dict()
    if len(own) != len(state):
        return state
    converted = {}
    for (name, ours), tensor in zip(own.items(), state.values(), strict=True):
        if name not in model.class_rows and ours.numel() != tensor.numel():
            return state
        converted[name] = tensor.flatten(1) if ours.ndim == 2 else tensor
    return converted
