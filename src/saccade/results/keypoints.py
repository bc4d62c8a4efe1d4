"""Where a keypoint network sees the points of each object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.results.base import Result, import_supervision

__all__ = ["Keypoints"]


@dataclass(kw_only=True, eq=False)
class Keypoints(Result):
    """K points of each of N objects; ``class_names`` are the names of the points.

    An index, a slice or a boolean mask gives fewer objects; iteration gives them one by one.

    Args:
        keypoints: (N, K, 2) float32, x and y in pixels of the original.
        scores: (N, K) float32, 0..1; of a ground truth 1 where the point is labelled, else 0.
    """

    keypoints: NDArray[Any]
    scores: NDArray[Any]

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> Keypoints:
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"object {index} of {len(self)}")
            index = [int(index)]
        chosen: Any = index if isinstance(index, slice) else np.asarray(index)
        if not isinstance(chosen, slice) and chosen.size == 0:
            chosen = np.zeros(0, np.int64)
        return replace(self, keypoints=self.keypoints[chosen], scores=self.scores[chosen])

    def __iter__(self) -> Iterator[Keypoints]:
        return (self[index] for index in range(len(self)))

    @property
    def names(self) -> list[str]:
        """Name of each of the K points."""
        return [self.class_names[i] if i < len(self.class_names) else str(i) for i in range(self.keypoints.shape[1])]

    def plot(self) -> NDArray[Any]:
        """The image with the points, and their names below if there are at most 20."""
        from saccade.results.drawing import draw_keypoints

        return draw_keypoints(self.pixels(), self.keypoints, self.scores, self.names)

    def to_json(self) -> dict[str, Any]:
        """A list of objects, each a list of points with name, x, y (pixels) and score."""
        objects = [
            [
                {"name": name, "x": float(x), "y": float(y), "score": float(score)}
                for name, (x, y), score in zip(self.names, points, scores, strict=True)
            ]
            for points, scores in zip(self.keypoints, self.scores, strict=True)
        ]
        return {**self._header(), "task": "keypoints", "objects": objects}

    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Entries with ``keypoints`` (x, y, score, x, ...) and their mean score, of the first category.

        COCO's keypoints are indices of pixels, whose centres lie half a pixel further here.
        """
        category = int(category_ids[0]) if category_ids else 0
        return [
            {
                "image_id": self.image_id,
                "category_id": category,
                "keypoints": [
                    float(value) for point, score in zip(points - 0.5, scores, strict=True) for value in (*point, score)
                ],
                "score": float(np.mean(scores)) if len(scores) else 0.0,
            }
            for points, scores in zip(self.keypoints, self.scores, strict=True)
        ]

    def to_supervision(self) -> Any:
        """``supervision.KeyPoints``."""
        supervision = import_supervision()
        points, scores = self.keypoints.astype(np.float32), self.scores.astype(np.float32)
        try:
            return supervision.KeyPoints(xy=points, keypoint_confidence=scores)
        except TypeError:  # the name before supervision 0.30
            return supervision.KeyPoints(xy=points, confidence=scores)
