"""Foreground that a network for salient object detection finds, pixel by pixel, and the cut-out that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.results.detections import encode_mask
from saccade.results.images import to_rgb8, write_png
from saccade.results.segmentation import SegmentationMap

__all__ = ["SaliencyMap"]

_FOREGROUND = 1


@dataclass(kw_only=True, eq=False, repr=False)
class SaliencyMap(SegmentationMap):
    """Result of a network for salient object detection: how much each pixel of the original is foreground.

    The soft map is ``probabilities``; ``label_map`` is 1 where it is at least 0.5. A ground truth, and the map of an
    image too large to keep a number a pixel, have the label map alone, which :attr:`soft_map` then stands for.

    Args:
        label_map: (H, W) uint8: 1 foreground, 0 background; 255 marks pixels of a target that are not scored.
        probabilities: (H, W) float32, 0..1.

    Example:
        >>> soft = np.array([[0.9, 0.2], [0.6, 0.1]], np.float32)
        >>> about = dict(path="a.jpg", image_id=0, image_size=(2, 2), class_names=("background", "person"))
        >>> image = np.full((2, 2, 3), 80, np.uint8)
        >>> result = SaliencyMap(**about, image=image, label_map=(soft >= 0.5).astype(np.uint8), probabilities=soft)
        >>> result.describe(), result.cutout()[0, 0].tolist()
        ('person 50.0%', [80, 80, 80, 230])
    """

    savers: ClassVar[Mapping[str, str]] = {**SegmentationMap.savers, "map": "save_map", "cutout": "save_cutout"}

    @property
    def soft_map(self) -> NDArray[Any]:
        """(H, W) float32, 0..1: the probabilities, or 0 and 1 where they were not kept; 0 where a target is ignored."""
        soft = self.label_map == _FOREGROUND if self.probabilities is None else np.nan_to_num(self.probabilities)
        return np.asarray(soft, np.float32)

    def describe(self) -> str:
        """Describe the foreground by its share of the image: ``person 23.4%``."""
        share = float(np.mean(self.label_map == _FOREGROUND))
        return f"{self.name_of(_FOREGROUND)} {share:.1%}" if share else "nothing"

    def plot(self) -> NDArray[Any]:
        """Draw the soft map as heat over the image, the foreground's share below."""
        from saccade.results.drawing import draw_caption, draw_heat

        drawn = draw_heat(self.pixels(), self.soft_map)
        return draw_caption(drawn, [self.name_of(_FOREGROUND)], [float(np.mean(self.label_map == _FOREGROUND))])

    def cutout(self, threshold: float | None = None) -> NDArray[Any]:
        """Cut the foreground out: the image's own pixels, with the soft map as opacity.

        Args:
            threshold: Cut along this value instead, 0..1: a pixel is then opaque or transparent.

        Returns:
            (H, W, 4) uint8 RGBA.

        Raises:
            DataError: If the image has another size than the map.
        """
        pixels, soft = to_rgb8(self.pixels()), self.soft_map
        if pixels.shape[:2] != soft.shape:
            raise DataError(
                f"{self.path}: the image has {pixels.shape[0]}x{pixels.shape[1]} pixels, its saliency map "
                f"{soft.shape[0]}x{soft.shape[1]}. Predict the image again."
            )
        opacity = np.rint(255 * np.clip(soft, 0, 1)) if threshold is None else 255 * (soft >= threshold)
        return np.dstack([pixels, opacity.astype(np.uint8)])

    def plot_cutout(self) -> NDArray[Any]:
        """Draw the cut-out over a grey checkerboard, (H, W, 3)."""
        from saccade.results.drawing import draw_cutout

        return draw_cutout(self.cutout())

    def save_map(self, path: str | Path) -> Path:
        """Write the soft map as a grey PNG, 255 times its value: as saliency maps are published.

        Args:
            path: File with suffix ``.png``.
        """
        return write_png(path, np.rint(255 * np.clip(self.soft_map, 0, 1)).astype(np.uint8))

    def save_cutout(self, path: str | Path, threshold: float | None = None) -> Path:
        """Write :meth:`cutout` as a PNG with transparency.

        Args:
            path: File with suffix ``.png``.
            threshold: As for :meth:`cutout`.
        """
        return write_png(path, self.cutout(threshold))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: share and run lengths of the foreground, and the mean of the soft map."""
        mask = self.label_map == _FOREGROUND
        return {
            **self._header(),
            "task": "saliency",
            "name": self.name_of(_FOREGROUND),
            "share": float(np.mean(mask)),
            "mean_saliency": float(np.mean(self.soft_map)),
            "mask_rle": encode_mask(mask),
        }
