"""Statistics of a split: counts of images, objects and classes, histograms of box sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.structures.text import printable

__all__ = ["ASPECT_EDGES", "PIXEL_EDGES", "SHARE_EDGES", "SplitStatistics", "histogram"]

# Upper edges of the bins; the last bin is open. A value on an edge belongs to the bin above it.
PIXEL_EDGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
SHARE_EDGES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
ASPECT_EDGES = (0.125, 0.25, 0.5, 0.8, 1.25, 2.0, 4.0, 8.0)


def _no_pairs() -> NDArray[np.float64]:
    return np.zeros((0, 2))


@dataclass
class SplitStatistics:
    """Statistics of a split: counts of images, objects and classes, sizes of the boxes.

    Args:
        name: Name of the split.
        images: Number of images.
        objects: Number of objects in all images.
        empty: Files of the images without an object.
        class_counts: Objects by class name; for label maps images that show the class, for keypoints labelled points.
        sides: Width and height of every sound box, (N, 2), pixels.
        shares: The same as shares of the image's width and height, (K, 2), where its size is known.

    Example:
        >>> statistics = SplitStatistics("train", images=2, objects=2, sides=np.array([[10.0, 20], [40, 40]]))
        >>> statistics.aspects
        array([0.5, 1. ])
    """

    name: str
    images: int = 0
    objects: int = 0
    empty: list[str] = field(default_factory=list)
    class_counts: dict[str, int] = field(default_factory=dict)
    sides: NDArray[np.float64] = field(default_factory=_no_pairs)
    shares: NDArray[np.float64] = field(default_factory=_no_pairs)

    @property
    def aspects(self) -> NDArray[np.float64]:
        """Width over height of every sound box, (N,)."""
        return self.sides[:, 0] / self.sides[:, 1]

    @property
    def histograms(self) -> dict[str, dict[str, int]]:
        """Counts by bin: root of the area in pixels, root of the share of the image, width over height."""
        if not len(self.sides):
            return {}
        return {
            "side in pixels": histogram(np.sqrt(self.sides.prod(axis=1)), PIXEL_EDGES),
            "side as share of the image's": histogram(np.sqrt(self.shares.prod(axis=1)), SHARE_EDGES),
            "width over height": histogram(self.aspects, ASPECT_EDGES),
        }

    def to_json(self) -> dict[str, Any]:
        """Statistics as plain values for JSON."""
        return {
            "name": self.name,
            "images": self.images,
            "objects": self.objects,
            "images without objects": self.empty,
            "class_counts": self.class_counts,
            "histograms": self.histograms,
        }

    def to_text(self) -> list[str]:
        """Statistics as lines of text; none for a split without boxes."""
        lines = [f"{printable(self.name)}: {self.images} images, {self.objects} objects"]
        for name, bins in self.histograms.items():
            lines.append(f"  {name}: " + ", ".join(f"{label}: {count}" for label, count in bins.items() if count))
        return lines if len(lines) > 1 else []


def histogram(values: NDArray[np.floating[Any]], edges: Sequence[float]) -> dict[str, int]:
    """Count values by bin; a value on an edge belongs to the bin above it.

    Args:
        values: Values to count, (N,).
        edges: Upper edge of each bin but the last, rising.

    Returns:
        Count by the bin's name, such as ``< 1``, ``1-2`` and ``>= 1024``.

    Example:
        >>> histogram(np.array([0.5, 1.0, 7.0]), edges=(1.0, 2.0))
        {'< 1': 1, '1-2': 1, '>= 2': 1}
    """
    names = [
        f"< {edges[0]:g}",
        *(f"{low:g}-{high:g}" for low, high in pairwise(edges)),
        f">= {edges[-1]:g}",
    ]
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))
