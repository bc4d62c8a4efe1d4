"""From images to results, one by one, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.data.loading.pipeline import resize_image
from saccade.deploy.runtime import Runtime
from saccade.engine.predict.sources import iter_source
from saccade.engine.predict.tiled import Tiling, predict_tiled
from saccade.results.base import Result
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task

__all__ = ["predict"]


def predict(
    runtime: Runtime,
    source: Any,
    batch_size: int = 1,
    size: tuple[int, int] | None = None,
    keep_images: bool = True,
    tiling: Tiling | None = None,
) -> Iterator[Result]:
    """Results in the order of the source, in pixels of the originals.

    Args:
        runtime: What predicts: a model in memory or an exported file.
        source: Anything ``engine.predict.sources.iter_source`` takes.
        batch_size: Images at a time; only images of equal canvas share a batch.
        size: Canvas (height, width); the model's own if not given.
        keep_images: Keep the pixels on the result, so that it can draw itself without reading the file again.
        tiling: Look at each image tile by tile; a batch is then one of tiles.
    """
    if tiling is not None:
        yield from predict_tiled(runtime, source, tiling, batch_size, size, keep_images)
        return
    spec = runtime.input_spec
    waiting: list[tuple[NDArray[Any], ImageInfo]] = []
    for number, (name, image) in enumerate(iter_source(source, spec.channels)):
        canvas, geometry = resize_image(image, spec, size)
        if waiting and (len(waiting) == batch_size or waiting[0][0].shape != canvas.shape):
            yield from _run(runtime, waiting)
            waiting = []
        waiting.append((canvas, ImageInfo(number, name, geometry, image if keep_images else None)))
    if waiting:
        yield from _run(runtime, waiting)


def _run(runtime: Runtime, waiting: list[tuple[NDArray[Any], ImageInfo]]) -> list[Result]:
    images = torch.from_numpy(np.stack([canvas for canvas, _ in waiting])).permute(0, 3, 1, 2)
    infos = [info for _, info in waiting]
    return get_task(runtime.task).results(runtime(images), infos, runtime.class_names)
