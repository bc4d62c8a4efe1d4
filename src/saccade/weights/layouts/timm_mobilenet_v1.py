"""MobileNetV1 of timm: ``conv_stem bn1 blocks.0.0.conv_dw ... classifier``."""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "timm MobileNetV1"

_BLOCK = re.compile(r"^blocks\.(\d+)\.(\d+)\.(conv_dw|bn1|conv_pw|bn2)\.")
_PARTS = {"conv_dw": "dconv.conv", "bn1": "dconv.bn", "conv_pw": "pconv.conv", "bn2": "pconv.bn"}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of timm's MobileNetV1: its blocks end with the 1x1 that widens.

    Example:
        >>> matches({"conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.1.conv_pw.weight"})
        True
    """
    return {"conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.1.conv_pw.weight"} <= keys and (
        "blocks.1.1.conv_pwl.weight" not in keys
    )


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``; units are numbered through.

    Example:
        >>> model = saccade.create_model("mobilenet_v1_0_25")
        >>> list(convert({"conv_stem.weight": torch.zeros(8, 3, 3, 3), "classifier.bias": torch.zeros(1000)}, model))
        ['trunk.0.conv.weight', 'head.bias']
    """
    prefix = backbone_prefix(model.state_dict(), "trunk.1.dconv.conv.weight") or ""
    units = sorted({(int(m[1]), int(m[2])) for name in state if (m := _BLOCK.match(name))})
    numbers = {unit: number for number, unit in enumerate(units, start=1)}

    def rename(name: str) -> str:
        name = _BLOCK.sub(lambda m: f"trunk.{numbers[int(m[1]), int(m[2])]}.{_PARTS[m[3]]}.", name)
        name = re.sub(r"^conv_stem\.", "trunk.0.conv.", name)
        return re.sub(r"^bn1\.", "trunk.0.bn.", name).replace("classifier.", "head.")

    return {prefix + rename(name): tensor for name, tensor in state.items()}
