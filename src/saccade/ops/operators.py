"""torchvision's operators, loaded when the first is called.

Importing torchvision loads torch's compiler, seconds for which a program without boxes would wait. One that only
predicts needs no more than the suppression of boxes, whose library is loaded without the package around it.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["suppress", "suppress_apart", "torchvision_operators"]

_FEW = 1500  # boxes whose comparison with each other costs less than taking them apart


def torchvision_operators() -> Any:
    """Module ``torchvision.ops``; its operators are registered from then on, also for graphs that are traced.

    Example:
        >>> torchvision_operators().box_area(torch.tensor([[0.0, 0.0, 2.0, 3.0]]))
        tensor([6.])
    """
    import torchvision

    return torchvision.ops


def suppress(boxes_xyxy: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Greedy suppression outside of graphs, as ``torchvision.ops.nms``.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        iou: Boxes that overlap a better one by more are left out.

    Returns:
        Rows that are kept, by falling score, (K,).

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9]])
        >>> suppress(boxes, torch.tensor([0.5, 0.9]), 0.5)
        tensor([1])
    """
    if not _has_library():
        return torchvision_operators().nms(boxes_xyxy, scores, iou)
    return torch.ops.torchvision.nms(boxes_xyxy, scores, iou)


def suppress_apart(boxes_xyxy: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Greedy suppression outside of graphs, of boxes of which those of different groups do not overlap.

    torchvision compares every box that is kept with all that score less, so that on a CPU the time of a call grows with
    the square of all groups together; there each group of many boxes is a call of its own.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        groups: (N,) int64.
        iou: Boxes that overlap a better one by more are left out.

    Returns:
        Rows that are kept, (K,), in no particular order.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [5.0, 0.0, 7.0, 2.0], [5.0, 0.0, 7.0, 1.9]])
        >>> suppress_apart(boxes, torch.tensor([0.5, 0.9, 0.8]), torch.tensor([0, 1, 1]), 0.5).sort().values
        tensor([0, 1])
    """
    if not boxes_xyxy.is_cpu or len(boxes_xyxy) < _FEW:
        return suppress(boxes_xyxy, scores, iou)
    order = groups.argsort(stable=True)
    sizes = groups[order].unique_consecutive(return_counts=True)[1].tolist()
    parts = zip(order.split(sizes), boxes_xyxy[order].split(sizes), scores[order].split(sizes), strict=True)
    return torch.cat([rows[suppress(boxes, values, iou)] for rows, boxes, values in parts])


@cache
def _has_library() -> bool:
    """Whether the library of operators is there by itself; other builds of torchvision may keep it elsewhere."""
    if "torchvision" in sys.modules:
        return True
    found = importlib.util.find_spec("torchvision")
    folders = (found.submodule_search_locations if found is not None else None) or ()
    libraries = [path for folder in folders for path in sorted(Path(folder).glob("_C*")) if path.suffix != ".py"]
    try:
        torch.ops.load_library(str(libraries[0]))
    except (IndexError, OSError):
        return False
    return hasattr(torch.ops.torchvision, "nms")
