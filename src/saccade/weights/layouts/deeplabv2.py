"""DeepLabV2 files of kazuto1011/deeplab-pytorch: ``layer1.conv1.conv.weight ... aspp.c3.bias``.

In the form with several image sizes all names begin with ``base.``, in older files with ``scale.``. They see BGR pixels
less their mean, and no standard deviation: the first layer is turned round and scaled to what our network sees.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.caffe_pixels import for_rgb
from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "DeepLabV2 (kazuto1011)"

_PREFIX = re.compile(r"^(base|scale)\.")
_STEM = re.compile(r"^layer1\.conv1\.(conv|bn)\.")
_BLOCK = re.compile(r"^layer(\d)\.block(\d+)\.(reduce|conv3x3|increase|proj|shortcut)\.(conv|bn)\.")
_ASPP = re.compile(r"^aspp\.(?:stages\.)?c(\d)\.")
_NUMBERS = {"reduce": 1, "conv3x3": 2, "increase": 3}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a DeepLabV2 over a ResNet.

    Example:
        >>> names = ("layer1.conv1.conv.weight", "layer2.block1.reduce.conv.weight", "aspp.c0.weight")
        >>> matches(set(names)), matches({f"base.{name}" for name in names})
        (True, True)
    """
    bare = {_PREFIX.sub("", key) for key in keys}
    scores = {"aspp.c0.weight", "aspp.stages.c0.weight"}
    return {"layer1.conv1.conv.weight", "layer2.block1.reduce.conv.weight"} <= bare and bool(scores & bare)


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``deeplabv2_resnet101``.

    Example:
        >>> model = saccade.create_model("deeplabv2_resnet101", depths=(1, 1, 1, 1))
        >>> list(convert({"base.layer5.block2.conv3x3.bn.weight": torch.zeros(512)}, model))
        ['backbone.layer4.1.bn2.weight']
    """
    renamed = {_rename(_PREFIX.sub("", name)): tensor for name, tensor in state.items()}
    first = "backbone.conv1.weight"
    return {name: for_rgb(tensor) if name == first else tensor for name, tensor in renamed.items()}


def _rename(name: str) -> str:
    name = _STEM.sub(lambda m: f"backbone.{m[1]}1.", name)
    name = _ASPP.sub(r"aspp.\1.", name)
    return _BLOCK.sub(lambda m: f"backbone.layer{int(m[1]) - 1}.{int(m[2]) - 1}.{_inner(m[3], m[4])}.", name)


def _inner(layer: str, kind: str) -> str:
    """Name inside a bottleneck of the convolution or BN of a layer."""
    if layer in _NUMBERS:
        return f"{kind}{_NUMBERS[layer]}"
    return "downsample.0" if kind == "conv" else "downsample.1"
