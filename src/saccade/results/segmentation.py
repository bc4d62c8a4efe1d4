"""Class that a segmentation network predicts for every pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from saccade.ops.mask_boxes import boxes_of_masks
from saccade.results.base import Result, import_supervision
from saccade.results.detections import encode_mask
from saccade.results.images import write_png
from saccade.structures.kinds import IGNORE_LABEL

__all__ = ["SegmentationMap"]

_SHOWN = 0.0005  # share that is written as 0.1%


@dataclass(kw_only=True, eq=False, repr=False)
class SegmentationMap(Result):
    """Result of a segmentation network: a class for every pixel of the original.

    A network with one class has two names: ``background`` and its own.

    Args:
        label_map: (H, W) uint8 (int16 past 255 classes); 255 marks pixels of a target that are not scored.
        probabilities: (H, W) float32, how much each pixel is foreground, of networks with one class, or two of which
            the first is background; else None.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(2, 2), class_names=("road", "sky"))
        >>> result = SegmentationMap(**about, label_map=np.array([[1, 1], [0, 255]], np.uint8))
        >>> result.describe(), result.labels()
        ('sky 50.0%, road 25.0%', [0, 1])
    """

    savers: ClassVar[Mapping[str, str]] = {"drawing": "save", "labels": "save_labels"}

    label_map: NDArray[Any]
    probabilities: NDArray[Any] | None = None

    def labels(self) -> list[int]:
        """List the classes that occur, ascending, the ignored pixels left out."""
        return [int(label) for label in np.unique(self.label_map) if label != IGNORE_LABEL]

    def class_share(self) -> dict[str, float]:
        """Compute the share of the image, 0..1, of each class that occurs, by name, falling."""
        shares = {self.name_of(label): float(np.mean(self.label_map == label)) for label in self.labels()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def describe(self) -> str:
        """Describe the classes by their share of the image: ``road 61.2%, sky 20.0%``; a few pixels are left out."""
        shares = self.class_share()
        shown = {name: share for name, share in shares.items() if share >= _SHOWN} or shares
        return ", ".join(f"{name} {share:.1%}" for name, share in shown.items()) or "nothing"

    def plot(self) -> NDArray[Any]:
        """Draw the image tinted by class, with a legend below."""
        from saccade.results.drawing import draw_label_map

        return draw_label_map(self.pixels(), self.label_map, self.class_names)

    def save_labels(self, path: str | Path) -> Path:
        """Write the labels as a palette PNG (PASCAL VOC's way: a pixel's value is its label, and it looks coloured).

        Args:
            path: File with suffix ``.png``.
        """
        from saccade.results.palette import class_color

        palette = np.zeros((256, 3), np.uint8)
        for label in range(255):
            palette[label] = class_color(self.name_of(label))
        background = next((label for label, name in enumerate(self.class_names) if name.lower() == "background"), None)
        if background is not None:
            palette[background] = 0
        palette[IGNORE_LABEL] = (224, 224, 192)
        return write_png(path, self.label_map.astype(np.uint8), palette)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: share and run lengths of each class that occurs."""
        return {
            **self._header(),
            "task": "segmentation",
            "classes": [
                {
                    "name": self.name_of(label),
                    "label": label,
                    "share": float(np.mean(self.label_map == label)),
                    "mask_rle": encode_mask(self.label_map == label),
                }
                for label in self.labels()
            ],
        }

    def uncertainty(self) -> float | None:
        """Mean over the pixels, each 1 where the probability is 0.5; None of networks with several classes."""
        if self.probabilities is None:
            return None
        return float(1 - np.abs(2 * np.nan_to_num(self.probabilities) - 1).mean())

    def rows(self) -> list[dict[str, Any]]:
        """One row for each class that occurs: name, label, share of the image."""
        return [
            {**self._place(), "name": self.name_of(i), "label": i, "share": float(np.mean(self.label_map == i))}
            for i in self.labels()
        ]

    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Convert to COCO stuff entries: one ``segmentation`` (run lengths) for each class but background."""
        return [
            {
                "image_id": self.image_id,
                "category_id": int(category_ids[label]) if category_ids else label,
                "segmentation": encode_mask(self.label_map == label),
            }
            for label in self._things()
        ]

    def to_supervision(self) -> Any:
        """Convert to ``supervision.Detections``: a mask, and the box around it, for each class but background."""
        supervision = import_supervision()
        labels = self._things()
        masks = (
            np.stack([self.label_map == label for label in labels])
            if labels
            else np.zeros((0, *self.label_map.shape), bool)
        )
        boxes, _ = boxes_of_masks(masks)
        names = np.array([self.name_of(label) for label in labels], dtype=str)
        return supervision.Detections(
            xyxy=boxes, mask=masks, class_id=np.array(labels, np.int64), data={"class_name": names}
        )

    def _things(self) -> list[int]:
        return [label for label in self.labels() if self.name_of(label).lower() != "background"]
