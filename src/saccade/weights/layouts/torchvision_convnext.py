"""ConvNeXts of torchvision: ``features.0.0``, blocks in odd numbers, downsampling in even ones."""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision ConvNeXt"

_STAGE = re.compile(r"^features\.(\d+)\.")
_PARTS = {"block.0": "conv_dw", "block.2": "norm", "block.3": "mlp.fc1", "block.5": "mlp.fc2", "layer_scale": "gamma"}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of torchvision's ConvNeXt.

    Example:
        >>> matches({"features.0.0.weight", "features.1.0.layer_scale"})
        True
    """
    return "features.1.0.layer_scale" in keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``; layer scales lose the two dimensions of length 1."""
    prefix = backbone_prefix(model.state_dict(), "stages.0.blocks.0.gamma") or ""
    return {
        prefix + _rename(name): tensor.flatten() if name.endswith("layer_scale") else tensor
        for name, tensor in state.items()
    }


def _rename(name: str) -> str:
    def stage(match: re.Match[str]) -> str:
        number = int(match[1])
        if number == 0:
            return "stem."
        return f"stages.{number // 2}.blocks." if number % 2 else f"stages.{number // 2}.downsample."

    name = _STAGE.sub(stage, name)
    for theirs, ours in _PARTS.items():
        name = name.replace(f".{theirs}", f".{ours}")
    return name.replace("classifier.0.", "head.norm.").replace("classifier.2.", "head.fc.")
