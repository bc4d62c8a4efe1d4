"""Vector that a metric-learning network gives an image, and the images of a gallery that lie nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.results.base import Result

__all__ = ["Embedding", "Neighbour", "distances"]

_SHOWN, _CELL = 10, 360  # neighbours in a drawing, and pixels of each


class Neighbour(NamedTuple):
    """Image of a gallery, by its distance.

    Attributes:
        path: Its file.
        name: Its class; empty where the gallery has none.
        distance: To the image that was asked about.
    """

    path: str
    name: str
    distance: float


@dataclass(kw_only=True, eq=False, repr=False)
class Embedding(Result):
    """Result of a metric-learning network: a vector, near those of images of the same class.

    Args:
        vector: (D,) float32.
        l1_weights: (D,) float32, weights of the L1 distance by which its network compares vectors (Koch's); None:
            squared Euclidean distance.
        neighbours: Nearest images of a gallery, by rising distance; empty without one.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(4, 4), class_names=())
        >>> one, other = (Embedding(**about, vector=np.array(v, np.float32)) for v in ([0.0, 3.0], [4.0, 0.0]))
        >>> one.distance(other), one.describe()
        (25.0, 'vector of 2 numbers')
    """

    vector: NDArray[Any]
    l1_weights: NDArray[Any] | None = None
    neighbours: tuple[Neighbour, ...] = ()

    def distance(self, other: Embedding) -> float:
        """Distance to another embedding of the same network.

        Raises:
            ConfigError: If their vectors have not the same length.
        """
        if self.vector.shape != other.vector.shape:
            raise ConfigError(
                f"{self.path} has a vector of {self.vector.size} numbers, {other.path} one of {other.vector.size}. "
                "Compare embeddings of one network."
            )
        return float(distances(self.vector[None], other.vector[None], self.l1_weights)[0, 0])

    @property
    def name(self) -> str:
        """Class of the nearest neighbour; empty without a gallery."""
        return self.neighbours[0].name if self.neighbours else ""

    def describe(self) -> str:
        """Nearest neighbour and its distance: ``nearest s5 (training/s5/3.pgm) 0.12``."""
        if not self.neighbours:
            return f"vector of {self.vector.size} numbers"
        first = self.neighbours[0]
        return f"nearest {first.name or first.path}{f' ({first.path})' if first.name else ''} {first.distance:.3g}"

    def plot(self) -> NDArray[Any]:
        """Draw the image, with its nearest neighbours, their classes and distances below."""
        from saccade.results.drawing import draw_caption
        from saccade.results.images import montage, read_rgb

        image = self.pixels()
        if not self.neighbours:
            return draw_caption(image, [self.describe()])
        shown = self.neighbours[:_SHOWN]
        images = [(image, "this image")]
        images += [(read_rgb(one.path), f"{one.name} {one.distance:.3g}".strip()) for one in shown]
        # Of one size before anything is written below, so that all letters are.
        tiles = [draw_caption(_fit(pixels), [line]) for pixels, line in images]
        return montage(tiles, columns=len(tiles), cell=max(max(tile.shape[:2]) for tile in tiles))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: the vector, and the neighbours by rising distance."""
        return {
            **self._header(),
            "task": "embedding",
            "vector": [float(value) for value in self.vector],
            "neighbours": [one._asdict() for one in self.neighbours],
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row for each neighbour: rank, its file, class and distance; without neighbours one, the vector."""
        if not self.neighbours:
            return [{**self._place(), **{f"v{index}": float(value) for index, value in enumerate(self.vector)}}]
        return [
            {**self._place(), "rank": rank, "neighbour": one.path, "name": one.name, "distance": one.distance}
            for rank, one in enumerate(self.neighbours, start=1)
        ]

    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Convert to one entry, the vector, under ``embedding`` (COCO has no such results)."""
        return [{"image_id": self.image_id, "embedding": [float(value) for value in self.vector]}]

    def to_supervision(self) -> Any:
        """Refuse: ``supervision`` has no class for a vector.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("supervision has no class for embeddings. Use vector, or to_json().")


def _fit(image: NDArray[Any]) -> NDArray[Any]:
    """Resize an image so that its longer side has ``_CELL`` pixels."""
    import cv2

    from saccade.results.images import to_rgb8

    height, width = image.shape[:2]
    factor = _CELL / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(to_rgb8(image), size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def distances(first: NDArray[Any], second: NDArray[Any], l1_weights: NDArray[Any] | None = None) -> NDArray[Any]:
    """Distances between two sets of vectors: squared Euclidean, or weighted L1.

    Args:
        first: (N, D).
        second: (M, D).
        l1_weights: (D,); one below zero makes vectors that differ there nearer.

    Returns:
        (N, M) float64.

    Example:
        >>> distances(np.eye(2), np.array([[1.0, 0.0]])).tolist()
        [[0.0], [2.0]]
        >>> distances(np.eye(2), np.array([[1.0, 0.0]]), np.array([1.0, 3.0])).tolist()
        [[0.0], [4.0]]
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    if l1_weights is not None:
        from scipy.spatial.distance import cdist  # no other result needs it

        weights = l1_weights.astype(np.float64)
        total = np.zeros((len(a), len(b)))
        for sign in (1.0, -1.0):
            own = np.flatnonzero(weights * sign > 0)
            if len(own):  # take() keeps rows together, which cdist reads a tenth as fast otherwise
                scaled = (np.take(one, own, axis=1) * np.abs(weights[own]) for one in (a, b))
                total += sign * cdist(*scaled, "cityblock")
        return total
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0.0)
