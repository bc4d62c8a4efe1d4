"""A batch of images, and its targets as tensors of one shape, so that losses and assigners need no loop over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from saccade.structures.kinds import kind_of
from saccade.structures.sample import ImageInfo, Target

__all__ = ["Batch", "pad_targets"]

# Keys that make a target a list of objects; without them its labels belong to the whole image.
_OBJECTS = ("boxes", "masks", "keypoints")
_MULTIPLE = 8


@dataclass(slots=True)
class Batch:
    """Batch of images of one canvas, stacked, with their targets as padded tensors.

    Args:
        images: (B, C, H, W), uint8 until it is on its device.
        targets: Padded tensors by kind, leading dimension B (:func:`pad_targets`).
        infos: One an image.
        originals: Targets in original pixels, for evaluation; empty in training.
        inputs: Further inputs of the network by name, leading dimension B.

    Example:
        >>> targets = pad_targets([{"labels": torch.tensor(3)}, {"labels": torch.tensor(1)}])
        >>> Batch(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), targets, infos=[]).targets["labels"]
        tensor([3, 1])
    """

    images: Tensor
    targets: dict[str, Tensor]
    infos: list[ImageInfo]
    originals: list[Target] = field(default_factory=list)
    inputs: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device, channels_last: bool = False) -> Batch:
        """Copy the batch to ``device``."""
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        images = self.images.to(device, non_blocking=True, memory_format=memory_format)
        targets, inputs = (
            {key: value.to(device, non_blocking=True) for key, value in tensors.items()}
            for tensors in (self.targets, self.inputs)
        )
        return Batch(images, targets, self.infos, self.originals, inputs)

    def pin_memory(self) -> Batch:
        """Copy the batch to page-locked memory, so that the copy to a GPU overlaps with computation."""
        targets, inputs = (
            {key: value.pin_memory() for key, value in tensors.items()} for tensors in (self.targets, self.inputs)
        )
        return Batch(self.images.pin_memory(), targets, self.infos, self.originals, inputs)


def pad_targets(targets: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Tensor]:
    """Stack the targets of a batch, padding what is counted per object.

    An image's objects come first and in their order. The number of rows is the largest count, rounded up to a multiple
    of 8 and at least 8: few different shapes occur, and none is empty. A row without an object has label -1, zeros
    elsewhere, and keypoints of visibility 0. Masks of objects with boxes are cropped to their boxes, whole pixels, and
    padded to the largest crop: a batch of 8 large images with 60 objects each would hold gigabytes otherwise.

    Args:
        targets: One mapping an image (arrays or tensors), or what this function returned, which is given back
            unchanged. Keys are kinds of :mod:`saccade.structures.kinds`. Values of the whole image, and ``labels`` of a
            target without objects (a class, or a mixture of classes), are stacked.

    Returns:
        Tensors with leading dimension B, on the device and with the dtype of the input. ``masks`` (B, N, h, w) has
        ``mask_origins`` (B, N, 2) int64 beside it: x and y of the upper left pixel of each crop on the canvas.

    Raises:
        DataError: If a key is no known kind.
        ValueError: If the targets do not have the same keys, or per-image values differ in shape.

    Example:
        >>> pad_targets([{"boxes": torch.zeros(3, 4), "labels": torch.tensor([0, 1, 1])}])["labels"]
        tensor([[ 0,  1,  1, -1, -1, -1, -1, -1]])
    """
    if isinstance(targets, Mapping):
        return dict(targets)
    if not targets:
        return {}
    keys = list(targets[0])
    for position, target in enumerate(targets):
        if set(target) != set(keys):
            raise ValueError(
                f"target {position} has the keys {sorted(target)}, target 0 has {sorted(keys)}; they must agree."
            )
    has_objects = any(key in _OBJECTS for key in keys)
    padded: dict[str, Tensor] = {}
    for key in keys:
        kind = kind_of(key)
        values = [torch.as_tensor(target[key]).as_subclass(Tensor) for target in targets]
        if key == "masks" and "boxes" in keys:
            boxes = [torch.as_tensor(target["boxes"]).as_subclass(Tensor) for target in targets]
            padded["masks"], padded["mask_origins"] = _crop_masks(values, boxes)
        elif kind.rows and (has_objects or kind.rows != "objects"):
            padded[key] = _pad(values, kind.padding)
        else:
            if any(value.shape != values[0].shape for value in values):
                shapes = sorted({tuple(value.shape) for value in values})
                raise ValueError(f"'{key}' has the shapes {shapes} in one batch; they must be equal.")
            padded[key] = torch.stack(values)
    return padded


def _pad(values: list[Tensor], fill: float) -> Tensor:
    """(N_i, ...) each to (B, N, ...)."""
    rows = _rows(values)
    # An image without objects may not know the trailing size (K points, H x W); the others do.
    trailing = max((tuple(value.shape[1:]) for value in values), key=lambda shape: (len(shape), shape))
    padded = values[0].new_full((len(values), rows, *trailing), fill)
    for row, value in zip(padded, values, strict=True):
        if len(value):
            row[: len(value)] = value
    return padded


def _rows(values: list[Tensor]) -> int:
    rows = max(max(len(value) for value in values), 1)
    return rows + -rows % _MULTIPLE


def _crop_masks(masks: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(N_i, H, W) each to crops (B, N, h, w), and their upper left pixels (B, N, 2)."""
    rows = _rows(masks)
    origins = torch.zeros(len(masks), rows, 2, dtype=torch.int64, device=masks[0].device)
    ends = torch.zeros_like(origins)
    for index, (stack, corners) in enumerate(zip(masks, boxes, strict=True)):
        if len(stack):
            limit = corners.new_tensor([stack.shape[2], stack.shape[1]])
            origins[index, : len(stack)] = torch.minimum(corners[:, :2].floor().clamp(min=0), limit).long()
            ends[index, : len(stack)] = torch.minimum(corners[:, 2:].ceil().clamp(min=0), limit).long()
    sides = (ends - origins).clamp(min=0)
    width, height = (max(int(side), 1) for side in sides.flatten(0, 1).amax(0))
    crops = masks[0].new_zeros(len(masks), rows, height, width)
    for index, stack in enumerate(masks):
        for row, mask in enumerate(stack):
            (x, y), (w, h) = origins[index, row].tolist(), sides[index, row].tolist()
            crops[index, row, :h, :w] = mask[y : y + h, x : x + w]
    return crops, origins
