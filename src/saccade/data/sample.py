"""A picture with its truth, on its way from the file to the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.ops.geometry import Geometry

__all__ = ["Batch", "ImageInfo", "Sample", "Target"]

# Keys of a target, all in pixels of the image they belong to (torchvision's convention):
#   difficult  (N,) bool, where the source marks objects so (PASCAL VOC)
#   labels     detection (N,) int64; classification () int64, or (C,) float32 once labels are mixed
#   boxes      (N, 4) float32 xyxy          area (N,) float32          iscrowd (N,) bool
#              (both float64 as read, so that evaluation equals the reference tools; float32 on a canvas)
#   masks      (N, H, W) uint8              label_map (H, W) uint8, 255 = ignore
#   keypoints  (N, K, 3) float32: x, y, visibility (0 unlabelled, 1 hidden, 2 visible)
#   target_image (H, W, 3) uint8 of the other domain; paired () bool: it shows the same thing, and moves with the input
Target = dict[str, NDArray[Any]]


@dataclass(slots=True)
class ImageInfo:
    """What a result needs to know of its picture.

    Args:
        image_id: The data set's number for it (COCO id where there is one).
        path: File, or a name such as ``array-3`` for pictures that never were one.
        geometry: Where its pixels went on the canvas.
        image: Original pixels (H, W, C), where the caller wants results that can draw themselves.
    """

    image_id: int
    path: str
    geometry: Geometry
    image: NDArray[Any] | None = None


@dataclass(slots=True)
class Sample:
    """One picture and its truth; transforms take one and give one.

    Args:
        image: (H, W, C) RGB or grey, uint8 unless the data set says otherwise.
        target: Arrays by key, in pixels of ``image``.
        info: Identity and geometry.
        original: The target in pixels of the original, where evaluation needs it.
    """

    image: NDArray[Any]
    target: Target
    info: ImageInfo
    original: Target | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pixels now."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(slots=True)
class Batch:
    """Pictures of one size, stacked.

    Args:
        images: (B, C, H, W), uint8 until it is on its device.
        targets: Padded tensors by key, leading dimension B (``ops.matching.pad_targets``).
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
