"""Gallery of a prediction: images of a folder, among which the nearest to each image of the source are looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from saccade.deploy.base import Runtime
from saccade.engine.predict.predict import Predictions, predict
from saccade.engine.predict.sources import SourceOptions
from saccade.errors import ConfigError, DataError
from saccade.results.base import Result
from saccade.tasks import get_task

__all__ = ["compare_with_gallery"]


def compare_with_gallery(
    runtime: Runtime,
    predictions: Predictions,
    folder: str | Path,
    count: int = 5,
    progress: Callable[[Iterator[Result]], Iterator[Result]] = iter,
    **options: Any,
) -> Predictions:
    """The same predictions, each with the nearest images of a gallery, by the network's own distance.

    The gallery is predicted now, in the same way; its vectors are kept, its images are not. An image that cannot be
    read is named and left out.

    Args:
        runtime: What predicts.
        predictions: For the source.
        folder: Images of the gallery, and of all folders below it; the folder of an image is its class.
        count: Nearest images of each, at most.
        progress: Wraps the iteration over the gallery.
        **options: Of :func:`saccade.engine.predict.predict.predict`, such as ``batch_size`` and ``tiling``.

    Raises:
        ConfigError: If the task does not compare images, or the count is below 1.
        DataError: If the folder holds no images.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("protonet_conv4", width=4))
        >>> from saccade.results.images import write_image
        >>> for name, grey in (("dark", 0), ("bright", 255)):
        ...     _ = write_image(f"gallery/{name}/a.png", np.full((28, 28, 3), grey, np.uint8))
        >>> found = predict(runtime, np.full((28, 28, 3), 250, np.uint8))
        >>> (result,) = compare_with_gallery(runtime, found, "gallery")
        >>> [neighbour.name for neighbour in result.neighbours]
        ['bright', 'dark']
    """
    if count < 1:
        raise ConfigError(f"neighbours is {count}; give 1 or more.")
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: the gallery is no folder. Give one with images, perhaps in a folder for each class.")
    task = get_task(runtime.task)
    images = predict(
        runtime, root, keep_images=False, on_error="skip", options=SourceOptions(recursive=True), **options
    )
    search = task.search_gallery(((result, _class_of(root, result.path)) for result in progress(images)), count)
    return Predictions((search(result) for result in predictions), predictions.skipped)


def _class_of(root: Path, path: str) -> str:
    """Folder of an image, relative to the root; empty for one that lies in the root itself."""
    parent = Path(path).relative_to(root).parent
    return "" if parent == Path() else parent.as_posix()
