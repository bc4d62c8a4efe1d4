"""How a large image is cut into tiles, and how their predictions are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from saccade.data.derived.tiles import check_tiles
from saccade.errors import ConfigError
from saccade.tasks.base import MergeOptions

__all__ = ["Tiling"]


@dataclass(frozen=True)
class Tiling:
    """Settings of tiled prediction: how an image is cut, and how the predictions are merged.

    Args:
        tile: (height, width) in pixels of the image; the model's resize rule makes it its canvas.
        overlap: Share of a tile that its neighbour shows too. An object is seen whole by some tile if it is no larger
            than what they share.
        merge: ``nms`` keeps the best of several boxes of one object, ``wbf`` takes their weighted mean.
        iou_threshold: Overlap above which boxes of different tiles are one object.
        blend: Of class maps: ``tent`` blends in the overlap, ``core`` takes each pixel from one tile.
        mirror: Of class maps: let tiles begin half an overlap outside of the image, where it is continued by its
            mirror image, so that no pixel is predicted at the edge of a tile (Ronneberger et al. 2015, figure 2).

    Raises:
        ConfigError: If a value is out of range.

    Example:
        >>> Tiling(tile=(640, 640), overlap=0.25, merge="wbf").merge_options.boxes
        'wbf'
    """

    tile: tuple[int, int]
    overlap: float = 0.2
    merge: Literal["nms", "wbf"] = "nms"
    iou_threshold: float = 0.5
    blend: Literal["tent", "core"] = "tent"
    mirror: bool = False

    def __post_init__(self) -> None:
        check_tiles(self.tile, self.overlap)
        for name, value, known in (("merge", self.merge, ("nms", "wbf")), ("blend", self.blend, ("tent", "core"))):
            if value not in known:
                raise ConfigError(f"tile: {name} is '{value}'. Choose from: {', '.join(known)}.")
        if not 0 < self.iou_threshold <= 1:
            raise ConfigError(f"tile: iou_threshold is a share, above 0 to 1; got {self.iou_threshold}.")

    @property
    def merge_options(self) -> MergeOptions:
        """Options by which the boxes of several tiles are merged."""
        return MergeOptions(self.merge, self.iou_threshold)
