"""Files of torchvision whose names are this library's: GoogLeNet and ShuffleNetV2.

Nothing is renamed but for the prefix of a backbone. A GoogLeNet saved without its auxiliary classifiers loads, and
the report lists them as missing.
"""

from __future__ import annotations

from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision, as named here"

_STEMS = ("inception3a.branch1.conv.weight", "stage2.0.branch1.0.weight")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a GoogLeNet or a ShuffleNetV2.

    Example:
        >>> matches({"stage2.0.branch1.0.weight", "conv5.0.weight"})  # ShuffleNetV2
        True
    """
    return any(stem in keys for stem in _STEMS)


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same names; with the prefix of the backbone where ``model`` holds the network inside."""
    stem = next(stem for stem in _STEMS if stem in state)
    prefix = backbone_prefix(model.state_dict(), stem)
    return state if prefix is None else {prefix + name: tensor for name, tensor in state.items()}
