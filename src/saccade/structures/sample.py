"""An image with its ground truth, on its way from the file to the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from saccade.structures.geometry import Geometry

__all__ = ["ImageInfo", "Sample", "Target"]

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
    """What a result needs to know of its image.

    Args:
        image_id: The data set's number for it (COCO id where there is one).
        path: File, or a name such as ``array-3`` for images that never were one.
        geometry: Where its pixels went on the canvas.
        image: Original pixels (H, W, C), where the caller wants results that can draw themselves.
    """

    image_id: int
    path: str
    geometry: Geometry
    image: NDArray[Any] | None = None


@dataclass(slots=True)
class Sample:
    """One image and its ground truth; transforms take one and give one.

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
