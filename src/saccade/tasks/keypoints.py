"""Named points of each object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from saccade.metrics.joint import JointEvaluator
from saccade.metrics.keypoints import KeypointEvaluator
from saccade.metrics.oks import COCO_SIGMAS, OksEvaluator
from saccade.results.base import Result
from saccade.results.keypoints import Keypoints
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks.base import ConstantBaseline, as_array

__all__ = ["TASK", "KeypointTask"]


class KeypointTask:
    """``keypoints`` (B, N, K, 2), ``scores`` (B, N, K) and ``count`` (B,) to ``Keypoints``."""

    name = "keypoints"
    decoded_keys = ("keypoints", "scores", "count")

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """One ``Keypoints`` an image; points may lie outside the image."""
        points, scores, counts = (as_array(decoded[key]) for key in self.decoded_keys)
        return [
            _result(
                info.geometry.invert_points(points[i, : int(counts[i])]), scores[i, : int(counts[i])], info, class_names
            )
            for i, info in enumerate(infos)
        ]

    def ground_truth(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """The labelled points; score 1 where a point is labelled, else 0."""
        points = np.asarray(target["keypoints"], np.float32)
        visible = (points[..., 2] > 0).astype(np.float32)
        return _result(info.geometry.invert_points(points[..., :2]), visible, info, class_names)

    def evaluator(self, data: DatasetInfo) -> JointEvaluator:
        """The normalised mean error decides; of COCO's persons, the average precision by keypoint similarity."""
        errors, similarity = KeypointEvaluator(data.class_names), OksEvaluator(data.class_names)
        if set(data.class_names) == set(COCO_SIGMAS):
            return JointEvaluator(similarity, errors)
        return JointEvaluator(errors, similarity)

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline:
        """The mean shape of one object, as shares of the image's width and height."""
        shapes, weights = [], []
        for sample in samples:
            keypoints = sample.target["keypoints"]
            shapes.append(keypoints[..., :2] / np.array(sample.size[::-1], np.float32))
            weights.append(keypoints[..., 2:] > 0)
        shape, weight = np.concatenate(shapes), np.concatenate(weights)
        mean = (shape * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)

        def answer(info: ImageInfo) -> Result:
            points = (mean * np.array(info.geometry.original_size[::-1], np.float32))[None]
            return _result(points, np.ones(points.shape[:2], np.float32), info, data.class_names)

        return answer


def _result(points: Any, scores: Any, info: ImageInfo, class_names: Sequence[str]) -> Keypoints:
    return Keypoints(
        path=info.path,
        image_id=info.image_id,
        image_size=info.geometry.original_size,
        class_names=tuple(class_names),
        image=info.image,
        keypoints=points,
        scores=scores,
    )


TASK = KeypointTask()
