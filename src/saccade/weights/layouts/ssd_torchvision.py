"""SSD300 and SSDLite of torchvision: ``backbone.features backbone.extra head.classification_head.module_list``.

``backbone.extra.0`` of SSD300 holds the end of VGG-16 with fc6 and fc7, which are named here. ``backbone.features`` of
SSDLite is cut inside of the unit whose expansion predicts; that unit is whole here.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision SSD"

# Convolutions of VGG-16 in the flat row of its layers, up to conv4_3: stage and number there.
_VGG = {0: "0.0", 2: "0.2", 5: "1.0", 7: "1.2", 10: "2.0", 12: "2.2", 14: "2.4", 17: "3.0", 19: "3.2", 21: "3.4"}
_END = {"1": "trunk.4.0", "3": "trunk.4.2", "5": "trunk.4.4", "7.1": "fc6", "7.3": "fc7"}
_HEADS = {"head.classification_head.module_list.": "head.classes.", "head.regression_head.module_list.": "head.boxes."}
_FEATURE = re.compile(r"^backbone\.features\.(\d+)\.(.+)")
_EXTRA = re.compile(r"^backbone\.extra\.(\d+)\.(.+)")
_CUT = 13  # unit of MobileNetV3-Large whose first layer is the end of features.0


def matches(keys: set[str]) -> bool:
    """Whether these are the names of torchvision's SSD300 or SSDLite, with or without its head.

    Example:
        >>> matches({"backbone.features.0.weight", "backbone.extra.0.7.1.weight", "backbone.scale_weight"})
        True
    """
    return "backbone.scale_weight" in keys or {
        "backbone.features.0.13.0.weight", "backbone.features.1.0.1.0.weight"
    } <= keys  # fmt: skip


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``ssd300_vgg16`` or ``ssdlite320_mobilenet_v3_large``.

    Example:
        >>> model = saccade.create_model("ssdlite320_mobilenet_v3_large", num_classes=1)
        >>> list(convert({"backbone.features.1.0.3.0.weight": torch.zeros(80, 672, 1, 1)}, model))
        ['backbone.body.trunk.13.block.3.0.weight']
    """
    lite = "backbone.scale_weight" not in state
    return {_rename(name, lite): tensor for name, tensor in state.items()}


def _rename(name: str, lite: bool) -> str:
    if name == "backbone.scale_weight":
        return "backbone.scale"
    for theirs, ours in _HEADS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    if match := _FEATURE.match(name):
        number, rest = int(match[1]), match[2]
        if lite:
            return _lite_feature(number, rest)
        return f"backbone.trunk.{_VGG[number]}.{rest}" if number in _VGG else name
    if match := _EXTRA.match(name):
        level, rest = int(match[1]), match[2]
        if lite:
            return f"backbone.extras.{level}.{rest}"
        layer, _, part = rest.rpartition(".")
        return f"backbone.extras.{level - 1}.{rest}" if level else f"backbone.{_END.get(layer, layer)}.{part}"
    return name


def _lite_feature(half: int, rest: str) -> str:
    number, _, inner = rest.partition(".")
    unit = int(number) + half * _CUT if number.isdecimal() else -1
    if unit != _CUT:
        return f"backbone.body.trunk.{unit}.{inner}"
    return f"backbone.body.trunk.{unit}.block.{inner if half else f'0.{inner}'}"
