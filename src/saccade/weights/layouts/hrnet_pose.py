"""HRNet pose files of its authors (``stage2.0.branches.*``, ``final_layer.weight``) and of MMPose.

The backbone's names are ours. MMPose has ``backbone.`` before them, and the last convolution in ``keypoint_head.``
(versions 0.x) or ``head.`` (1.x).
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "official HRNet pose"

_STEM = "stage2.0.fuse_layers.0.1.0.weight"
_LAST = re.compile(r"^(keypoint_head\.|head\.)?final_layer\.(weight|bias)$")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of an HRNet for pose.

    Example:
        >>> matches({"stage2.0.fuse_layers.0.1.0.weight", "final_layer.weight"})
        True
        >>> matches({"backbone.stage2.0.fuse_layers.0.1.0.weight", "keypoint_head.final_layer.weight"})
        True
        >>> matches({"stage2.0.fuse_layers.0.1.0.weight", "final_layer.0.weight"})  # a classifier
        False
    """
    has_backbone = _STEM in keys or f"backbone.{_STEM}" in keys
    return has_backbone and any(_LAST.match(key) for key in keys)


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``hrnet_w32_pose`` and its relatives.

    Example:
        >>> model = saccade.create_model("hrnet_pose")
        >>> list(convert({"conv1.weight": torch.zeros(64, 3, 3, 3), "final_layer.bias": torch.zeros(17)}, model))
        ['backbone.conv1.weight', 'head.bias']
    """
    prefix = backbone_prefix(model.state_dict(), _STEM) or ""
    return {_rename(name, prefix): one for name, one in state.items()}


def _rename(name: str, prefix: str) -> str:
    last = _LAST.match(name)
    return f"head.{last[2]}" if last else prefix + name.removeprefix("backbone.")
