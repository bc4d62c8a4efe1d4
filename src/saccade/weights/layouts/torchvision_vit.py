"""Vision Transformers of torchvision: ``class_token conv_proj encoder.layers.encoder_layer_0 ... heads.head``.

Published files call the two layers of an MLP ``linear_1`` and ``linear_2``; today's modules number them 0 and 3.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision ViT"

_RULES = (
    (re.compile(r"^class_token$"), "cls_token"),
    (re.compile(r"^conv_proj\."), "patch_embed.proj."),
    (re.compile(r"^encoder\.pos_embedding$"), "pos_embed"),
    (re.compile(r"^encoder\.layers\.encoder_layer_(\d+)\."), r"blocks.\1."),
    (re.compile(r"\.ln_([12])\."), r".norm\1."),
    (re.compile(r"\.self_attention\.in_proj_(weight|bias)$"), r".attn.qkv.\1"),
    (re.compile(r"\.self_attention\.out_proj\."), ".attn.proj."),
    (re.compile(r"\.mlp\.(0|linear_1)\."), ".mlp.fc1."),
    (re.compile(r"\.mlp\.(3|linear_2)\."), ".mlp.fc2."),
    (re.compile(r"^encoder\.ln\."), "norm."),
    (re.compile(r"^heads\.head\."), "head."),
)


def matches(keys: set[str]) -> bool:
    """Whether these are the names of torchvision's ViT.

    Example:
        >>> matches({"class_token", "encoder.pos_embedding"})
        True
    """
    return {"class_token", "encoder.pos_embedding"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``.

    Example:
        >>> model = saccade.create_model("vit_ti_16")
        >>> list(convert({"encoder.layers.encoder_layer_3.ln_1.bias": torch.zeros(192)}, model))
        ['blocks.3.norm1.bias']
    """
    prefix = backbone_prefix(model.state_dict(), "blocks.0.norm1.weight") or ""
    return {prefix + _rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name
