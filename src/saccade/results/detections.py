"""What a detector finds on an image."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError, did_you_mean
from saccade.results.base import Result, import_supervision

__all__ = ["Detections"]


@dataclass(kw_only=True, eq=False)
class Detections(Result):
    """Boxes with class and score.

    An index, a slice or a boolean mask gives fewer of them; iteration gives them one by one.

    Args:
        boxes_xyxy: (N, 4) float32 or float64, pixels of the original.
        scores: (N,) float, 0..1; a ground truth has 1.
        labels: (N,) int64.
        masks: (N, H, W) bool, where the network draws outlines too.
        plot_score: ``plot`` and ``save`` leave out what scores less; ``filter`` sets it. Detectors give boxes down to
            tiny scores, because average precision counts them.

    Example:
        >>> people = result.filter(min_score=0.5, classes=["person"])
        >>> [(one.names[0], float(one.scores[0])) for one in people]
    """

    boxes_xyxy: NDArray[Any]
    scores: NDArray[Any]
    labels: NDArray[Any]
    masks: NDArray[np.bool_] | None = None
    plot_score: float = 0.25

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_xyxy)
        # Doubles stay doubles: ground truth read from COCO's xywh would otherwise move by a float32 rounding, and AP
        # with it.
        self.boxes_xyxy = boxes.astype(np.result_type(boxes.dtype, np.float32), copy=False).reshape(-1, 4)
        self.scores = np.asarray(self.scores).reshape(-1)
        self.labels = np.asarray(self.labels).reshape(-1).astype(np.int64, copy=False)
        if not len(self.boxes_xyxy) == len(self.scores) == len(self.labels):
            raise ValueError(
                f"{len(self.boxes_xyxy)} boxes, {len(self.scores)} scores, {len(self.labels)} labels; they must agree."
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> Detections:
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"detection {index} of {len(self)}")
            index = [int(index)]
        chosen: Any = index if isinstance(index, slice) else np.asarray(index)
        if not isinstance(chosen, slice) and chosen.size == 0:
            chosen = np.zeros(0, np.int64)
        masks = None if self.masks is None else self.masks[chosen]
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=masks,
        )

    def __iter__(self) -> Iterator[Detections]:
        return (self[index] for index in range(len(self)))

    @property
    def names(self) -> list[str]:
        """Class name of each detection."""
        return [self.name_of(int(label)) for label in self.labels]

    def filter(self, min_score: float = 0.0, classes: Collection[str] | None = None) -> Detections:
        """Those that score at least ``min_score`` and belong to one of ``classes`` (all, if not given).

        Raises:
            ConfigError: If a class is unknown.
        """
        keep = self.scores >= min_score
        if classes is not None:
            for name in classes:
                if name not in self.class_names:
                    raise ConfigError(f"unknown class '{name}'.{did_you_mean(name, self.class_names)}")
            keep &= np.isin(self.labels, [self.class_names.index(name) for name in classes])
        return replace(self[keep], plot_score=min_score)

    def above(self, score: float) -> Detections:
        """Those that score at least ``score``."""
        return self.filter(min_score=score)

    def plot(self) -> NDArray[Any]:
        """The image with boxes, names and scores, of those above ``plot_score``."""
        from saccade.results.drawing import draw_boxes

        shown = self[self.scores >= self.plot_score]
        return draw_boxes(self.pixels(), shown.boxes_xyxy, shown.names, shown.scores, shown.masks)

    def to_json(self) -> dict[str, Any]:
        """A list of objects with box (xyxy, pixels), name, label and score."""
        objects = [
            {"name": name, "label": int(label), "score": float(score), "box_xyxy": [float(value) for value in box]}
            for name, label, score, box in zip(self.names, self.labels, self.scores, self.boxes_xyxy, strict=True)
        ]
        if self.masks is not None:
            for entry, mask in zip(objects, self.masks, strict=True):
                entry["mask_rle"] = encode_mask(mask)
        return {**self._header(), "task": "detection", "objects": objects}

    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Entries with ``bbox`` (xywh, pixels) and, with masks, ``segmentation`` (compressed run lengths)."""
        entries: list[dict[str, Any]] = []
        for index, (x1, y1, x2, y2) in enumerate(self.boxes_xyxy.astype(np.float64).tolist()):
            label = int(self.labels[index])
            category = int(category_ids[label]) if category_ids else label
            entry = {
                "image_id": self.image_id,
                "category_id": category,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(self.scores[index]),
            }
            if self.masks is not None:
                entry["segmentation"] = encode_mask(self.masks[index])
            entries.append(entry)
        return entries

    def to_supervision(self) -> Any:
        """``supervision.Detections`` with ``class_name`` among its data."""
        supervision = import_supervision()
        return supervision.Detections(
            xyxy=self.boxes_xyxy.astype(np.float32),
            mask=None if self.masks is None else self.masks.astype(bool),
            confidence=self.scores.astype(np.float32),
            class_id=self.labels,
            data={"class_name": np.array(self.names, dtype=str)},
        )


def encode_mask(mask: NDArray[Any]) -> dict[str, Any]:
    """COCO's compressed run lengths of one mask (H, W), ready for JSON."""
    from faster_coco_eval.core import mask as coco_mask

    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = encoded["counts"]
    return {
        "size": [int(side) for side in encoded["size"]],
        "counts": counts.decode() if isinstance(counts, bytes) else counts,
    }
