"""CenterNet files of its authors: heads ``hm``, ``wh`` and ``reg`` over ResNet, DLA or two hourglasses.

The names are ours but for a prefix: heads are counted by hourglass here, so those of the other networks are number 0;
shortcuts of hourglasses are called ``skip`` there. Networks with deformable convolutions are other networks.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.errors import WeightsError
from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "official CenterNet"

_BODIES = ("deconv_layers.0.weight", "dla_up.ida_0.node_1.0.weight", "kps.0.up1.0.conv1.weight")
_DEFORMABLE = "conv_offset_mask"
_HEAD = re.compile(r"^(hm|wh|reg)\.(.*)")
_HOURGLASS_HEAD = ((re.compile(r"^(\d+)\.0\.conv\."), r"\1.0."), (re.compile(r"^(\d+)\.1\."), r"\1.2."))


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a CenterNet of its authors, deformable ones included.

    Example:
        >>> matches({"conv1.weight", "deconv_layers.0.weight", "hm.0.weight", "hm.2.weight"})
        True
    """
    has_heads = any(key.startswith("hm.") for key in keys)
    return has_heads and (any(body in keys for body in _BODIES) or any(_DEFORMABLE in key for key in keys))


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``centernet_resnet18``, ``centernet_dla34`` or ``centernet_hourglass104``.

    Raises:
        WeightsError: If the file's network has deformable convolutions.

    Example:
        >>> model = saccade.create_model("centernet_resnet18", num_classes=1)
        >>> list(convert({"conv1.weight": torch.zeros(64, 3, 7, 7), "wh.2.bias": torch.zeros(2)}, model))
        ['backbone.backbone.conv1.weight', 'wh.0.2.bias']
    """
    if any(_DEFORMABLE in name for name in state):
        raise WeightsError(
            "this CenterNet has deformable convolutions, which need compiled code, and no network here has them. "
            "Take the file of the same network without them (res_18, dlav0_34, hourglass)."
        )
    stacked = any(name.startswith("kps.") for name in state)
    plain = not stacked and not any(name.startswith("base.") for name in state)
    return {_rename(name, stacked, plain): tensor for name, tensor in state.items()}


def _rename(name: str, stacked: bool, plain: bool) -> str:
    head = _HEAD.match(name)
    if head is None:
        inner = name.replace(".skip.", ".downsample.") if stacked else name
        within = "backbone.backbone." if plain and not name.startswith("deconv_layers.") else "backbone."
        return within + inner
    rest = head[2] if stacked else f"0.{head[2]}"
    if stacked:
        for pattern, replacement in _HOURGLASS_HEAD:
            rest = pattern.sub(replacement, rest)
    return f"{head[1]}.{rest}"
