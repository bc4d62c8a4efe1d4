"""YOLOv5 v6.0 and later: layers numbered from the stem to the detection layer, ``model.0.conv`` to ``model.24.m.0``.

The numbers of the four-level form (P6) go up to 33. What joins and upsamples has a number and no tensors. Anchors are
a buffer of the detection layer, in cells of their level; they become the network's own, in pixels.

The authors publish pickled modules, which run code when they are read and are refused. Who trusts such a file saves a
plain state dict of it inside of the authors' repository:
``torch.save(torch.load("yolov5s.pt", weights_only=False)["model"].float().state_dict(), "yolov5s.pth")``.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from saccade.errors import WeightsError
from saccade.structures.text import printable
from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "YOLOv5"

_STEM = {"model.0.conv.weight", "model.2.cv3.conv.weight"}  # v5.0 and before: model.0.conv.conv.weight
_LAYER = re.compile(r"^model\.(\d+)\.(.+)$")
_CONV = re.compile(r"(^|\.)cv(?=\d\.)")
_FINEST = 8  # stride
_STAGES = {3: 4, 4: 5}  # of the backbone, by the number of levels


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a YOLOv5, with or without its detection layer.

    Example:
        >>> matches({"model.0.conv.weight", "model.2.cv3.conv.weight", "model.24.m.0.weight"})
        True
    """
    return keys >= _STEM


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``yolov5n`` and its kin, anchors in pixels.

    Raises:
        WeightsError: If the file's anchors do not fit its levels.

    Example:
        >>> with torch.device("meta"):
        ...     model = saccade.create_model("yolov5n", num_classes=1)
        >>> state = {"model.2.m.0.cv1.conv.weight": torch.zeros(1), "model.24.m.2.bias": torch.zeros(18)}
        >>> list(convert(state, model))
        ['backbone.stages.0.1.m.0.conv1.conv.weight', 'head.2.bias']
    """
    numbers = [int(match[1]) for name in state if (match := _LAYER.match(name))]
    levels = 4 if max(numbers, default=0) > max(_parts(levels=3)) else 3
    parts = _parts(levels)
    converted = {}
    for name, tensor in state.items():
        match = _LAYER.match(name)
        part = parts.get(int(match[1])) if match else None
        if match is None or part is None:
            converted[name] = tensor
        elif part != "head":
            inner = _CONV.sub(r"\1conv", match[2])
            converted[f"{part}.{inner}"] = tensor
        elif match[2] == "anchors":
            converted["anchor_sizes"] = _in_pixels(name, tensor, levels)
        elif match[2] != "anchor_grid":  # the same anchors in another shape, in older files
            converted[f"head.{match[2].removeprefix('m.')}"] = tensor
    return converted


def _parts(levels: int) -> dict[int, str]:
    """Names here of the numbered layers that have tensors."""
    parts, number = {0: "backbone.stem"}, 1
    for stage in range(_STAGES[levels]):
        parts[number], parts[number + 1] = f"backbone.stages.{stage}.0", f"backbone.stages.{stage}.1"
        number += 2
    parts[number] = f"backbone.stages.{_STAGES[levels] - 1}.2"
    number += 1
    for level in reversed(range(levels - 1)):  # then upsampling, concatenation
        parts[number], parts[number + 3] = f"neck.laterals.{level}", f"neck.to_fine.{level}"
        number += 4
    for level in range(levels - 1):  # with a concatenation between
        parts[number], parts[number + 2] = f"neck.strided.{level}", f"neck.to_coarse.{level}"
        number += 3
    parts[number] = "head"
    return parts


def _in_pixels(name: str, anchors: Tensor, levels: int) -> Tensor:
    """Anchors (levels, anchors, 2) in cells as (levels x anchors, 2) in pixels.

    Raises:
        WeightsError: If they are not so many, or get smaller where cells get larger.
    """
    cells = anchors.float()
    shown = printable(name, limit=60)
    if cells.ndim != 3 or cells.shape[0] != levels or cells.shape[2] != 2:
        raise WeightsError(
            f"{shown} has shape {tuple(anchors.shape)}; it must be ({levels}, anchors, 2): width and height of the "
            "anchors of each level. Save the network's state dict again, unchanged."
        )
    pixels = cells * (_FINEST * 2 ** torch.arange(levels))[:, None, None]
    areas = pixels.prod(dim=2).mean(dim=1)
    if not bool((pixels > 0).all()) or not bool((areas.diff() > 0).all()):
        raise WeightsError(
            f"{shown} holds anchors that are not above 0, or get smaller from level to level: they do not fit strides "
            "8, 16, 32 and so on. Save the network's state dict again, unchanged."
        )
    return pixels.flatten(0, 1)
