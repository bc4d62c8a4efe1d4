"""Classification: one class an image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from saccade.data.derived.tiles import TileGrid
from saccade.data.writers.drafts import Draft
from saccade.results.base import Result
from saccade.results.classification import Classification
from saccade.results.findings import ImageFindings
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks.base import ConstantBaseline, MergeOptions, Task, as_array

if TYPE_CHECKING:
    from saccade.metrics.classification import ClassificationEvaluator
    from saccade.ops.views import View

__all__ = ["TASK", "ClassificationTask"]


class ClassificationTask(Task):
    """Classification task: ``probabilities`` (B, C) to :class:`~saccade.results.classification.Classification`.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> info = ImageInfo(0, "a.png", Geometry.identity((40, 60)))
        >>> decoded = {"probabilities": np.array([[0.2, 0.8]])}
        >>> TASK.results(decoded, [info], ("cat", "dog"))[0].describe()
        'dog 0.80'
    """

    name = "classification"
    decoded: ClassVar[Mapping[str, str]] = {"probabilities": "BC"}
    target_kinds = ("labels",)
    fitness = (("top1", {"top1": 1.0}),)
    fault_kinds: ClassVar[Mapping[str, str]] = {
        "misclassified": "Images whose most probable class is wrong, the surest first.",
    }
    searched = ("augment.translate=0:0.2", "augment.mixup=0:0.5", "augment.erase=0:0.5")

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """Turn probabilities into one ``Classification`` an image."""
        probabilities = as_array(decoded["probabilities"])
        return [_result(probabilities[index], info, class_names) for index, info in enumerate(infos)]

    def from_target(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Show a target as a result: probability 1 of its class, or the mixture where labels were mixed."""
        label = np.asarray(target["labels"])
        if label.ndim:
            return _result(label.astype(np.float32), info, class_names)
        probabilities = np.zeros(max(len(class_names), int(label) + 1), np.float32)
        probabilities[int(label)] = 1
        return _result(probabilities, info, class_names)

    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> ClassificationEvaluator:
        """Build the evaluator of classifiers; top-1 accuracy decides."""
        from saccade.metrics.classification import ClassificationEvaluator

        return ClassificationEvaluator(data.class_names)

    def inspect(self, result: Result, target: Target, data: DatasetInfo) -> ImageFindings:
        """Find whether the class is right, and how probable it was; an image with a wrong class is a fault."""
        from saccade.tasks._findings import class_findings

        assert isinstance(result, Classification)
        return class_findings(result, target, data.class_names)

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline:
        """Learn the constant baseline: the share of each class."""
        labels = [int(sample.target["labels"]) for sample in samples]
        shares = np.bincount(labels, minlength=len(data.class_names)).astype(np.float32) / len(labels)
        return lambda info: _result(shares, info, data.class_names)

    def drafts(self, result: Result) -> list[Draft]:
        """The most probable class."""
        assert isinstance(result, Classification), "the task made it"
        return [Draft(result.name, result.score)]

    def merge_views(
        self, decoded: Sequence[Mapping[str, Any]], views: Sequence[View], options: MergeOptions
    ) -> dict[str, Any]:
        """Merge views: the mean of their probabilities."""
        from saccade.ops.views import mean_of_views  # with torch

        return {"probabilities": mean_of_views([one["probabilities"] for one in decoded], views)}

    def join_tiles(self, results: Iterable[Result], grid: TileGrid, options: MergeOptions) -> Result:
        """Join tiles: the mean of their probabilities."""
        return self.join_parts(list(results))

    def join_parts(self, results: Sequence[Result]) -> Result:
        """Join the canvases of an image: the mean of their probabilities."""
        parts = [result for result in results if isinstance(result, Classification)]
        # A mean of halves would lose digits; it goes back to the type of the predictions at the end.
        mean = np.mean([part.probabilities for part in parts], axis=0, dtype=np.float64)
        return replace(parts[0], probabilities=mean.astype(parts[0].probabilities.dtype))


def _result(probabilities: Any, info: ImageInfo, class_names: Sequence[str]) -> Classification:
    return Classification(
        path=info.path,
        image_id=info.image_id,
        image_size=info.geometry.original_size,
        class_names=tuple(class_names),
        image=info.image,
        probabilities=probabilities,
    )


TASK = ClassificationTask()
