"""OpenPose files that were converted from Caffe: ``conv1_1 ... conv5_5_CPM_L1``, ``Mconv7_stage6_L2``.

``L1`` are the fields and ``L2`` the heatmaps. Converters put the names of their modules before (``model1_1.``).
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "OpenPose of its authors, from Caffe"

_FRONT = re.compile(r"^conv([1-4])_([1-4])$")
_NECK = {"conv4_3_CPM": "neck.0", "conv4_4_CPM": "neck.2"}
_FIRST = re.compile(r"^conv5_([1-5])_CPM_L([12])$")
_LATER = re.compile(r"^Mconv([1-7])_stage([2-6])_L([12])$")
_BRANCHES = {"1": "fields", "2": "heatmaps"}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of OpenPose's layers in Caffe.

    Example:
        >>> matches({"model0.conv1_1.weight", "model1_1.conv5_5_CPM_L1.weight"}), matches({"conv1_1.weight"})
        (True, False)
    """
    return any(_layer(key) == "conv5_5_CPM_L1" for key in keys)


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``openpose_coco``.

    Example:
        >>> model = saccade.create_model("openpose_coco", backbone="resnet18", stages=1, channels=8)
        >>> names = ["conv4_2.bias", "conv4_3_CPM.bias", "conv5_5_CPM_L1.bias", "model6_2.Mconv7_stage6_L2.bias"]
        >>> list(convert({name: torch.zeros(1) for name in names}, model))
        ['backbone.trunk.3.2.bias', 'neck.0.bias', 'stages.0.fields.output.bias', 'stages.5.heatmaps.output.bias']
    """
    return {_rename(name): tensor for name, tensor in state.items()}


def _layer(name: str) -> str:
    """Name of the layer, without modules before it and without its tensor."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _rename(name: str) -> str:
    layer, tensor = _layer(name), name.rpartition(".")[2]
    if layer in _NECK:
        return f"{_NECK[layer]}.{tensor}"
    if front := _FRONT.match(layer):
        return f"backbone.trunk.{int(front[1]) - 1}.{2 * (int(front[2]) - 1)}.{tensor}"
    if first := _FIRST.match(layer):
        return f"stages.0.{_BRANCHES[first[2]]}.{_place(int(first[1]), 5)}.{tensor}"
    if later := _LATER.match(layer):
        return f"stages.{int(later[2]) - 1}.{_BRANCHES[later[3]]}.{_place(int(later[1]), 7)}.{tensor}"
    return name


def _place(number: int, last: int) -> str:
    """A convolution of a branch by its number from 1; a ReLU follows all but the last."""
    return "output" if number == last else f"hidden.{2 * (number - 1)}"
