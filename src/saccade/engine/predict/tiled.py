"""Prediction over tiles: a large image is cut into pieces, whose predictions become those of one image.

Every tile has the same size in pixels of the image, so objects have the same scale in all of them. The task joins
boxes, points and classes; maps of pixels are merged in ``engine.predict.tiled_maps``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.further_inputs import inputs_of_image
from saccade.data.derived.tiles import TileGrid, tile_grid
from saccade.data.transforms.resize import resize_image
from saccade.deploy.base import Runtime, points_of
from saccade.engine.predict.further_inputs import move_to_canvas, sources_of
from saccade.engine.predict.large_images import LargeImage, open_images
from saccade.engine.predict.prepare import run_canvases
from saccade.engine.predict.sources import AS_GIVEN, Skips, SourceOptions
from saccade.engine.predict.tiled_maps import MapBands
from saccade.engine.predict.tiling import Tiling
from saccade.errors import ConfigError
from saccade.results.base import Result
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task
from saccade.tasks.base import as_array

if TYPE_CHECKING:
    from saccade.structures.batch import Batch

__all__ = ["Tiling", "predict_batch_tiled", "predict_tiled"]

# Of networks with one class, the probability of each pixel is kept for images up to so many pixels (200 MB).
_MAX_SCORED = 50_000_000

# Predictions for some tiles, one after another in the grid, and their geometries.
_Tiles = tuple[Mapping[str, Any], list[ImageInfo]]


def predict_tiled(
    runtime: Runtime,
    source: Any,
    tiling: Tiling,
    batch_size: int = 1,
    size: tuple[int, int] | None = None,
    keep_images: bool = True,
    map_folder: str | Path | None = None,
    skips: Skips | None = None,
    options: SourceOptions = AS_GIVEN,
) -> Iterator[Result]:
    """Predict large images tile by tile: results in the order of the source, in pixels of the originals.

    Memory: arrays, ``.npy`` files and uncompressed TIFFs are read tile by tile, so that the result takes the most: a
    class map is one byte a pixel, or nothing with ``map_folder``; masks of objects are kept as the bits of their boxes.
    Networks with one class give their probabilities as well for images of up to 50 million pixels.

    Args:
        runtime: What predicts.
        source: Anything ``engine.predict.sources.iter_source`` takes, and ``.npy`` files of shape (H, W[, C]).
        tiling: How images are cut.
        batch_size: Tiles at a time.
        size: Canvas (height, width) of a tile; the model's own if not given.
        keep_images: Keep the pixels on the result; mapped files stay mapped.
        map_folder: Folder for class maps, ``<name>.npy``, which the results then map from there.
        skips: What happens to images that cannot be read; an error if not given.
        options: How the source is searched.

    Raises:
        DataError: If a thing is no image, or too large to be decoded whole.
        ConfigError: If the model's predictions cannot be merged, or not with mirrored borders.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> (result,) = predict_tiled(runtime, np.zeros((100, 120, 1), np.uint8), Tiling(tile=(64, 64)), batch_size=4)
        >>> result.image_size, result.probabilities.shape
        ((100, 120), (10,))
    """
    _check(runtime, tiling)
    used: set[str] = set()
    skips = skips or Skips()
    for number, image in enumerate(open_images(source, runtime.input_spec.channels, skips, options)):
        place = number + len(skips.images)  # in the source, whatever was left out before
        about = {"path": image.name, "image_id": place, "image": image.pixels if keep_images else None}
        about |= {"frame": image.frame, "seconds": image.seconds}
        map_file = None if map_folder is None else _map_file(Path(map_folder), image.name, used)
        yield _predict_image(runtime, image, tiling, about, batch_size, size, map_file)


def predict_batch_tiled(
    runtime: Runtime, batch: Batch, tiling: Tiling, batch_size: int = 1, size: tuple[int, int] | None = None
) -> list[Result]:
    """Predict a batch of whole images tile by tile, as the loader gives them in their original size.

    Args:
        runtime: What predicts.
        batch: Whole images, uint8.
        tiling: How they are cut.
        batch_size: Tiles at a time.
        size: Canvas (height, width) of a tile; the model's own if not given.
    """
    _check(runtime, tiling)
    results = []
    for pixels, info in zip(batch.images.permute(0, 2, 3, 1).numpy(), batch.infos, strict=True):
        image = LargeImage(info.path, pixels, runtime.input_spec.channels)
        about = {"path": info.path, "image_id": info.image_id, "image": info.image}
        results.append(_predict_image(runtime, image, tiling, about, batch_size, size, None))
    return results


def _check(runtime: Runtime, tiling: Tiling) -> None:
    if tiling.mirror and not get_task(runtime.task).pixel_key:
        raise ConfigError(
            f"tile: mirror continues images for class maps; {runtime.name} would find objects in the mirror. "
            "Leave it off."
        )
    for source, value in sources_of(runtime).items():
        if not source.computed(value):
            raise ConfigError(
                f"tile: {source.setting} of a file are those of whole images. Leave {source.setting} out, so that each "
                "tile has its own, or predict without tiles."
            )


def _map_file(folder: Path, name: str, used: set[str]) -> Path:
    """``folder/photo.npy``, ``photo-2.npy`` for the next image of that name."""
    stem = unique = Path(name).stem
    number = 1
    while unique in used:
        number += 1
        unique = f"{stem}-{number}"
    used.add(unique)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{unique}.npy"


def _predict_image(
    runtime: Runtime,
    image: LargeImage,
    tiling: Tiling,
    about: Mapping[str, Any],
    batch_size: int,
    size: tuple[int, int] | None,
    map_file: Path | None,
) -> Result:
    grid = tile_grid(image.size, tiling.tile, tiling.overlap, tiling.mirror)
    tiles = _predict_tiles(runtime, image, grid, tiling.mirror, batch_size, size)
    first = next(tiles)
    every = chain([first], tiles)
    task = get_task(runtime.task)
    if task.pixel_key:
        # One tile shows what kind of result it is; its own map is not used.
        decoded, infos = first
        example = task.results({key: value[:1] for key, value in decoded.items()}, infos[:1], runtime.class_names)[0]
        scored = task.has_pixel_scores(example) and grid.size[0] * grid.size[1] <= _MAX_SCORED
        result = task.from_pixels(example, *_merged_pixels(every, grid, tiling, task.pixel_key, scored, map_file))
    else:
        results = (one for decoded, infos in every for one in task.results(decoded, infos, runtime.class_names))
        result = task.join_tiles(results, grid, tiling.merge_options)
    (result,) = task.with_points([result], points_of(runtime))
    return replace(result, image_size=image.size, **about)


def _predict_tiles(
    runtime: Runtime,
    image: LargeImage,
    grid: TileGrid,
    mirror: bool,
    batch_size: int,
    size: tuple[int, int] | None,
) -> Iterator[_Tiles]:
    """Predictions for the tiles, batch by batch."""
    spec, sources = runtime.input_spec, sources_of(runtime)
    for first in range(0, len(grid), batch_size):
        canvases, infos, inputs = [], [], []
        for index in range(first, min(first + batch_size, len(grid))):
            window = image.window(*grid.origin(index), grid.tile, spec.pad_value, mirror)
            canvas, geometry = resize_image(window, spec, size)
            canvases.append(canvas)
            infos.append(ImageInfo(index, image.name, geometry))
            inputs.append(move_to_canvas(inputs_of_image(window, sources, image.name), geometry, spec.pad_value))
        yield run_canvases(runtime, canvases, inputs), infos


def _merged_pixels(
    tiles: Iterator[_Tiles], grid: TileGrid, tiling: Tiling, key: str, scored: bool, file: Path | None
) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Class of every pixel, and the last channel's value where it is to be kept."""
    scores = np.zeros(grid.size, np.float32) if scored else None
    bands: MapBands | None = None
    for decoded, infos in tiles:
        values = as_array(decoded[key])
        if bands is None:
            dtype = np.dtype(np.uint8 if values.shape[1] <= 255 else np.int16)
            bands = MapBands(grid, tiling.blend == "tent", _labels(grid.size, dtype, file), scores)
        for one, info in zip(values, infos, strict=True):
            bands.add(info.image_id, one, info.geometry)
    assert bands is not None  # a grid has at least one tile
    if isinstance(bands.labels, np.memmap):
        bands.labels.flush()
    return bands.labels, scores


def _labels(size: tuple[int, int], dtype: np.dtype[Any], file: Path | None) -> NDArray[Any]:
    if file is None:
        return np.zeros(size, dtype)
    mapped: NDArray[Any] = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=size)
    return mapped
