"""Image that a translation network makes of another one: a photograph of winter, say, from one of summer."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.results.base import Result

__all__ = ["TranslatedImage"]


@dataclass(kw_only=True, eq=False, repr=False)
class TranslatedImage(Result):
    """Result of an image translation network: the image in the other domain, as large as the original.

    ``save`` writes the drawing, input beside output; :meth:`save_image` the output alone.

    Args:
        output: (H, W, 3) uint8 RGB.
        title: What a drawing calls it; ground truth is ``wanted``, or ``other domain`` where it is no partner.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(4, 4), class_names=())
        >>> image = np.full((4, 4, 3), 100, np.uint8)
        >>> result = TranslatedImage(**about, image=image, output=image + 51)
        >>> result.describe(), result.save_image("out/a.png").exists()
        ('mean change 20.0%', True)
    """

    savers: ClassVar[Mapping[str, str]] = {**Result.savers, "image": "save_image"}
    output: NDArray[np.uint8]
    title: str = "output"

    def mean_change(self) -> float | None:
        """Mean absolute difference between input and output, 0..1; None where the input's pixels were not kept."""
        from saccade.results.images import to_rgb8

        if self.image is None:
            return None
        before = to_rgb8(self.image)
        return float(np.abs(before.astype(np.int16) - self.output).mean()) / 255

    def describe(self) -> str:
        """Describe by how much the image changed: ``mean change 12.3%``."""
        change = self.mean_change()
        return f"image of {self.image_size[1]}x{self.image_size[0]}" if change is None else f"mean change {change:.1%}"

    def plot(self) -> NDArray[Any]:
        """Draw input and output side by side."""
        from saccade.results.drawing import draw_caption
        from saccade.results.images import montage

        tiles = [draw_caption(self.pixels(), ["input"]), draw_caption(self.output, [self.title])]
        return montage(tiles, columns=2, cell=max(tiles[0].shape[:2]))

    def save_image(self, path: str | Path) -> Path:
        """Write the output alone, in pixels of the original.

        Args:
            path: Image file; the suffix decides the format, and ``.png`` keeps every value.
        """
        from saccade.results.images import write_image

        return write_image(path, self.output)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: the output as a PNG in base64, and by how much it differs from the input."""
        return {**self._header(), "task": "translation", "mean_change": self.mean_change(), "png": self._png()}

    def rows(self) -> list[dict[str, Any]]:
        """One row: how much the image changed."""
        return [{**self._place(), "mean_change": self.mean_change()}]

    def to_coco(self, category_ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Convert to one entry, the output as a PNG in base64 under ``png`` (COCO has no such results)."""
        return [{"image_id": self.image_id, "png": self._png()}]

    def to_supervision(self) -> Any:
        """Refuse: ``supervision`` has no class for an image.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("supervision has no class for translated images. Use output, save_image() or to_json().")

    def _png(self) -> str:
        import cv2

        _, data = cv2.imencode(".png", self.output[..., ::-1])
        return base64.b64encode(data.tobytes()).decode("ascii")
