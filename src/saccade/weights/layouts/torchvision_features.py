"""Files of torchvision whose convolutions are a sequence ``features``: AlexNet, VGG, MobileNets, EfficientNets.

Our networks call the sequence ``trunk``, as ``features`` is a method of every model. VGG's flat sequence of layers is
divided into its five stages there; as the layers are the same, the n-th with weights of the one is the n-th of the
other.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision"

_TRUNK = re.compile(r"(.*\b|)trunk\.")


def matches(keys: set[str]) -> bool:
    """Whether there is a sequence ``features`` of torchvision, and no transformer or ConvNeXt in it.

    Example:
        >>> matches({"features.0.weight", "classifier.6.weight"})
        True
    """
    return any(key.startswith(("features.0.weight", "features.0.0.weight")) for key in keys) and not any(
        ".attn." in key or key.endswith("layer_scale") or key.startswith("pre_logits.") for key in keys
    )


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``.

    Example:
        >>> model = saccade.create_model("mobilenet_v3_small")
        >>> list(convert({"features.0.0.weight": torch.zeros(16, 3, 3, 3)}, model))
        ['trunk.0.0.weight']
    """
    own = [name for name in model.state_dict() if _TRUNK.match(name)]
    if not own:
        return state
    prefix = own[0][: own[0].index("trunk.")]
    flat = all(name.count(".") == 2 for name in state if name.startswith("features."))
    theirs = sorted({int(name.split(".")[1]) for name in state if name.startswith("features.")})
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    layer_of = dict(zip(theirs, layers, strict=False)) if flat and len(theirs) == len(layers) else {}

    def rename(name: str) -> str:
        if not name.startswith("features."):
            return prefix + name
        _, number, rest = name.split(".", 2)
        return f"{layer_of[int(number)]}.{rest}" if layer_of else f"{prefix}trunk.{number}.{rest}"

    return {rename(name): tensor for name, tensor in state.items()}
