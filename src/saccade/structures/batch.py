"""A batch of images, and its targets as tensors of one shape, so that losses and assigners need no loop over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from saccade.structures.sample import ImageInfo, Target

__all__ = ["Batch", "pad_targets"]

# What fills the rows beyond an image's own objects; every one of these values is ignored by the losses.
_PADDING: dict[str, float] = {
    "boxes": 0,
    "labels": -1,
    "area": 0,
    "iscrowd": False,
    "difficult": False,
    "masks": 0,
    "keypoints": 0,
}
# Keys that make a target a list of objects; without them its labels belong to the whole image.
_OBJECTS = ("boxes", "masks", "keypoints")
_MULTIPLE = 8


@dataclass(slots=True)
class Batch:
    """Images of one size, stacked.

    Args:
        images: (B, C, H, W), uint8 until it is on its device.
        targets: Padded tensors by key, leading dimension B (:func:`pad_targets`).
        infos: One an image.
        originals: Targets in original pixels, for evaluation; empty in training.
    """

    images: Tensor
    targets: dict[str, Tensor]
    infos: list[ImageInfo]
    originals: list[Target] = field(default_factory=list)

    def to(self, device: torch.device, channels_last: bool = False) -> Batch:
        """The same batch with its tensors on ``device``."""
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        images = self.images.to(device, non_blocking=True, memory_format=memory_format)
        targets = {key: value.to(device, non_blocking=True) for key, value in self.targets.items()}
        return Batch(images, targets, self.infos, self.originals)

    def pin_memory(self) -> Batch:
        """Page-locked copy, so that the copy to a GPU overlaps."""
        targets = {key: value.pin_memory() for key, value in self.targets.items()}
        return Batch(self.images.pin_memory(), targets, self.infos, self.originals)


def pad_targets(targets: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Tensor]:
    """Stack the targets of a batch, padding what is counted per object.

    An image's objects come first and in their order. The number of rows is the largest count, rounded up to a multiple
    of 8 and at least 8: few different shapes occur, and none is empty. A row without an object has label -1, zeros
    elsewhere, and keypoints of visibility 0.

    Args:
        targets: One mapping an image (arrays or tensors), or what this function returned, which is given back
            unchanged. Per object (N first): ``boxes`` (N, 4), ``labels`` (N,), ``area`` (N,), ``iscrowd`` (N,),
            ``difficult`` (N,), ``masks`` (N, H, W), ``keypoints`` (N, K, 3). All other keys, and ``labels`` of a
            target without objects (a class, or a mixture of classes), belong to the image and are stacked.

    Returns:
        Tensors with leading dimension B, on the device and with the dtype of the input.

    Raises:
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
        values = [torch.as_tensor(target[key]).as_subclass(Tensor) for target in targets]
        if has_objects and key in _PADDING:
            padded[key] = _pad(values, _PADDING[key])
        else:
            if any(value.shape != values[0].shape for value in values):
                shapes = sorted({tuple(value.shape) for value in values})
                raise ValueError(f"'{key}' has the shapes {shapes} in one batch; they must be equal.")
            padded[key] = torch.stack(values)
    return padded


def _pad(values: list[Tensor], fill: float) -> Tensor:
    """(N_i, ...) each to (B, N, ...)."""
    rows = max(max(len(value) for value in values), 1)
    rows += -rows % _MULTIPLE
    # An image without objects may not know the trailing size (K points, H x W); the others do.
    trailing = max((tuple(value.shape[1:]) for value in values), key=lambda shape: (len(shape), shape))
    padded = values[0].new_full((len(values), rows, *trailing), fill)
    for row, value in zip(padded, values, strict=True):
        if len(value):
            row[: len(value)] = value
    return padded
