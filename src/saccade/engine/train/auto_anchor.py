"""Anchors fitted to the training images before the first step (``auto_anchor``), or only asked about (``check``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.data.derived.image_sizes import image_sizes
from saccade.data.transforms.resize import resize_geometry
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.models.detection.anchor_yolo import AnchorYOLO
from saccade.ops.auto_anchor import AnchorFit, fit_anchors
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec

__all__ = ["auto_anchor", "object_sizes", "try_anchors"]

_IMAGES = 2000  # evenly spaced, whose objects are looked at


def object_sizes(dataset: VisionDataset, spec: InputSpec, image_count: int = _IMAGES) -> Tensor:
    """Width and height of objects as a network sees them: resized to its canvas, without augmentation.

    Crowds and difficult objects, which do not train, are left out.

    Args:
        dataset: Images with boxes.
        spec: Of the network.
        image_count: How many images, evenly spaced, are looked at.

    Returns:
        (N, 2), pixels of the canvas.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> object_sizes(DigitScenes("detection", "val", count=2), InputSpec((64, 64))).shape[1]
        2
    """
    count = min(image_count, len(dataset))
    indices = np.unique(np.linspace(0, max(len(dataset) - 1, 0), count).astype(int)).tolist()
    found = [np.zeros((0, 2), np.float32)]
    for index in indices:
        try:
            target: Any = dataset.target(index)
            height, width = image_sizes(dataset, [index])[0].tolist()
        except DataError:  # what cannot be read is named where it is needed
            continue
        if "boxes" not in target:
            continue
        boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 4)
        trains = np.ones(len(boxes), bool)
        for key in ("iscrowd", "difficult"):
            if key in target:
                trains &= ~target[key].astype(bool)
        mapped = resize_geometry((height, width), spec).map_boxes(boxes[trains])
        found.append(mapped[:, 2:] - mapped[:, :2])
    sides = torch.from_numpy(np.concatenate(found)).float()
    return sides[torch.isfinite(sides).all(dim=1)]


def try_anchors(model: AnchorYOLO, dataset: VisionDataset, seed: int = 0, image_count: int = _IMAGES) -> AnchorFit:
    """Anchors that fit a data set, beside the network's own; nothing is changed.

    Args:
        model: Gives the present anchors and the canvas.
        dataset: Images with boxes.
        seed: Of the search.
        image_count: How many images, evenly spaced, are looked at.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> model = saccade.create_model("yolov5n", num_classes=10)
        >>> try_anchors(model, DigitScenes("detection", "val", count=2)).before
        1.0
    """
    levels = model.anchor_sizes.detach().cpu().split(model.anchor_counts)
    sizes = object_sizes(dataset, model.input_spec, image_count)
    return fit_anchors(sizes, [level.tolist() for level in levels], seed)


def auto_anchor(model: Model, dataset: VisionDataset, seed: int = 0) -> AnchorFit:
    """Give a network anchors that fit its training images, if that raises the best possible recall.

    Args:
        model: A YOLO with anchors; new ones are saved with its checkpoints.
        dataset: Training images.
        seed: Of the search, so that every process of a run finds the same.

    Raises:
        ConfigError: If the network has no such anchors.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> model = saccade.create_model("yolov5n", num_classes=10, anchors=[[(2, 2)], [(3, 3)], [(4, 4)]])
        >>> fit = auto_anchor(model, DigitScenes("detection", "val", count=8))
        >>> fit.before, fit.replaced, model.anchor_sizes[0].tolist() == list(fit.anchors[0][0])
        (0.0, True, True)
    """
    if not isinstance(model, AnchorYOLO):
        raise ConfigError(
            f"auto_anchor: {model.builder_name or type(model).__name__} has no anchors of YOLO's kind. Set it to false."
        )
    fit = try_anchors(model, dataset, seed)
    if fit.replaced:
        model.set_anchors(fit.anchors)
    return fit
