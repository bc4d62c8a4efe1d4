"""One class an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from saccade.metrics.classification import ClassificationEvaluator
from saccade.results.base import Result
from saccade.results.classification import Classification
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks.base import ConstantBaseline, as_array

__all__ = ["TASK", "ClassificationTask"]


class ClassificationTask:
    """``probabilities`` (B, C) to ``Classification``."""

    name = "classification"
    decoded_keys = ("probabilities",)

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """One ``Classification`` an image."""
        probabilities = as_array(decoded["probabilities"])
        return [_result(probabilities[index], info, class_names) for index, info in enumerate(infos)]

    def ground_truth(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Certainty of the true class (or its mixture, where labels were mixed)."""
        label = np.asarray(target["labels"])
        if label.ndim:
            return _result(label.astype(np.float32), info, class_names)
        probabilities = np.zeros(max(len(class_names), int(label) + 1), np.float32)
        probabilities[int(label)] = 1
        return _result(probabilities, info, class_names)

    def evaluator(self, data: DatasetInfo) -> ClassificationEvaluator:
        """Top-1 accuracy decides."""
        return ClassificationEvaluator(data.class_names)

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline:
        """The share of each class."""
        labels = [int(sample.target["labels"]) for sample in samples]
        shares = np.bincount(labels, minlength=len(data.class_names)).astype(np.float32) / len(labels)
        return lambda info: _result(shares, info, data.class_names)


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
