"""Options of the verbs that predict: how each image is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["InferenceOptions"]


@dataclass(kw_only=True)
class InferenceOptions:
    """Tiles and test-time augmentation; off unless asked for."""

    tile: int | None = None
    """Look at each image in squares of so many of its pixels, for objects that are small in large images."""
    overlap: float = 0.2
    """Share of a tile that its neighbour shows too."""
    tta: bool = False
    """Look at each image (or tile) in the mirror as well, and merge the answers."""
    tta_scales: tuple[float, ...] = (1.0,)
    """With --tta: factors on the canvas at which to look, such as 0.83 1 1.2."""
    flip_pairs: tuple[tuple[int, int], ...] = ()
    """With --tta and keypoints: numbers of the points that a mirror exchanges, left right left right ..."""

    def options(self) -> dict[str, Any]:
        """What was asked for, by the names of ``saccade.predict`` and ``saccade.evaluate``."""
        asked: dict[str, Any] = {}
        if self.tile is not None:
            asked |= {"tile": self.tile, "overlap": self.overlap}
        if self.tta:
            asked |= {"augment": True, "scales": self.tta_scales, "flip_pairs": self.flip_pairs}
        return asked
