"""Files of torchvision whose convolutions are a sequence ``features``: AlexNet, VGG, MobileNets, EfficientNets.

Our networks call the sequence ``trunk``, as ``features`` is a method of every model. VGG's flat sequence of layers is
divided into its five stages there; as the layers are the same, the n-th with weights of the one is the n-th of the
other.

Below SSD, a VGG-16 also gives fc6 and fc7, of which every fourth filter and every third pixel are taken (Liu et al.
2016, section 3), and its first layer is scaled to pixels that are not divided by their standard deviation. Below Fast
and Faster R-CNN they are the layers over each region, as they are (Girshick 2015, section 2.2). In FCN they are
convolutions with all their weights (Long et al. 2015, section 3.1), in DeepLab-LargeFOV thinned out as below SSD (Chen
et al. 2015, section 3.1).
"""

from __future__ import annotations

import re
from typing import cast

import torch
from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision"

_IMAGENET_STD = (58.395, 57.12, 57.375)
_REGION_HEAD = "box_branch.head"
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

    renamed = {rename(name): tensor for name, tensor in state.items()}
    own_shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if f"{prefix}fc6.weight" in own_shapes:
        return _below_ssd(renamed, prefix)
    if "fc6.weight" in own_shapes:
        return _as_convolutions(renamed, prefix, own_shapes)
    over_regions = {
        f"{prefix}classifier.{layer}.{part}": f"{_REGION_HEAD}.{name}.{part}"
        for layer, name in ((0, "fc6"), (3, "fc7"))
        for part in ("weight", "bias")
    }
    fit = all(name in renamed and renamed[name].shape == own_shapes.get(to) for name, to in over_regions.items())
    return {over_regions.get(name, name): tensor for name, tensor in renamed.items()} if fit else renamed


def _as_convolutions(state: dict[str, Tensor], prefix: str, own: dict[str, torch.Size]) -> dict[str, Tensor]:
    """fc6 and fc7 as the convolutions of these names, where they are VGG's; every n-th filter and pixel of larger ones.

    Args:
        state: Tensors under the names of the model but for these.
        prefix: Of the backbone.
        own: Shapes of the model's tensors; fc6 sees 7 x 7 or 3 x 3 locations.
    """
    layers = [state.get(f"{prefix}classifier.{layer}") for layer in ("0.weight", "0.bias", "3.weight", "3.bias")]
    filters, channels, window, _ = own["fc6.weight"]
    if any(layer is None for layer in layers):
        return state
    fc6, fc6_bias, fc7, fc7_bias = cast(list[Tensor], layers)
    width = fc7.shape[-1] if fc7.ndim else 0
    whole = [(width, channels * 49), (width,), (width, width), (width,)]
    if [tuple(layer.shape) for layer in (fc6, fc6_bias, fc7, fc7_bias)] != whole or width % filters:
        return state
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(f"{prefix}classifier.")}
    every, apart = width // filters, 1 if window == 7 else 3
    kept["fc6.weight"] = fc6.view(-1, channels, 7, 7)[::every, :, ::apart, ::apart]
    kept["fc7.weight"] = fc7[::every, ::every, None, None]
    kept["fc6.bias"], kept["fc7.bias"] = fc6_bias[::every], fc7_bias[::every]
    return kept


def _below_ssd(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """VGG-16 as :class:`saccade.models.detection.ssd_parts.SSDVGG` has it."""
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(f"{prefix}classifier.")}
    first = f"{prefix}trunk.0.0.weight"
    if first in kept:
        kept[first] = kept[first] / kept[first].new_tensor(_IMAGENET_STD).view(1, 3, 1, 1)
    layers = [state.get(f"{prefix}classifier.{layer}") for layer in ("0.weight", "0.bias", "3.weight", "3.bias")]
    if all(tensor is not None and bool(tensor.isfinite().all()) for tensor in layers):
        fc6, fc6_bias, fc7, fc7_bias = cast(list[Tensor], layers)
        kept[f"{prefix}fc6.weight"] = fc6.view(len(fc6), -1, 7, 7)[::4, :, ::3, ::3]
        kept[f"{prefix}fc7.weight"] = fc7[::4, ::4, None, None]
        kept[f"{prefix}fc6.bias"], kept[f"{prefix}fc7.bias"] = fc6_bias[::4], fc7_bias[::4]
    return kept
