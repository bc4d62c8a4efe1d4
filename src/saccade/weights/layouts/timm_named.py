"""Files of timm whose names are this library's: ViT, Swin, ConvNeXt, MobileViT, Darknet-53, CSPDarknet-53, HRNet.

Nothing is renamed but for the prefix of a backbone. What is computed and not learnt (masks, indices) is left out.
HRNet's names are its authors'.
"""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "timm, as named here"

_STEMS = (
    "blocks.0.attn.qkv.weight",  # ViT
    "layers.0.blocks.0.attn.qkv.weight",  # Swin
    "stages.0.blocks.0.conv_dw.weight",  # ConvNeXt
    "stages.2.1.transformer.0.attn.qkv.weight",  # MobileViT
    "stages.0.blocks.0.conv1.conv.weight",  # Darknets
    "stage2.0.fuse_layers.0.1.0.weight",  # HRNet
)
_COMPUTED = ("relative_position_index", "attn_mask")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a ViT, Swin, ConvNeXt, MobileViT, Darknet or HRNet of timm.

    Example:
        >>> matches({"cls_token", "pos_embed", "blocks.0.attn.qkv.weight"})  # ViT
        True
    """
    return any(stem in keys for stem in _STEMS)


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same names; with the prefix of the backbone where ``model`` holds the network inside."""
    stem = next(stem for stem in _STEMS if stem in state)
    prefix = backbone_prefix(model.state_dict(), stem) or ""
    return {prefix + name: tensor for name, tensor in state.items() if not name.endswith(_COMPUTED)}
