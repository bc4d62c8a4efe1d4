"""The two halves of a prediction, for servers and pipelines that batch on their own: prepare, then predict a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_image
from saccade.data.transforms.resize import resize_image
from saccade.deploy.base import Runtime, points_of
from saccade.engine.predict.further_inputs import move_to_canvas
from saccade.engine.predict.sources import to_pixels
from saccade.errors import ConfigError
from saccade.results.base import Result
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task

__all__ = ["Prepared", "predict_batch", "prepare", "run_canvases"]


@dataclass(frozen=True)
class Prepared:
    """Image on a network's canvas, ready to be batched.

    Args:
        canvas: (H, W, C) uint8.
        info: Identity and geometry.
        inputs: Further inputs, in pixels of the canvas.
    """

    canvas: NDArray[Any]
    info: ImageInfo
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def prepare(
    image: Any,
    spec: InputSpec,
    *,
    name: str = "",
    image_id: int = 0,
    size: tuple[int, int] | None = None,
    keep_image: bool = True,
    inputs: Mapping[str, NDArray[Any]] | None = None,
) -> Prepared:
    """Decode an image and resize it by the network's rule, exactly as training and evaluation do.

    Args:
        image: Path, encoded bytes, (H, W[, C]) array, Pillow image or (C, H, W) tensor.
        spec: Of the network (``runtime.input_spec``).
        name: Of the image, in results and messages; its path if not given.
        image_id: Number of the image in results.
        size: Canvas (height, width); the network's own if not given.
        keep_image: Keep the original pixels, so that results can draw themselves.
        inputs: Further inputs of the network, in pixels of the image, such as those that
            :func:`saccade.data.derived.further_inputs.inputs_of_image` finds.

    Raises:
        DataError: If it is no image.

    Example:
        >>> from saccade.structures.input_spec import InputSpec
        >>> ready = prepare(np.zeros((100, 200, 3), np.uint8), InputSpec((64, 64), resize="letterbox"))
        >>> ready.canvas.shape, ready.info.geometry.original_size
        ((64, 64, 3), (100, 200))
    """
    if isinstance(image, str | Path | bytes):
        pixels = read_image(image, spec.channels)
        name = name or ("bytes" if isinstance(image, bytes) else str(image))
    else:
        pixels = to_pixels(image, spec.channels, image_id)
        name = name or f"array-{image_id}"
    canvas, geometry = resize_image(pixels, spec, size)
    moved = move_to_canvas(inputs or {}, geometry, spec.pad_value)
    return Prepared(canvas, ImageInfo(image_id, name, geometry, pixels if keep_image else None), moved)


def predict_batch(runtime: Runtime, prepared: Sequence[Prepared]) -> list[Result]:
    """Predict images of equal canvas in one call; may be called from several threads.

    Args:
        runtime: From :func:`saccade.deploy.runtime.open_runtime`.
        prepared: At least one, all with the same canvas.

    Returns:
        One result an image, in pixels of the originals, in order.

    Raises:
        ConfigError: If canvases differ, or an input of the network is missing.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> image = np.zeros((28, 28), np.uint8)
        >>> prepared = [prepare(image, runtime.input_spec, image_id=number) for number in range(2)]
        >>> [(result.image_id, result.probabilities.shape) for result in predict_batch(runtime, prepared)]
        [(0, (10,)), (1, (10,))]
    """
    shapes = {one.canvas.shape for one in prepared}
    if len(shapes) != 1:
        raise ConfigError(f"a batch has one canvas, got {sorted(shapes)}. Group images by prepared.canvas.shape.")
    decoded = run_canvases(runtime, [one.canvas for one in prepared], [one.inputs for one in prepared])
    task = get_task(runtime.task)
    results = task.results(decoded, [one.info for one in prepared], runtime.class_names)
    return task.with_points(results, points_of(runtime))


def run_canvases(
    runtime: Runtime, canvases: Sequence[NDArray[Any]], inputs: Sequence[Mapping[str, NDArray[Any]]]
) -> Mapping[str, Any]:
    """Decoded arrays or tensors of canvases (H, W, C) of one size and their further inputs.

    torch is imported only where the runtime computes in it, or where further inputs of several lengths are padded.
    """
    images = np.stack(canvases).transpose(0, 3, 1, 2)
    in_arrays = getattr(runtime, "predict_arrays", None)
    if in_arrays is not None and not any(inputs):
        found: Mapping[str, Any] = in_arrays(images)
        return found
    import torch

    from saccade.structures.batch import pad_targets

    return runtime(torch.from_numpy(images), **pad_targets(inputs))
