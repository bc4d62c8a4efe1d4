"""SSD of amdegroot/ssd.pytorch and of lufficc/SSD: ``vgg.N``, ``extras.N``, and a row of convolutions for each output.

The first calls the outputs ``loc.N`` and ``conf.N`` and the scale of conv4_3 ``L2Norm.weight``; the second has the same
tensors inside of ``backbone`` and ``box_head.predictor``. Both move centres of default boxes that lie beyond the canvas
onto its edge (114 of 8732, the last row and column of the 10 x 10 map, by 4 of 300 pixels); the paper's authors do not.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "SSD, amdegroot or lufficc"

# Convolutions of VGG-16 in the flat row of its layers, with fc6 and fc7 behind them.
_VGG = {
    0: "trunk.0.0", 2: "trunk.0.2", 5: "trunk.1.0", 7: "trunk.1.2", 10: "trunk.2.0", 12: "trunk.2.2", 14: "trunk.2.4",
    17: "trunk.3.0", 19: "trunk.3.2", 21: "trunk.3.4", 24: "trunk.4.0", 26: "trunk.4.2", 28: "trunk.4.4", 31: "fc6",
    33: "fc7",
}  # fmt: skip
_LAYER = re.compile(r"^(?:backbone\.)?(vgg|extras)\.(\d+)\.(weight|bias)$")
_OUTPUT = re.compile(
    r"^(?:\w+\.)*(?:(?P<boxes>loc|reg_headers|regression_headers)|(?:conf|cls_headers|classification_headers))\."
    r"(?P<level>\d+)\.(?P<part>weight|bias)$"
)
_SCALES = ("L2Norm.weight", "l2_norm.weight", "backbone.l2_norm.weight")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of either SSD, with or without its outputs.

    Example:
        >>> matches({"vgg.0.weight", "vgg.31.weight", "extras.0.weight", "L2Norm.weight"})
        True
    """
    return any(scale in keys for scale in _SCALES) and any(_LAYER.match(key) for key in keys)


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``ssd300_vgg16`` and ``ssd512_vgg16``.

    Example:
        >>> with torch.device("meta"):
        ...     model = saccade.create_model("ssd300_vgg16", num_classes=1)
        >>> list(convert({"vgg.31.bias": torch.zeros(1024), "extras.3.bias": torch.zeros(256)}, model))
        ['backbone.fc6.bias', 'backbone.extras.1.2.bias']
    """
    return {_rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    if name in _SCALES:
        return "backbone.scale"
    if match := _LAYER.match(name):
        number = int(match[2])
        if match[1] == "extras":  # two convolutions a level, each with a ReLU between here
            return f"backbone.extras.{number // 2}.{number % 2 * 2}.{match[3]}"
        return f"backbone.{_VGG[number]}.{match[3]}" if number in _VGG else name
    if match := _OUTPUT.match(name):
        return f"head.{'boxes' if match['boxes'] else 'classes'}.{match['level']}.{match['part']}"
    return name
