"""FCN files of the authors as wkentaro/pytorch-fcn converts them from Caffe: ``conv1_1 ... fc7 score_fr ... upscore8``.

They see BGR pixels less their mean, and no standard deviation: the first layer is turned round and scaled to what our
network sees.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.caffe_pixels import for_rgb
from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "FCN (Caffe)"

_CONVOLUTION = re.compile(r"^conv(\d)_(\d)\.")
_HEADS = {
    "score_fr": "scores.0",
    "score_pool4": "scores.1",
    "score_pool3": "scores.2",
    "upscore2": "upsamplings.0",
    "upscore_pool4": "upsamplings.1",
    "upscore": "last_upsampling",
    "upscore16": "last_upsampling",
    "upscore8": "last_upsampling",
}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of an FCN over VGG-16.

    Example:
        >>> matches({"conv1_1.weight", "conv5_3.weight", "fc6.weight", "score_fr.weight"})
        True
    """
    return {"conv1_1.weight", "conv5_3.weight", "fc6.weight", "score_fr.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``fcn8s_vgg16``, ``fcn16s_vgg16`` and ``fcn32s_vgg16``.

    Example:
        >>> model = saccade.create_model("fcn8s_vgg16", fc_channels=8, base_channels=8)
        >>> list(convert({"conv3_2.bias": torch.zeros(32), "upscore8.weight": torch.zeros(21, 21, 16, 16)}, model))
        ['backbone.trunk.2.2.bias', 'last_upsampling.weight']
    """
    renamed = {_rename(name): tensor for name, tensor in state.items()}
    first = "backbone.trunk.0.0.weight"
    return {name: for_rgb(tensor) if name == first else tensor for name, tensor in renamed.items()}


def _rename(name: str) -> str:
    layer, _, rest = name.partition(".")
    if layer in _HEADS:
        return f"{_HEADS[layer]}.{rest}"
    # Between two convolutions of a stage there is a ReLU.
    return _CONVOLUTION.sub(lambda m: f"backbone.trunk.{int(m[1]) - 1}.{2 * (int(m[2]) - 1)}.", name)
