"""Official YOLOX-Darknet53: ``backbone.backbone.dark3.1.layer1.conv``, where our Darknet-53 has the names of timm.

The pyramid pooling block at the end of ``dark5`` is the first part of the neck here, since it is no part of Darknet-53.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "YOLOX, Darknet-53"

_BACKBONE = "backbone.backbone."
_STEM = {"stem.0.": "stem.conv1.", "stem.1.": "stages.0.conv_down.", "stem.2.": "stages.0.blocks.0."}
_STAGE = re.compile(r"^dark([2-5])\.(\d+)\.")
_UNITS = {2: 2, 3: 8, 4: 8, 5: 4}  # residual units of each stage; what follows them in dark5 is pyramid pooling


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a YOLOX over Darknet-53, with or without its head.

    Example:
        >>> matches({"backbone.backbone.dark5.0.conv.weight", "backbone.out1_cbl.conv.weight"})
        True
    """
    return {"backbone.out1_cbl.conv.weight", "backbone.backbone.dark5.0.conv.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``yolox_darknet53``.

    Example:
        >>> model = saccade.create_model("yolox_darknet53", num_classes=1)
        >>> list(convert({"backbone.backbone.dark3.1.layer1.conv.weight": torch.zeros(128, 256, 1, 1)}, model))
        ['backbone.backbone.stages.2.blocks.0.conv1.conv.weight']
    """
    return {_rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    if not name.startswith(_BACKBONE):
        return name
    inner = name.removeprefix(_BACKBONE)
    for theirs, ours in _STEM.items():
        if inner.startswith(theirs):
            return _BACKBONE + ours + _unit(inner.removeprefix(theirs))
    match = _STAGE.match(inner)
    if match is None:
        return name
    stage, number, rest = int(match[1]), int(match[2]), inner[match.end() :]
    if number == 0:
        return f"{_BACKBONE}stages.{stage - 1}.conv_down.{rest}"
    if number <= _UNITS[stage]:
        return f"{_BACKBONE}stages.{stage - 1}.blocks.{number - 1}.{_unit(rest)}"
    return f"backbone.spp.{number - _UNITS[stage] - 1}.{rest}"


def _unit(rest: str) -> str:
    """Names inside a residual unit."""
    return rest.replace("layer1.", "conv1.").replace("layer2.", "conv2.")
