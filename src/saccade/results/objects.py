"""Base of results that hold objects: an index, a slice or a boolean mask selects some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.results.base import Result

__all__ = ["ObjectResult"]

R = TypeVar("R", bound="ObjectResult")


@dataclass(kw_only=True, eq=False, repr=False)
class ObjectResult(Result):
    """Base class of results that hold objects; iteration gives them one by one, each as a result of its own.

    Attributes:
        row_fields: Fields whose first dimension counts the objects; a field may be None.

    Example:
        >>> from saccade.results.detections import Detections
        >>> about = dict(path="a.jpg", image_id=0, image_size=(60, 80), class_names=("cat", "dog"))
        >>> result = Detections(**about, boxes_xyxy=np.zeros((3, 4)), scores=[0.9, 0.6, 0.3], labels=[0, 1, 1])
        >>> len(result), len(result[:2]), len(result.above(0.5)), [one.names[0] for one in result]
        (3, 2, 2, ['cat', 'dog', 'dog'])
        >>> print(result)
        a.jpg: 2 dog, 1 cat
    """

    row_fields: ClassVar[tuple[str, ...]] = ()

    scores: NDArray[Any]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self: R, index: int | slice | Sequence[int] | NDArray[Any]) -> R:
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"object {index} of {len(self)}")
            index = [int(index)]
        chosen: Any = index if isinstance(index, slice) else np.asarray(index)
        if not isinstance(chosen, slice) and chosen.size == 0:
            chosen = np.zeros(0, np.int64)
        rows = {name: getattr(self, name) for name in self.row_fields}
        return replace(self, **{name: value[chosen] for name, value in rows.items() if value is not None})

    def __iter__(self: R) -> Iterator[R]:
        return (self[index] for index in range(len(self)))

    def crops(self, margin: float = 0.0) -> list[NDArray[Any]]:
        """Cut the box of each object out of the image.

        Args:
            margin: How much of the box's sides is added around it, such as 0.1.

        Returns:
            One (h, w, C) array an object, at least a pixel large, in the order of the objects.

        Raises:
            ConfigError: If the objects have no boxes.
            DataError: If the image was not kept and cannot be read again.
        """
        boxes = getattr(self, "boxes_xyxy", None)
        if boxes is None:
            raise ConfigError("these objects have no boxes to cut out. Use a network that gives some.")
        image, (height, width) = self.pixels(), self.image_size
        crops = []
        for x1, y1, x2, y2 in np.asarray(boxes, np.float64):
            left, top = np.floor([x1 - margin * (x2 - x1), y1 - margin * (y2 - y1)]).astype(int)
            right, bottom = np.ceil([x2 + margin * (x2 - x1), y2 + margin * (y2 - y1)]).astype(int)
            left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
            crops.append(image[top : max(bottom, top + 1), left : max(right, left + 1)])
        return crops

    def uncertainty(self) -> float:
        """That of the object whose score lies nearest to 0.5, where it is 1; 0 without objects."""
        scores = np.asarray(self.scores, np.float64)
        return float(1 - np.abs(2 * scores - 1).min(initial=1.0))

    def above(self: R, score: float | Sequence[float]) -> R:
        """Select the objects that score at least ``score``, one threshold or one for each class.

        Raises:
            ConfigError: If there are several thresholds, but not one for each class.
        """
        return self[np.asarray(self.scores) >= self.score_limits(score)]

    def score_limits(self, score: float | Sequence[float]) -> NDArray[np.float64]:
        """Threshold of each object, (N,) or (): objects without classes have one for all.

        Raises:
            ConfigError: If there are several thresholds, but not one for each class.
        """
        limits = np.asarray(score, np.float64)
        labels = getattr(self, "labels", None)
        if limits.ndim == 0:
            return limits
        if labels is None or len(limits) != len(self.class_names):
            classes = 0 if labels is None else len(self.class_names)
            raise ConfigError(f"{len(limits)} score thresholds for {classes} classes. Give one, or one for each class.")
        chosen: NDArray[np.float64] = limits[labels]
        return chosen
