"""U2-Net files of its authors: ``stage1.rebnconvin.conv_s1 ... stage1d.rebnconv1d.bn_s1``, ``side1``, ``outconv``.

U2-Net and U2-NetP have the same names, and so have their files of portraits and of people.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "official U2-Net"

_LAYER = re.compile(r"^stage(\d)(d?)\.rebnconv(in|\d)(d?)\.(conv|bn)_s1\.(.+)$")
_SIDE = re.compile(r"^side(\d)\.")
# Convolutions from the top to the bottom of the block, by the number of its stage.
_DEPTHS = {1: 7, 2: 6, 3: 5, 4: 4, 5: 4, 6: 4}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a U2-Net of its authors.

    Example:
        >>> matches({"stage1.rebnconvin.conv_s1.weight", "stage5d.rebnconv1d.bn_s1.weight", "outconv.weight"})
        True
    """
    return {"stage1.rebnconvin.conv_s1.weight", "outconv.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``u2net`` and ``u2netp``.

    Example:
        >>> model = saccade.create_model("u2netp", base_channels=4)
        >>> names = ["stage1.rebnconvin.conv_s1.bias", "stage5d.rebnconv3d.bn_s1.bias", "side6.bias", "outconv.bias"]
        >>> list(convert({name: torch.zeros(1) for name in names}, model))
        ['encoder.0.input.0.bias', 'decoder.0.up.0.1.bias', 'sides.5.bias', 'fusion.bias']
    """
    return {_rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    layer = _LAYER.match(name)
    if layer is None:
        name = _SIDE.sub(lambda side: f"sides.{int(side[1]) - 1}.", name)
        return "fusion." + name.removeprefix("outconv.") if name.startswith("outconv.") else name
    stage, number = int(layer[1]), layer[3]
    depth = _DEPTHS.get(stage, 0)
    block = f"decoder.{5 - stage}" if layer[2] else f"encoder.{stage - 1}"
    if number == "in":
        inside = "input"
    elif layer[4]:
        inside = f"up.{depth - 1 - int(number)}"
    else:
        inside = "bottom" if int(number) == depth else f"down.{int(number) - 1}"
    return f"{block}.{inside}.{0 if layer[5] == 'conv' else 1}.{layer[6]}"
