"""Official YOLOX checkpoints: names ``backbone.backbone.*``, ``backbone.*`` and ``head.*``, which are ours too."""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "official YOLOX"


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a YOLOX, CSPDarknet or Darknet-53, with or without its head."""
    return any(key.startswith("backbone.backbone.dark5.") for key in keys) and (
        "backbone.lateral_conv0.conv.weight" in keys or "backbone.out1_cbl.conv.weight" in keys
    )


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The state as it is."""
    return state
