"""Large images as overlapping tiles: the grid of an image, and a data set of tiles with their ground truth."""

from __future__ import annotations

import functools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.combine import ConcatDataset
from saccade.data.derived.empty import background_label, is_empty
from saccade.data.images.decode import upright_size
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.move import clip_objects, move_sample, move_target, select_objects
from saccade.data.transforms.resize import shift_pixels
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["TileGrid", "TiledDataset", "check_tiles", "tile_grid"]

# A process keeps its last decoded images while they are no more than this together, and the very last in any case.
_CACHE_BYTES = 256 << 20


@dataclass(frozen=True)
class TileGrid:
    """Positions of the tiles of one image: every pair of a row and a column, row by row.

    Args:
        size: (height, width) of the image.
        tile: (height, width) of every tile.
        overlap: Least number of pixels that neighbours share, (vertical, horizontal).
        rows: Top pixel of each row of tiles; negative where the grid begins outside of the image.
        columns: Left pixel of each column of tiles.

    Example:
        >>> grid = tile_grid((100, 250), (100, 100), overlap=0.2)
        >>> len(grid), grid.origin(2), grid.cell(2)
        (3, (0, 150), (0, 2))
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    overlap: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def cell(self, index: int) -> tuple[int, int]:
        """Grid cell (row, column) of tile ``index``."""
        return divmod(index, len(self.columns))

    def origin(self, index: int) -> tuple[int, int]:
        """(top, left) pixel of tile ``index``."""
        row, column = self.cell(index)
        return self.rows[row], self.columns[column]

    def spans(self, axis: int) -> NDArray[np.float64]:
        """First and last coordinate of each row (axis 0) or column (1) of tiles, (S, 2), infinite at the border.

        They are infinite there because an object at the border of the image is not cut by its tile.
        """
        starts = np.array((self.rows, self.columns)[axis], np.float64)
        spans = np.stack([starts, starts + self.tile[axis]], axis=1)
        spans[spans[:, 0] <= 0, 0] = -np.inf
        spans[spans[:, 1] >= self.size[axis], 1] = np.inf
        return spans


def tile_grid(size: tuple[int, int], tile: tuple[int, int], overlap: float, margin: bool = False) -> TileGrid:
    """Compute the grid of tiles that covers an image.

    The stride is ``tile * (1 - overlap)``; the last tile of a row or column is shifted back inside, so it may overlap
    more. An image smaller than a tile has one tile, which extends beyond its right and lower border.

    Args:
        size: (height, width) of the image.
        tile: (height, width) of a tile.
        overlap: Share of a tile that its neighbour shows too, 0 to below 1.
        margin: Begin half an overlap before the image and end as much behind it, so that every pixel is at least
            that far from the edge of some tile.

    Returns:
        The grid.

    Raises:
        ConfigError: If tile or overlap are out of range.

    Example:
        >>> tile_grid((100, 250), (100, 100), 0.2).columns
        (0, 80, 150)
    """
    check_tiles(tile, overlap)
    shared = tuple(min(round(overlap * side), side - 1) for side in tile)
    around = tuple(side // 2 if margin else 0 for side in shared)
    rows, columns = (_starts(size[axis], tile[axis], shared[axis], around[axis]) for axis in (0, 1))
    return TileGrid(size, tile, (shared[0], shared[1]), rows, columns)


def check_tiles(tile: tuple[int, int], overlap: float, name: str = "tile") -> None:
    """Raise an error if the size or overlap of tiles is out of range.

    Args:
        tile: (height, width) in pixels.
        overlap: Share of a tile that its neighbour shows too.
        name: Name of the setting, for the message.

    Raises:
        ConfigError: If they are out of range.

    Example:
        >>> check_tiles((640, 640), overlap=1.2)
        Traceback (most recent call last):
        saccade.errors.ConfigError: tile: overlap is a share of the tile, 0 to below 1; got 1.2.
    """
    if min(tile) < 1:
        raise ConfigError(f"{name}: a tile of {tile[1]}x{tile[0]} pixels is empty. Give height and width in pixels.")
    if not 0 <= overlap < 1:
        raise ConfigError(f"{name}: overlap is a share of the tile, 0 to below 1; got {overlap}.")


def _starts(length: int, tile: int, shared: int, around: int) -> tuple[int, ...]:
    last = length + around - tile
    if last <= -around:
        return (-around,)
    count = -(-(last + around) // (tile - shared)) + 1
    return tuple(min(-around + number * (tile - shared), last) for number in range(count))


class TiledDataset:
    """Data set of the overlapping tiles of another data set's images.

    The grid follows from the sizes of the images, which come from the annotations or the files' headers; no image is
    decoded for it. Ground truth is cut as a random crop cuts it (:mod:`saccade.data.transforms.move`): boxes are
    clipped and dropped where a tenth or less of them is visible, points outside become unlabelled. A tile is an image
    of its own, with its own number and coordinates.

    Each process keeps the images it decoded last, so that reading the tiles in order decodes every image once.

    Args:
        dataset: Data set that holds the images.
        size: (height, width) of a tile in pixels of the images.
        overlap: Share of a tile that its neighbour shows too.
        keep_empty: Share of the tiles without any ground truth that is kept, drawn once from ``seed``: tiles without
            objects or labelled points, or with nothing but background. To find them, every label map is read once.
        seed: Seed of that draw.
        fill: Grey value of what a tile shows outside of an image smaller than itself; label maps show 255 there.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If the size of an image cannot be determined, or no tile is left.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> scenes = DigitScenes("detection", count=10, size=(256, 256))
        >>> tiles = TiledDataset(scenes, (160, 160), overlap=0.2, keep_empty=0.1)
        >>> tiles.read(0).image.shape, len(tiles)
        ((160, 160, 3), 37)
    """

    def __init__(
        self,
        dataset: VisionDataset,
        size: tuple[int, int],
        overlap: float = 0.2,
        keep_empty: float = 1.0,
        seed: int = 0,
        fill: int = 114,
    ) -> None:
        check_tiles(size, overlap)
        if not 0 <= keep_empty <= 1:
            raise ConfigError(f"tile: keep_empty is a share, 0 to 1; got {keep_empty}.")
        self.info: DatasetInfo = dataset.info
        self.repairs: dict[str, int] = dict(getattr(dataset, "repairs", {}))
        self.left_out: list[tuple[str, str]] = list(getattr(dataset, "left_out", ()))
        self.size = (int(size[0]), int(size[1]))
        self.fill = fill
        self._dataset = dataset
        self._sizes = _image_sizes(dataset)
        self._cache: OrderedDict[int, Sample] = OrderedDict()
        grid_of = functools.lru_cache(maxsize=4096)(lambda *image: tile_grid(image, self.size, overlap))
        grids = [grid_of(*size) for size in self._sizes.tolist()]
        counts = np.array([len(grid) for grid in grids], np.int64)
        self._image = np.repeat(np.arange(len(grids), dtype=np.int64), counts)
        self._origin = np.concatenate(
            [np.zeros((0, 2), np.int64), *(np.array([grid.origin(i) for i in range(len(grid))]) for grid in grids)]
        )
        self.image_ids: NDArray[np.int64] = np.arange(len(self._image), dtype=np.int64)
        if keep_empty < 1:
            self._drop_empty(keep_empty, seed)

    def __len__(self) -> int:
        return len(self._image)

    def __getstate__(self) -> dict[str, Any]:
        # Cached images are not sent to workers; each keeps its own.
        return {**self.__dict__, "_cache": OrderedDict()}

    def path(self, index: int) -> str:
        """File of the image that tile ``index`` belongs to."""
        return self._dataset.path(int(self._image[index]))

    def origin(self, index: int) -> tuple[int, int, int]:
        """(image, top, left) of tile ``index``."""
        top, left = self._origin[index].tolist()
        return int(self._image[index]), top, left

    def target(self, index: int) -> Target:
        """The ground truth in pixels of the tile."""
        image, top, left = self.origin(index)
        known = self._cache.get(image)
        target = self._objects_in_tile(self._dataset.target(image) if known is None else known.target, top, left)
        moved = move_target(target, _shift(top, left), self._cut(top, left))
        return clip_objects(moved, (0, 0, self.size[1], self.size[0]), tight=True)

    def read(self, index: int) -> Sample:
        """Pixels and ground truth of tile ``index``.

        Raises:
            DataError: If the image cannot be read, or has another size than annotated.
        """
        image, top, left = self.origin(index)
        sample = self._whole(image)
        sample = Sample(sample.image, self._objects_in_tile(sample.target, top, left), sample.info)
        tile = move_sample(sample, _shift(top, left), self.size, self._cut(top, left), self.fill, tight=True)
        tile.info = ImageInfo(int(self.image_ids[index]), sample.info.path, Geometry.identity(self.size))
        return tile

    def _objects_in_tile(self, target: Target, top: int, left: int) -> Target:
        """The ground truth without objects whose box the tile does not meet, so that their masks need not be cut."""
        if "boxes" not in target:
            return target
        x1, y1, x2, y2 = np.asarray(target["boxes"]).reshape(-1, 4).T
        keep = (x2 > left) & (x1 < left + self.size[1]) & (y2 > top) & (y1 < top + self.size[0])
        return target if keep.all() else select_objects(target, keep)

    def _whole(self, image: int) -> Sample:
        """A whole image with its ground truth, from the cache or decoded."""
        sample = self._cache.get(image)
        if sample is None:
            sample = self._dataset.read(image)
            height, width = self._sizes[image].tolist()
            if sample.size != (height, width):
                raise DataError(
                    f"{self._dataset.path(image)}: size: {width}x{height} by its annotations or header, but the "
                    f"image has {sample.size[1]}x{sample.size[0]} pixels. Correct the annotated size."
                )
            self._cache[image] = sample
        self._cache.move_to_end(image)
        while len(self._cache) > 1 and sum(map(_bytes_of, self._cache.values())) > _CACHE_BYTES:
            self._cache.popitem(last=False)
        return sample

    def _cut(self, top: int, left: int) -> Any:
        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            return shift_pixels(pixels, self.size, -top, -left, fill)

        return remap

    def _drop_empty(self, keep_empty: float, seed: int) -> None:
        background = background_label(self.info)
        keep = np.ones(len(self), np.bool_)
        for image in range(len(self._sizes)):
            target = self._dataset.target(image)
            # Boxes alone decide whether anything is left; cutting the masks of every tile would take long.
            objects = {key: value for key, value in target.items() if key in ("boxes", "keypoints", "label_map")}
            if not objects:
                continue
            draws = np.random.default_rng([seed, image])
            for index in np.flatnonzero(self._image == image).tolist():
                _, top, left = self.origin(index)
                cut = move_target(objects, _shift(top, left), self._cut(top, left))
                cut = clip_objects(cut, (0, 0, self.size[1], self.size[0]))
                keep[index] = draws.random() < keep_empty or not is_empty(cut, background)
        if not keep.any():
            raise DataError(
                f"{self.info.name}: no tile of split '{self.info.split}' holds any ground truth. Raise keep_empty."
            )
        self._image, self._origin = self._image[keep], self._origin[keep]
        self.image_ids = self.image_ids[keep]


def _shift(top: int, left: int) -> NDArray[np.float64]:
    return np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]])


def _bytes_of(sample: Sample) -> int:
    return sample.image.nbytes + sum(value.nbytes for value in sample.target.values())


def _image_sizes(dataset: VisionDataset) -> NDArray[np.int64]:
    """(height, width) of every image as it is read, (M, 2): annotated, else by the header, else by decoding."""
    if isinstance(dataset, ConcatDataset):
        return np.concatenate([_image_sizes(part) for part in dataset.parts])
    sizes = np.zeros((len(dataset), 2), np.int64)
    from_files = True
    if isinstance(dataset, TableDataset):
        sizes[:] = dataset.table.sizes
        # A reader with pixels of its own (MNIST) has no file an image.
        from_files = type(dataset).pixels is TableDataset.pixels
    for index in np.flatnonzero((sizes <= 0).any(axis=1)).tolist():
        path = Path(dataset.path(index))
        sizes[index] = upright_size(path) if from_files and path.is_file() else dataset.read(index).size
    return sizes
