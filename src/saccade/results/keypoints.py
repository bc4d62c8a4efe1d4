"""Keypoints: named points of every object in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from saccade.results.base import import_supervision
from saccade.results.detections import point_columns, points_to_coco, points_to_json
from saccade.results.objects import ObjectResult

__all__ = ["Keypoints"]

_BOX = (150, 152, 158)  # grey, beside the colours of the limbs


@dataclass(kw_only=True, eq=False, repr=False)
class Keypoints(ObjectResult):
    """Result of a keypoint network: K points of each of N objects; ``class_names`` are the names of the points.

    An index, a slice or a boolean mask gives fewer objects; iteration gives them one by one.

    Args:
        keypoints: (N, K, 2) float32, x and y in pixels of the original.
        point_scores: (N, K) float32, 0..1; of a target 1 where the point is labelled, else 0.
        scores: (N,) float32, of the objects, 0..1; the mean of the point scores where the network gives none.
        boxes_xyxy: (N, 4) float32, pixels, where the network gives boxes too.
        skeleton: Pairs of points that a limb joins.
        plot_score: ``plot`` and ``save`` leave out objects that score less.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(60, 80), class_names=("left", "right"))
        >>> result = Keypoints(**about, keypoints=np.zeros((2, 2, 2)), point_scores=np.array([[0.9, 0.7], [0.1, 0.3]]))
        >>> len(result), len(result.above(0.5))
        (2, 1)
    """

    row_fields: ClassVar[tuple[str, ...]] = ("keypoints", "point_scores", "scores", "boxes_xyxy")

    keypoints: NDArray[Any]
    point_scores: NDArray[Any]
    scores: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.float32))
    boxes_xyxy: NDArray[Any] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()
    plot_score: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.scores) and len(self.point_scores):
            self.scores = np.asarray(self.point_scores).mean(axis=1, dtype=np.float64)
        if not len(self.keypoints) == len(self.point_scores) == len(self.scores):
            raise ValueError(
                f"{len(self.keypoints)} objects with points, {len(self.point_scores)} with scores of points, "
                f"{len(self.scores)} scores; they must agree."
            )

    @property
    def names(self) -> list[str]:
        """Name of each of the K points."""
        return [self.class_names[i] if i < len(self.class_names) else str(i) for i in range(self.keypoints.shape[1])]

    def describe(self) -> str:
        """Number of objects and points: ``2 objects of 17 points``."""
        count = len(self)
        return f"{count} object{'s' if count != 1 else ''} of {self.keypoints.shape[1]} points" if count else "nothing"

    def plot(self) -> NDArray[Any]:
        """Draw the image with boxes, limbs and points, and the names of the points below if there are at most 20."""
        from saccade.results.drawing import draw_boxes, draw_keypoints

        shown = self[np.asarray(self.scores) >= self.plot_score]
        drawn, points = self.pixels(), np.asarray(shown.keypoints)
        if shown.boxes_xyxy is not None and len(shown):
            is_ground_truth = bool(np.isin(shown.point_scores, (0, 1)).all())
            texts = ["" if is_ground_truth else f"{score:.2f}" for score in shown.scores]
            drawn = draw_boxes(drawn, shown.boxes_xyxy, texts, colors=[_BOX] * len(shown))
            points = points * (drawn.shape[1] / self.image_size[1])  # small images are drawn larger
        return draw_keypoints(drawn, points, shown.point_scores, self.names, skeleton=self.skeleton)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: objects with score, points (name, x, y in pixels, score) and box."""
        objects: list[dict[str, Any]] = [
            {"score": float(score), "keypoints": points_to_json(points, point_scores, self.names)}
            for points, point_scores, score in zip(self.keypoints, self.point_scores, self.scores, strict=True)
        ]
        if self.boxes_xyxy is not None:
            for entry, box in zip(objects, self.boxes_xyxy, strict=True):
                entry["box_xyxy"] = [float(value) for value in box]
        return {**self._header(), "task": "keypoints", "objects": objects}

    def rows(self) -> list[dict[str, Any]]:
        """One row for each object: score, and x, y, score of each point."""
        return [
            {**self._place(), "score": float(score), **point_columns(points, point_scores, self.names)}
            for points, point_scores, score in zip(self.keypoints, self.point_scores, self.scores, strict=True)
        ]

    def columns(self) -> list[str]:
        """Names of the columns of :meth:`rows`, also where no object was found."""
        number = self.keypoints.shape[1]
        return [*self._place(), "score", *point_columns(np.zeros((number, 2)), np.zeros(number), self.names)]

    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Convert to entries with ``keypoints`` (x, y, score, x, ...) and ``score``, of the first category.

        COCO's keypoints are indices of pixels, whose centres lie half a pixel further here.
        """
        category = int(category_ids[0]) if category_ids else 0
        entries: list[dict[str, Any]] = []
        for index, score in enumerate(np.asarray(self.scores).tolist()):
            points = points_to_coco(self.keypoints[index], self.point_scores[index])
            entry = {"image_id": self.image_id, "category_id": category, "keypoints": points, "score": score}
            if self.boxes_xyxy is not None:
                x1, y1, x2, y2 = (float(value) for value in self.boxes_xyxy[index])
                entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            entries.append(entry)
        return entries

    def to_supervision(self) -> Any:
        """Convert to ``supervision.KeyPoints``."""
        supervision = import_supervision()
        points, scores = self.keypoints.astype(np.float32), self.point_scores.astype(np.float32)
        try:
            return supervision.KeyPoints(xy=points, keypoint_confidence=scores)
        except TypeError:  # the name before supervision 0.30
            return supervision.KeyPoints(xy=points, confidence=scores)
