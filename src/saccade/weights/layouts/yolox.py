"""Official YOLOX checkpoints, whose names are this library's: ``backbone.backbone.*``, ``backbone.*``, ``head.*``."""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "official YOLOX"


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a YOLOX over CSPDarknet, with or without its head.

    Example:
        >>> matches({"backbone.backbone.dark5.1.conv1.conv.weight", "backbone.lateral_conv0.conv.weight"})
        True
    """
    return "backbone.lateral_conv0.conv.weight" in keys and any(
        key.startswith("backbone.backbone.dark5.") for key in keys
    )


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The state unchanged: the names are this library's too."""
    return state
