"""Lightweight OpenPose files of its author: ``model.N.*``, ``cpm.*``, ``initial_stage``, ``refinement_stages.N``."""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "official lightweight OpenPose"

_MARK = "cpm.align.0.weight"
_BACKBONE = re.compile(r"^model\.(\d+)\.([0-4])\.(.+)$")
_STAGE = re.compile(r"^(?:initial_stage|refinement_stages\.(\d+))\.(.+)$")
_BRANCH = re.compile(r"^(heatmaps|pafs)\.([01])\.0\.(.+)$")
# Positions in a depthwise separable unit, whose ReLUs are 2 and 5.
_UNIT = {"0": "dconv.conv", "1": "dconv.bn", "3": "pconv.conv", "4": "pconv.bn"}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a lightweight OpenPose.

    Example:
        >>> matches({"cpm.align.0.weight", "initial_stage.trunk.0.0.weight", "model.0.0.weight"})
        True
    """
    names = {_plain(key) for key in keys}
    return _MARK in names and "initial_stage.trunk.0.0.weight" in names


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``lightweight_openpose``.

    Example:
        >>> model = saccade.create_model("lightweight_openpose")
        >>> names = ["model.0.1.bias", "model.5.3.weight", "cpm.conv.0.bias", "refinement_stages.0.pafs.1.0.bias"]
        >>> list(convert({name: torch.zeros(1) for name in names}, model))[:3]
        ['backbone.trunk.0.bn.bias', 'backbone.trunk.5.pconv.conv.weight', 'neck.conv.0.bias']
    """
    return {_rename(_plain(name)): tensor for name, tensor in state.items()}


def _plain(name: str) -> str:
    return name.removeprefix("module.")


def _rename(name: str) -> str:
    if layer := _BACKBONE.match(name):
        if layer[1] == "0":  # the only unit that is one convolution
            return f"backbone.trunk.0.{'conv' if layer[2] == '0' else 'bn'}.{layer[3]}"
        return f"backbone.trunk.{layer[1]}.{_UNIT.get(layer[2], layer[2])}.{layer[3]}"
    if name.startswith("cpm."):
        return "neck." + name.removeprefix("cpm.")
    if stage := _STAGE.match(name):
        number = 0 if stage[1] is None else int(stage[1]) + 1
        return f"stages.{number}.{_inside(stage[2])}"
    return name


def _inside(name: str) -> str:
    """A layer inside its stage."""
    branch = _BRANCH.match(name)
    if branch is None:
        return name
    return (
        f"{'fields' if branch[1] == 'pafs' else 'heatmaps'}.{'hidden.0' if branch[2] == '0' else 'output'}.{branch[3]}"
    )
