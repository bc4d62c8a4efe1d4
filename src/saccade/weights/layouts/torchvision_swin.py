"""Swin Transformers of torchvision: ``features.0.0``, blocks in odd numbers, merging in even ones."""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision Swin"

_STAGE = re.compile(r"^features\.(\d+)\.")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of torchvision's Swin.

    Example:
        >>> matches({"features.1.0.attn.relative_position_bias_table"})
        True
    """
    return "features.1.0.attn.relative_position_bias_table" in keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``; the index of relative positions is computed anew."""
    prefix = backbone_prefix(model.state_dict(), "layers.0.blocks.0.norm1.weight") or ""
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("relative_position_index")}
    return {prefix + _rename(name): tensor for name, tensor in kept.items()}


def _rename(name: str) -> str:
    name = name.replace("features.0.0.", "patch_embed.proj.").replace("features.0.2.", "patch_embed.norm.")

    def stage(match: re.Match[str]) -> str:
        number = int(match[1])
        return f"layers.{number // 2}.blocks." if number % 2 else f"layers.{number // 2}.downsample."

    name = _STAGE.sub(stage, name).replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
    return re.sub(r"^head\.", "head.fc.", name)
