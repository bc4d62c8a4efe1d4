"""Prediction of a source of images, one by one, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from saccade.deploy.runtime import Runtime
from saccade.engine.predict.prepare import Prepared, predict_batch, prepare
from saccade.engine.predict.sources import iter_source
from saccade.engine.predict.tiled import Tiling, predict_tiled
from saccade.results.base import Result

__all__ = ["predict"]


def predict(
    runtime: Runtime,
    source: Any,
    batch_size: int = 1,
    size: tuple[int, int] | None = None,
    keep_images: bool = True,
    tiling: Tiling | None = None,
) -> Iterator[Result]:
    """Predict the images of a source: results in its order, in pixels of the originals.

    Args:
        runtime: What predicts: a model in memory or an exported file.
        source: Anything ``engine.predict.sources.iter_source`` takes.
        batch_size: Images at a time; only images of equal canvas share a batch.
        size: Canvas (height, width); the model's own if not given.
        keep_images: Keep the pixels on the result, so that it can draw itself without reading the file again.
        tiling: Predict each image tile by tile; a batch is then one of tiles.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> images = [np.zeros((28, 28), np.uint8), np.zeros((40, 60, 3), np.uint8)]
        >>> [(result.path, result.image_size) for result in predict(runtime, images, batch_size=2)]
        [('array-0', (28, 28)), ('array-1', (40, 60))]
    """
    if tiling is not None:
        yield from predict_tiled(runtime, source, tiling, batch_size, size, keep_images)
        return
    waiting: list[Prepared] = []
    for number, (name, image) in enumerate(iter_source(source, runtime.input_spec.channels)):
        ready = prepare(image, runtime.input_spec, name=name, image_id=number, size=size, keep_image=keep_images)
        if waiting and (len(waiting) == batch_size or waiting[0].canvas.shape != ready.canvas.shape):
            yield from predict_batch(runtime, waiting)
            waiting = []
        waiting.append(ready)
    if waiting:
        yield from predict_batch(runtime, waiting)
