"""Files of torchvision whose convolutions are a row called ``features``: AlexNet, VGG, MobileNets, EfficientNets.

Our networks call the row ``trunk``, as ``features`` is a method of every model. VGG's flat row of layers is divided
into its five stages there; as the layers are the same, the n-th with weights of the one is the n-th of the other.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision"

_TRUNK = re.compile(r"(.*\b|)trunk\.")


def matches(keys: set[str]) -> bool:
    """Whether there is such a row, and no transformer or ConvNeXt in it."""
    return any(key.startswith(("features.0.weight", "features.0.0.weight")) for key in keys) and not any(
        ".attn." in key or key.endswith("layer_scale") or key.startswith("pre_logits.") for key in keys
    )


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``."""
    own = [name for name in model.state_dict() if _TRUNK.match(name)]
    if not own:
        return state
    prefix = own[0][: own[0].index("trunk.")]
    flat = all(name.count(".") == 2 for name in state if name.startswith("features."))
    theirs = sorted({int(name.split(".")[1]) for name in state if name.startswith("features.")})
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    places = dict(zip(theirs, layers, strict=False)) if flat and len(theirs) == len(layers) else {}

    def rename(name: str) -> str:
        if not name.startswith("features."):
            return prefix + name
        _, number, rest = name.split(".", 2)
        return f"{places[int(number)]}.{rest}" if places else f"{prefix}trunk.{number}.{rest}"

    return {rename(name): tensor for name, tensor in state.items()}
