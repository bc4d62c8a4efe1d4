"""Prediction of a source of images, one by one, in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from saccade.data.derived.further_inputs import inputs_of_image
from saccade.deploy.base import Runtime, max_detections_of, score_thresholds_of
from saccade.engine.predict.further_inputs import sources_of
from saccade.engine.predict.prepare import Prepared, predict_batch, prepare
from saccade.engine.predict.sources import AS_GIVEN, OnError, Skipped, Skips, SourceImage, SourceOptions, iter_images
from saccade.engine.predict.tiled import Tiling, predict_tiled
from saccade.results.base import Result

__all__ = ["SHOWN_SCORE", "Predictions", "predict"]

logger = logging.getLogger("saccade")

# What is printed and drawn where no threshold is given: models output far lower scores, of use to metrics alone.
SHOWN_SCORE = 0.25


class Predictions(Iterator[Result]):
    """Results of a source, one by one as they are asked for, and the images that were left out.

    Args:
        results: Gives the results.
        skipped: Images that were left out so far; filled as results are asked for.
        thresholds: What scores less than this, one number or one for each class, is left out; None: nothing is.

    Example:
        >>> images = [np.zeros((28, 28)), np.zeros(3)]
        >>> found = saccade.predict(saccade.create_model("lenet5"), images, on_error="skip")
        >>> len(list(found)), found.skipped[0].path
        (1, 'array-1')
    """

    def __init__(
        self, results: Iterator[Result], skipped: list[Skipped], thresholds: float | tuple[float, ...] | None = None
    ) -> None:
        self._results = results
        self.skipped = skipped
        self.thresholds = thresholds

    def __next__(self) -> Result:
        """The next result."""
        return next(self._results)


def predict(
    runtime: Runtime,
    source: Any,
    batch_size: int = 1,
    size: tuple[int, int] | None = None,
    keep_images: bool = True,
    tiling: Tiling | None = None,
    on_error: OnError = "raise",
    score_threshold: float | None = None,
    options: SourceOptions = AS_GIVEN,
) -> Predictions:
    """Predict the images of a source: results in its order, in pixels of the originals.

    Args:
        runtime: What predicts: a model in memory or an exported file. Further inputs of the network, such as proposals,
            are computed for each image (:func:`saccade.engine.predict.further_inputs.with_inputs` chooses how).
        source: Anything ``engine.predict.sources.iter_source`` takes.
        batch_size: Images at a time; only images of equal canvas share a batch.
        size: Canvas (height, width); the model's own if not given.
        keep_images: Keep the pixels on the result, so that it can draw itself without reading the file again.
        tiling: Predict each image tile by tile; a batch is then one of tiles.
        on_error: Raise the error of an image that cannot be read, or name the image and leave it out.
        score_threshold: Leave out what scores less, 0 for nothing; by the model's own thresholds of its classes, where
            some were chosen, if not given.
        options: How the source is searched.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> images = [np.zeros((28, 28), np.uint8), np.zeros((40, 60, 3), np.uint8)]
        >>> [(result.path, result.image_size) for result in predict(runtime, images, batch_size=2)]
        [('array-0', (28, 28)), ('array-1', (40, 60))]
    """
    skips = Skips(on_error)
    if tiling is not None:
        results = predict_tiled(runtime, source, tiling, batch_size, size, keep_images, skips=skips, options=options)
    else:
        results = _whole(runtime, source, batch_size, size, keep_images, skips, options)
    thresholds = score_threshold if score_threshold is not None else score_thresholds_of(runtime) or None
    return Predictions(_limited(results, runtime, thresholds), skips.images, thresholds)


def _whole(
    runtime: Runtime,
    source: Any,
    batch_size: int,
    size: tuple[int, int] | None,
    keep_images: bool,
    skips: Skips,
    options: SourceOptions,
) -> Iterator[Result]:
    waiting: list[tuple[SourceImage, Prepared]] = []
    sources = sources_of(runtime)
    for number, (image, pixels) in enumerate(iter_images(source, runtime.input_spec.channels, skips, options)):
        place = number + len(skips.images)  # in the source, whatever was left out before
        inputs = inputs_of_image(pixels, sources, image.name, place)
        ready = prepare(
            pixels,
            runtime.input_spec,
            name=image.name,
            image_id=place,
            size=size,
            keep_image=keep_images,
            inputs=inputs,
        )
        if waiting and (len(waiting) == batch_size or waiting[0][1].canvas.shape != ready.canvas.shape):
            yield from _predict_waiting(runtime, waiting)
            waiting = []
        waiting.append((image, ready))
    if waiting:
        yield from _predict_waiting(runtime, waiting)


def _predict_waiting(runtime: Runtime, waiting: list[tuple[SourceImage, Prepared]]) -> Iterator[Result]:
    results = predict_batch(runtime, [ready for _, ready in waiting])
    for (image, _), result in zip(waiting, results, strict=True):
        result.frame, result.seconds = image.frame, image.seconds
        yield result


def _limited(
    results: Iterator[Result], runtime: Runtime, thresholds: float | tuple[float, ...] | None
) -> Iterator[Result]:
    """The results above the threshold; where the limit of detections cut off some above it, that is said."""
    most = max_detections_of(runtime)
    lowest = SHOWN_SCORE if thresholds is None else float(np.min(thresholds))
    for result in results:
        scores = getattr(result, "scores", ())  # of objects; others have no limit
        if most is not None and len(scores) >= most and min(scores) >= lowest:
            logger.warning(
                "%s: %d detections, the most that the model outputs for an image; there may be more objects. Raise "
                "max_detections (--max-detections).",
                result.path,
                most,
            )
        yield result if thresholds is None else result.above(thresholds)
