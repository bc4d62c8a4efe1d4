"""Objects that a detector finds in an image: boxes with classes, and masks and keypoints where it gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError, did_you_mean
from saccade.ops.mask_rings import rings_of
from saccade.results.base import import_supervision
from saccade.results.objects import ObjectResult

__all__ = ["Detections"]


@dataclass(kw_only=True, eq=False, repr=False)
class Detections(ObjectResult):
    """Result of a detector: boxes with class and score, and masks and keypoints where it gives them.

    An index, a slice or a boolean mask gives fewer of them; iteration gives them one by one.

    Args:
        boxes_xyxy: (N, 4) float32 or float64, pixels of the original.
        scores: (N,) float, 0..1; a target has 1.
        labels: (N,) int64.
        masks: (N, H, W) bool, where the network gives outlines too.
        keypoints: (N, K, 2) float32, x and y in pixels, where the network gives them too.
        point_scores: (N, K) float32, 0..1, with ``keypoints``.
        point_names: K names of the points.
        skeleton: Pairs of points that a limb joins.
        plot_score: ``plot`` and ``save`` leave out what scores less; ``filter`` sets it. Detectors give boxes down to
            tiny scores, because average precision counts them.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(60, 80), class_names=("cat", "dog"))
        >>> boxes = np.array([[0, 0, 10, 10], [20, 20, 50, 50.0]])
        >>> result = Detections(**about, boxes_xyxy=boxes, scores=[0.9, 0.3], labels=[1, 0])
        >>> [(one.names[0], float(one.scores[0])) for one in result.filter(min_score=0.5, classes=["dog"])]
        [('dog', 0.9)]
    """

    row_fields: ClassVar[tuple[str, ...]] = ("boxes_xyxy", "scores", "labels", "masks", "keypoints", "point_scores")

    boxes_xyxy: NDArray[Any]
    labels: NDArray[Any]
    masks: NDArray[np.bool_] | None = None
    keypoints: NDArray[Any] | None = None
    point_scores: NDArray[Any] | None = None
    point_names: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    plot_score: float = 0.25

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_xyxy)
        # Doubles stay doubles: boxes read from COCO's xywh would otherwise move by a float32 rounding, and AP with it.
        self.boxes_xyxy = boxes.astype(np.result_type(boxes.dtype, np.float32), copy=False).reshape(-1, 4)
        self.scores = np.asarray(self.scores).reshape(-1)
        self.labels = np.asarray(self.labels).reshape(-1).astype(np.int64, copy=False)
        if not len(self.boxes_xyxy) == len(self.scores) == len(self.labels):
            raise ValueError(
                f"{len(self.boxes_xyxy)} boxes, {len(self.scores)} scores, {len(self.labels)} labels; they must agree."
            )
        if (self.keypoints is None) != (self.point_scores is None):
            raise ValueError("keypoints and point_scores come together.")

    @property
    def names(self) -> list[str]:
        """Class name of each detection."""
        return [self.name_of(int(label)) for label in self.labels]

    def filter(self, min_score: float = 0.0, classes: Collection[str] | None = None) -> Detections:
        """Select the detections that score at least ``min_score`` and belong to one of ``classes`` (all, if not given).

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

    def above(self, score: float | Sequence[float]) -> Detections:
        """Select the detections that score at least ``score``, one threshold or one for each class."""
        limits = self.score_limits(score)
        return replace(self[self.scores >= limits], plot_score=float(np.min(score)))

    def describe(self) -> str:
        """Count the objects by class: ``2 cat, 1 dog``."""
        return ", ".join(f"{number} {name}" for name, number in Counter(self.names).most_common()) or "nothing"

    def plot(self) -> NDArray[Any]:
        """Draw the image with boxes, names, scores, masks and keypoints of the detections above ``plot_score``."""
        from saccade.results.drawing import draw_boxes, draw_keypoints

        shown = self[self.scores >= self.plot_score]
        drawn = draw_boxes(self.pixels(), shown.boxes_xyxy, shown.names, shown.scores, shown.masks)
        if shown.keypoints is None:
            return drawn
        points = shown.keypoints * (drawn.shape[1] / self.image_size[1])  # small images are drawn larger
        return draw_keypoints(drawn, points, shown.point_scores, self.point_names, skeleton=self.skeleton)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: objects with box (xyxy, pixels), name, label, score, masks and keypoints."""
        objects: list[dict[str, Any]] = [
            {"name": name, "label": int(label), "score": float(score), "box_xyxy": [float(value) for value in box]}
            for name, label, score, box in zip(self.names, self.labels, self.scores, self.boxes_xyxy, strict=True)
        ]
        if self.masks is not None:
            for entry, mask in zip(objects, self.masks, strict=True):
                entry["mask_rle"] = encode_mask(mask)
        if self.keypoints is not None and self.point_scores is not None:
            for entry, points, scores in zip(objects, self.keypoints, self.point_scores, strict=True):
                entry["keypoints"] = points_to_json(points, scores, self.point_names)
        return {**self._header(), "task": "detection", "objects": objects}

    def rows(self) -> list[dict[str, Any]]:
        """One row for each object: name, label, score, box in pixels, and x, y, score of each keypoint."""
        rows: list[dict[str, Any]] = []
        for index, (x1, y1, x2, y2) in enumerate(self.boxes_xyxy.tolist()):
            row = {"name": self.names[index], "label": int(self.labels[index]), "score": float(self.scores[index])}
            row = {**self._place(), **row, "x1": x1, "y1": y1, "x2": x2, "y2": y2}
            if self.keypoints is not None and self.point_scores is not None:
                row |= point_columns(self.keypoints[index], self.point_scores[index], self.point_names)
            rows.append(row)
        return rows

    def columns(self) -> list[str]:
        """Names of the columns of :meth:`rows`, also where nothing was found."""
        names = [*self._place(), "name", "label", "score", "x1", "y1", "x2", "y2"]
        if self.keypoints is None:
            return names
        number = self.keypoints.shape[1]
        return [*names, *point_columns(np.zeros((number, 2)), np.zeros(number), self.point_names)]

    def to_coco(self, category_ids: Sequence[int] = (), polygons: bool = False) -> list[dict[str, Any]]:
        """Convert to entries with ``bbox`` (xywh, pixels), ``segmentation`` and ``keypoints``.

        Args:
            category_ids: COCO's number of each class; the labels if not given.
            polygons: Whether outlines are polygons along the edges of pixels, in place of run lengths; a mask with a
                hole, which COCO's polygons cannot tell, and an empty one keep these.
        """
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
                entry["segmentation"] = _outline(self.masks[index], polygons)
            if self.keypoints is not None and self.point_scores is not None:
                entry["keypoints"] = points_to_coco(self.keypoints[index], self.point_scores[index])
            entries.append(entry)
        return entries

    def to_supervision(self) -> Any:
        """Convert to ``supervision.Detections``, with ``class_name``, ``keypoints``, ``point_scores`` in its data."""
        supervision = import_supervision()
        data: dict[str, Any] = {"class_name": np.array(self.names, dtype=str)}
        if self.keypoints is not None and self.point_scores is not None:
            data |= {"keypoints": self.keypoints, "point_scores": self.point_scores}
        return supervision.Detections(
            xyxy=self.boxes_xyxy.astype(np.float32),
            mask=None if self.masks is None else self.masks.astype(bool),
            confidence=self.scores.astype(np.float32),
            class_id=self.labels,
            data=data,
        )


def encode_mask(mask: NDArray[Any]) -> dict[str, Any]:
    """Encode one mask (H, W) as COCO's compressed run lengths, ready for JSON."""
    from faster_coco_eval.core import mask as coco_mask

    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = encoded["counts"]
    return {
        "size": [int(side) for side in encoded["size"]],
        "counts": counts.decode() if isinstance(counts, bytes) else counts,
    }


def _outline(mask: NDArray[Any], polygons: bool) -> Any:
    """``segmentation`` of one mask: x, y, x, ... of each ring, or run lengths."""
    rings, holes = rings_of(mask) if polygons else ([], [])
    return encode_mask(mask) if any(holes) or not rings else [ring.flatten().tolist() for ring in rings]


def points_to_json(points: NDArray[Any], scores: NDArray[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Convert points (K, 2) of one object to plain values, with scores (K,) and names (numbers if there are none)."""
    return [
        {
            "name": names[index] if index < len(names) else str(index),
            "x": float(x),
            "y": float(y),
            "score": float(score),
        }
        for index, ((x, y), score) in enumerate(zip(points, scores, strict=True))
    ]


def point_columns(points: NDArray[Any], scores: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    """Convert points of one object to columns of a table: ``nose_x``, ``nose_y``, ``nose_score``, ..."""
    columns: dict[str, float] = {}
    for point in points_to_json(points, scores, names):
        columns |= {f"{point['name']}_{key}": point[key] for key in ("x", "y", "score")}
    return columns


def points_to_coco(points: NDArray[Any], scores: NDArray[Any]) -> list[float]:
    """Convert points of one object to ``[x, y, score, x, ...]``, in COCO's pixels, whose centres lie at integers."""
    return [float(value) for point, score in zip(points - 0.5, scores, strict=True) for value in (*point, score)]
