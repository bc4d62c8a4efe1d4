"""UNet++ files of 4uiiurz1's training code: ``conv0_0.conv1 ... conv0_4.bn2``, heads ``final1 ... final4``.

A file of a network without deep supervision has one head, ``final``: it is that of ``unetpp(prune=4)``.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "4uiiurz1 UNet++"

_NODE = re.compile(r"^conv(\d)_(\d)\.(conv|bn)([12])\.")
_HEAD = re.compile(r"^final(\d?)\.")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a UNet++; the plain U-Net of the same code has no ``conv0_1``.

    Example:
        >>> matches({"conv0_0.conv1.weight", "conv0_1.conv1.weight", "conv4_0.bn2.bias", "final4.weight"})
        True
    """
    return {"conv0_0.conv1.weight", "conv0_1.conv1.weight", "conv4_0.bn2.bias"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``unetpp``.

    Example:
        >>> model = saccade.create_model("unetpp", base_channels=4)
        >>> list(convert({"conv1_2.bn1.weight": torch.zeros(8), "final2.bias": torch.zeros(1)}, model))
        ['decoder.x1_2.1.weight', 'heads.2.bias']
    """
    return {_rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    return _HEAD.sub(lambda m: f"heads.{m[1] or 4}.", _NODE.sub(_of_node, name))


def _of_node(match: re.Match[str]) -> str:
    level, column, layer, number = match.groups()
    node = f"encoder.{level}" if column == "0" else f"decoder.x{level}_{column}"
    # Position inside a node: convolution 0, BN 1, ReLU 2, convolution 3, BN 4, ReLU 5.
    return f"{node}.{3 * (int(number) - 1) + (layer == 'bn')}."
