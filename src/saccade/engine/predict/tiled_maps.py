"""Class maps of large images from the probabilities of their tiles, band by band."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.tiles import TileGrid
from saccade.structures.geometry import Geometry

__all__ = ["MapBands"]

_ROWS_AT_ONCE = 64


class MapBands:
    """Class map of a large image, written band by band from the probabilities of its tiles.

    Either probabilities are blended where tiles overlap, each weighing the less the nearer its own edge is (a tent):
    then one band of ``classes x tile height x image width`` float32 is held, whatever the image's height. Or each
    pixel is taken from the one tile in whose middle it lies (the valid core, Ronneberger et al. 2015, section 3):
    then only the result is held.

    Args:
        grid: Where the tiles lie.
        tent: Blend; else the core decides.
        labels: (H, W) array to write, perhaps mapped from a file.
        scores: (H, W) float32 array that gets the probabilities of the last class, where they are wanted.

    Example:
        >>> from saccade.data.derived.tiles import tile_grid
        >>> grid = tile_grid((4, 6), (4, 4), overlap=0.5)
        >>> labels = np.zeros(grid.size, np.uint8)
        >>> bands = MapBands(grid, tent=True, labels=labels)
        >>> for index in range(len(grid)):  # the second tile is foreground
        ...     bands.add(index, np.full((1, 4, 4), float(index)), Geometry.identity((4, 4)))
        >>> labels[0]
        array([0, 0, 0, 1, 1, 1], dtype=uint8)
    """

    def __init__(
        self, grid: TileGrid, tent: bool, labels: NDArray[Any], scores: NDArray[np.float32] | None = None
    ) -> None:
        self.grid = grid
        self.tent = tent
        self.labels = labels
        self.scores = scores
        self._band: NDArray[np.float32] | None = None
        starts = (grid.rows, grid.columns)
        self._cores = [_cores(starts[axis], grid.tile[axis], grid.size[axis]) for axis in (0, 1)]
        self._weights = [_tents(starts[axis], grid.tile[axis], grid.overlap[axis]) for axis in (0, 1)]

    def add(self, index: int, probabilities: NDArray[Any], geometry: Geometry) -> None:
        """Add the probabilities of tile ``index``.

        Args:
            index: Tiles come in the order of the grid.
            probabilities: (C, h, w) of the canvas; C = 1 is one foreground class.
            geometry: From tile to canvas.
        """
        tile = np.stack([np.asarray(geometry.invert_map(one, linear=True)) for one in probabilities])
        if self.tent:
            self._blend(index, tile)
        else:
            row, column = self.grid.cell(index)
            (y0, y1), (x0, x1) = self._cores[0][row], self._cores[1][column]
            top, left = self.grid.origin(index)
            self._write(slice(y0, y1), slice(x0, x1), tile[:, y0 - top : y1 - top, x0 - left : x1 - left])

    def _blend(self, index: int, tile: NDArray[Any]) -> None:
        row, column = self.grid.cell(index)
        top, left = self.grid.origin(index)
        height, width = self.grid.size
        if self._band is None:
            self._band = np.zeros((len(tile), self.grid.tile[0], width), np.float32)
        x0, x1 = max(left, 0), min(left + tile.shape[2], width)
        weights = self._weights[0][row][:, None] * self._weights[1][column][None, x0 - left : x1 - left]
        for band, probability in zip(self._band, tile, strict=True):
            band[:, x0:x1] += probability[:, x0 - left : x1 - left] * weights
        if column + 1 < len(self.grid.columns):
            return
        last = row + 1 == len(self.grid.rows)
        done = self.grid.tile[0] if last else self.grid.rows[row + 1] - top
        for start in range(max(top, 0), min(top + done, height), _ROWS_AT_ONCE):
            end = min(start + _ROWS_AT_ONCE, top + done, height)
            self._write(slice(start, end), slice(None), self._band[:, start - top : end - top])
        for band in self._band:
            band[: len(band) - done] = band[done:]
            band[len(band) - done :] = 0

    def _write(self, rows: slice, columns: slice, probabilities: NDArray[Any]) -> None:
        one = len(probabilities) == 1
        self.labels[rows, columns] = probabilities[0] >= 0.5 if one else probabilities.argmax(axis=0)
        if self.scores is not None:
            self.scores[rows, columns] = probabilities[-1]


def _cores(starts: tuple[int, ...], tile: int, length: int) -> list[tuple[int, int]]:
    """Pixels of the image that each tile decides: up to the middle of what it shares with its neighbours."""
    middles = [(after + before + tile) // 2 for before, after in itertools.pairwise(starts)]
    edges = [0, *(min(max(middle, 0), length) for middle in middles), length]
    return list(itertools.pairwise(edges))


def _tents(starts: tuple[int, ...], tile: int, overlap: int) -> list[NDArray[np.float32]]:
    """Weights along one side of each tile; those of all tiles that show a pixel sum to one."""
    position = np.arange(tile) + 0.5
    ramp = max(overlap, 1)
    raw = []
    for number in range(len(starts)):
        before = position if number > 0 else np.inf
        after = tile - position if number + 1 < len(starts) else np.inf
        raw.append(np.broadcast_to(np.minimum(np.minimum(before, after) / ramp, 1.0), (tile,)))
    first = starts[0]
    total = np.zeros(starts[-1] - first + tile)
    for start, weights in zip(starts, raw, strict=True):
        total[start - first : start - first + tile] += weights
    return [
        (weights / total[start - first : start - first + tile]).astype(np.float32)
        for start, weights in zip(starts, raw, strict=True)
    ]
