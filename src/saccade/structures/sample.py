"""An image with its ground truth, on its way from the file to the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from saccade.structures.geometry import Geometry
from saccade.structures.kinds import IGNORE_LABEL

__all__ = ["IGNORE_LABEL", "ImageInfo", "ObjectBox", "Sample", "Target"]

# Arrays by kind (structures.kinds), all in pixels of the image they belong to (torchvision's convention). Boxes and
# areas are float64 as read, so that evaluation equals the reference tools, and float32 on a canvas.
Target = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ObjectBox:
    """Box of the object that a canvas was cut out for.

    Args:
        box_xyxy: (4,), pixels of the original image.
        score: 0..1; 1 of ground truth. 0 stands for an image without objects, of which nothing is found.
    """

    box_xyxy: NDArray[Any]
    score: float = 1.0


@dataclass(slots=True)
class ImageInfo:
    """Identity of an image and its geometry on the canvas, as its result needs them.

    Args:
        image_id: The data set's number for it (COCO id where there is one).
        path: File, or a name such as ``array-3`` for images that never were one.
        geometry: Map from its pixels to those of the canvas.
        image: Original pixels (H, W, C), where the caller wants results that can draw themselves.
        part: Number of this canvas among those that show the image (tiles, object crops), from 0.
        parts: How many canvases show the image; their results are joined before they are scored.
        crop: Box of the object that the canvas was cut out for (top-down).
    """

    image_id: int
    path: str
    geometry: Geometry
    image: NDArray[Any] | None = None
    part: int = 0
    parts: int = 1
    crop: ObjectBox | None = None


@dataclass(slots=True)
class Sample:
    """One image and its ground truth; transforms take one and give one.

    Args:
        image: (H, W, C) RGB or grey, usually uint8.
        target: Arrays by kind, in pixels of ``image``.
        info: Identity and geometry.
        original: The target in pixels of the original, where evaluation needs it.
        inputs: Further inputs of the network by kind, in pixels of ``image``; they move as the target does.

    Example:
        >>> import numpy as np
        >>> info = ImageInfo(0, "a.png", Geometry.identity((40, 60)))
        >>> Sample(np.zeros((40, 60, 3), np.uint8), {"labels": np.array(1)}, info).size
        (40, 60)
    """

    image: NDArray[Any]
    target: Target
    info: ImageInfo
    original: Target | None = None
    inputs: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Current size of the image, (height, width)."""
        return self.image.shape[0], self.image.shape[1]
