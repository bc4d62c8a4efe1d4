"""Embedding: a vector for every image, near those of images of the same class, also of classes never seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from saccade.data.derived.tiles import TileGrid
from saccade.errors import ConfigError, DataError
from saccade.results.base import Result
from saccade.results.embedding import Embedding, Neighbour, distances
from saccade.results.findings import ImageFindings
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import ImageInfo, Target
from saccade.tasks.base import MergeOptions, Task, as_array

if TYPE_CHECKING:
    from saccade.metrics.embedding import EmbeddingEvaluator
    from saccade.ops.views import View

__all__ = ["TASK", "EmbeddingTask"]


class EmbeddingTask(Task):
    """Embedding task: ``embedding`` (B, D) to :class:`~saccade.results.embedding.Embedding`.

    It learns and scores by the classes of images, as classification does; those of validation and test may be others
    than those of training. A network whose distance is a weighted L1 gives the weights too, ``l1_weights`` (B, D), the
    same for every image.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> info = ImageInfo(0, "a.png", Geometry.identity((40, 60)))
        >>> TASK.results({"embedding": np.zeros((1, 64))}, [info], ())[0].describe()
        'vector of 64 numbers'
    """

    name = "embedding"
    decoded: ClassVar[Mapping[str, str]] = {"embedding": "BD", "l1_weights?": "BD"}
    target_kinds = ("labels",)
    reads = "classification"
    open_set = True
    fitness = (("accuracy", {"accuracy": 1.0}), ("AUC", {"AUC": 1.0}))
    searched = ("augment.translate=0:0.2", "augment.degrees=0:20")

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """Turn vectors into one ``Embedding`` an image."""
        vectors = as_array(decoded["embedding"])
        weights = as_array(decoded["l1_weights"]) if "l1_weights" in decoded else None
        return [
            _result(vectors[index], info, class_names, None if weights is None else weights[index])
            for index, info in enumerate(infos)
        ]

    def from_target(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Show a target as a result: a vector of its class alone, equal for equal classes."""
        label = int(target["labels"])
        vector = np.zeros(max(len(class_names), label + 1), np.float32)
        vector[label] = 1
        return _result(vector, info, class_names)

    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> EmbeddingEvaluator:
        """Build the evaluator; the accuracy of 5-way 1-shot episodes decides, where there are as many classes."""
        from saccade.metrics.embedding import EmbeddingEvaluator

        return EmbeddingEvaluator()

    def inspect(self, result: Result, target: Target, data: DatasetInfo) -> ImageFindings:
        """Refuse: whether a vector is right shows only among those of other images.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "embeddings have no figure of one image alone: a vector is near or far only from others. Leave out "
            "per_image and errors, and read the figures of the whole data set."
        )

    def merge_views(
        self, decoded: Sequence[Mapping[str, Any]], views: Sequence[View], options: MergeOptions
    ) -> dict[str, Any]:
        """Merge views: the mean of their vectors."""
        from saccade.ops.views import mean_of_views  # with torch

        return {key: mean_of_views([one[key] for one in decoded], views) for key in decoded[0]}

    def join_tiles(self, results: Iterable[Result], grid: TileGrid, options: MergeOptions) -> Result:
        """Join tiles: the mean of their vectors."""
        return self.join_parts(list(results))

    def join_parts(self, results: Sequence[Result]) -> Result:
        """Join the canvases of an image: the mean of their vectors."""
        parts = [result for result in results if isinstance(result, Embedding)]
        return replace(parts[0], vector=np.mean([part.vector for part in parts], axis=0))

    def search_gallery(self, gallery: Iterable[tuple[Result, str]], count: int) -> Callable[[Result], Result]:
        """Search by the network's own distance; an image that is itself in the gallery is not its own neighbour."""
        known = [(one, name) for one, name in gallery if isinstance(one, Embedding)]
        if not known:
            raise DataError("no image of the gallery can be read. Look into its folder.")
        vectors = np.stack([one.vector for one, _ in known])
        files = np.array([os.path.realpath(one.path) for one, _ in known])

        def search(result: Result) -> Result:
            assert isinstance(result, Embedding), "the network of the gallery made it"
            far = distances(vectors, result.vector[None], result.l1_weights)[:, 0]
            far[files == os.path.realpath(result.path)] = np.inf
            order = np.argsort(far, kind="stable")[:count]
            nearest = [Neighbour(known[i][0].path, known[i][1], float(far[i])) for i in order if np.isfinite(far[i])]
            return replace(result, neighbours=tuple(nearest))

        return search


def _result(vector: Any, info: ImageInfo, class_names: Sequence[str], l1_weights: Any = None) -> Embedding:
    return Embedding(
        path=info.path,
        image_id=info.image_id,
        image_size=info.geometry.original_size,
        class_names=tuple(class_names),
        image=info.image,
        vector=vector,
        l1_weights=l1_weights,
    )


TASK = EmbeddingTask()
