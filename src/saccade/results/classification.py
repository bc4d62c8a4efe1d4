"""Class probabilities that a classifier predicts for an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.results.base import Result, import_supervision

__all__ = ["Classification"]

_SHOWN = 0.0005  # share that is drawn as 0.1 %


@dataclass(kw_only=True, eq=False, repr=False)
class Classification(Result):
    """Result of a classifier: the probability of each class.

    Args:
        probabilities: (C,) float32; a target is one-hot.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(4, 4), class_names=("cat", "dog"))
        >>> result = Classification(**about, probabilities=np.array([0.2, 0.8]))
        >>> result.name, result.top(1)
        ('dog', [('dog', 0.8)])
    """

    probabilities: NDArray[Any]

    @property
    def label(self) -> int:
        """Label of the most probable class."""
        return int(np.argmax(self.probabilities))

    @property
    def name(self) -> str:
        """Name of the most probable class."""
        return self.name_of(self.label)

    @property
    def score(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities[self.label])

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """List the ``k`` most probable classes (all, if there are fewer), ``(name, probability)``."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.name_of(int(label)), float(self.probabilities[label])) for label in order]

    def describe(self) -> str:
        """Name and probability of the best class: ``cat 0.91``."""
        return f"{self.name} {self.score:.2f}"

    def plot(self) -> NDArray[Any]:
        """Draw the image with its five most probable classes as bars below; those of 0.0 % are left out."""
        from saccade.results.drawing import class_color, draw_caption

        top = self.top(5)
        names, shares = zip(*[top[0], *(one for one in top[1:] if one[1] >= _SHOWN)], strict=True)
        return draw_caption(self.pixels(), names, shares, [class_color(name) for name in names])

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: name, label and probability of the best class, and all probabilities by name."""
        probabilities = [
            {"name": self.name_of(label), "probability": float(value)} for label, value in enumerate(self.probabilities)
        ]
        best = {"label": self.label, "name": self.name, "score": self.score}
        return {**self._header(), "task": "classification", **best, "probabilities": probabilities}

    def uncertainty(self) -> float:
        """One less the distance of the two largest probabilities (margin sampling)."""
        first, second = np.sort(np.append(self.probabilities, 0.0))[:-3:-1].tolist()
        return float(1 - (first - second))

    def rows(self) -> list[dict[str, Any]]:
        """One row for each of the five most probable classes: name, label, score."""
        order = np.argsort(-self.probabilities, kind="stable")[:5].tolist()
        return [
            {**self._place(), "name": self.name_of(i), "label": i, "score": float(self.probabilities[i])} for i in order
        ]

    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Convert to one entry, the best class, with the keys of COCO's other results (it has no classification)."""
        category = category_ids[self.label] if category_ids else self.label
        return [{"image_id": self.image_id, "category_id": int(category), "score": self.score}]

    def to_supervision(self) -> Any:
        """Convert to ``supervision.Classifications`` of all classes, by falling probability."""
        supervision = import_supervision()
        order = np.argsort(-self.probabilities, kind="stable")
        return supervision.Classifications(class_id=order, confidence=self.probabilities[order])
