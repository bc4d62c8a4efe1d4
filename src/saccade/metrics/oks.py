"""COCO's ten metrics of keypoints, by object keypoint similarity (OKS).

https://cocodataset.org/#keypoints-eval. The similarity of a detection with an object is the mean over the object's
labelled points of ``exp(-d^2 / (2 s^2 k^2))``: ``d`` the distance, ``s^2`` the object's area, ``k = 2 sigma`` the
spread of annotators at that point. It replaces the IoU; at most 20 detections an image count. Objects without a
labelled point, and crowds, are neither found nor missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError, DataError
from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.metrics.coco_core import KEYPOINT_RULES, figures_of, precision_recall
from saccade.metrics.records import DetectedObjects, ImageRecord, RecordTable, make_record
from saccade.metrics.resample import of_records, resampled_precision
from saccade.results.base import Result
from saccade.results.keypoints import Keypoints
from saccade.structures.sample import Target

__all__ = [
    "COCO_SIGMAS",
    "OKS_FIGURES",
    "UNIFORM_SIGMA",
    "OksEvaluator",
    "object_similarity",
    "sigmas_of",
    "suppress_poses",
]

Array = NDArray[Any]

OKS_FIGURES = tuple(figure[0] for figure in KEYPOINT_RULES.figures)
# Points of COCO's persons, and the spread of annotators at each, in shares of the root of the area.
COCO_SIGMAS = {
    "nose": 0.026,
    "left_eye": 0.025,
    "right_eye": 0.025,
    "left_ear": 0.035,
    "right_ear": 0.035,
    "left_shoulder": 0.079,
    "right_shoulder": 0.079,
    "left_elbow": 0.072,
    "right_elbow": 0.072,
    "left_wrist": 0.062,
    "right_wrist": 0.062,
    "left_hip": 0.107,
    "right_hip": 0.107,
    "left_knee": 0.087,
    "right_knee": 0.087,
    "left_ankle": 0.089,
    "right_ankle": 0.089,
}
UNIFORM_SIGMA = 0.05  # of points whose spread nobody has measured


def sigmas_of(point_names: Sequence[str]) -> NDArray[np.float64]:
    """Choose sigmas by name: COCO's if the points are those of its persons, in any order; else 0.05 for each.

    Example:
        >>> sigmas_of(("tip", "root"))
        array([0.05, 0.05])
    """
    if set(point_names) == set(COCO_SIGMAS):
        return np.array([COCO_SIGMAS[name] for name in point_names])
    return np.full(len(point_names), UNIFORM_SIGMA)


class OksEvaluator(RecordEvaluator[ImageRecord]):
    """COCO's average precision and recall of keypoints, with OKS in place of the IoU.

    Targets without ``area`` have no similarity and are left out; if all are, every metric is NaN.

    Args:
        point_names: K names; if empty, K is that of the ground truth.
        sigmas: K spreads; those of :func:`sigmas_of` if not given.

    Raises:
        ConfigError: If there are not K sigmas above 0.

    Example:
        >>> points = np.array([[[10.0, 10], [50, 10]]])
        >>> about = dict(path="1.png", image_id=1, image_size=(100, 100), class_names=("tip", "root"))
        >>> target = {"keypoints": np.array([[[10.0, 10, 2], [50, 12, 2]]]), "area": np.array([400.0])}
        >>> evaluator = OksEvaluator(("tip", "root"))
        >>> evaluator.update([Keypoints(**about, keypoints=points, point_scores=np.ones((1, 2)))], [target])
        >>> values = evaluator.compute().values
        >>> values["AP50"], values["AP"]
        (1.0, 0.7)
    """

    def __init__(self, point_names: Sequence[str], sigmas: Sequence[float] | None = None) -> None:
        super().__init__()
        self.point_names = tuple(point_names)
        self.sigmas = sigmas_of(point_names) if sigmas is None else np.asarray(sigmas, np.float64)
        if self.sigmas.shape != (len(self.point_names),) or not (self.sigmas > 0).all():
            raise ConfigError(f"sigmas must be {len(self.point_names)} numbers above 0; got {self.sigmas.tolist()}.")

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take predictions beside their ground truth (``keypoints`` (M, K, 3), ``area``; ``boxes`` and ``iscrowd``).

        Raises:
            DataError: If the numbers of points differ.
        """
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Keypoints):
                raise TypeError(f"keypoint metrics need Keypoints, got {type(result).__name__}.")
            if len(target.get("area", ())) == len(target["keypoints"]):
                scores = np.asarray(result.scores, np.float64)
                self.add_points(
                    result.path,
                    int(result.image_id),
                    scores,
                    target,
                    np.asarray(result.keypoints, np.float64),
                )

    def add_points(self, path: str, image_id: int, scores: Array, target: Target, keypoints: Array) -> None:
        """Take the detections of one image as plain arrays.

        Args:
            path: File of the image, for messages.
            image_id: The data set's number for it.
            scores: (N,).
            target: Ground truth, as :meth:`update` takes it.
            keypoints: (N, K, 2), pixels.

        Raises:
            DataError: If the numbers of points differ, or the ground truth has no areas.
        """
        if "area" not in target:
            raise DataError(f"{path}: the ground truth has no areas, without which there is no similarity. Add them.")
        ground_truth = np.asarray(target["keypoints"], np.float64)
        sigmas = self.sigmas if self.point_names else np.full(ground_truth.shape[1], UNIFORM_SIGMA)
        for whose, points in (("prediction", keypoints), ("ground truth", ground_truth)):
            if len(points) and points.shape[1] != len(sigmas):
                raise DataError(
                    f"{path}: the {whose} has {points.shape[1]} points, expected were {len(sigmas)}. "
                    "Use a model and data with the same points."
                )
        ground_truth = ground_truth.reshape(-1, len(sigmas), 3)
        found = keypoints.reshape(-1, len(sigmas), 2)
        boxes = np.asarray(target.get("boxes", np.zeros((len(ground_truth), 4))), np.float64)
        area = np.asarray(target["area"], np.float64)
        sides = np.ptp(found, axis=1) if len(found) else np.zeros((0, 2))
        one_class: Target = {"labels": np.zeros(len(ground_truth), np.int64)}
        if "iscrowd" in target:
            one_class["iscrowd"] = target["iscrowd"]
        self._records[image_id] = make_record(
            path,
            1,
            DetectedObjects(scores, np.zeros(len(found), np.int32), sides.prod(axis=1)),
            one_class,
            area,
            object_similarity(found, ground_truth, boxes, area, sigmas),
            ignore=np.asarray((ground_truth[..., 2] <= 0).all(axis=1)),
        )

    def resampled(self, images: Sequence[int], weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """AP, AP50 and AP75 of each draw of images (:mod:`saccade.metrics.resample`)."""
        drawn = of_records(weights, images, self._records)
        return resampled_precision(RecordTable.of(self._records, 1), KEYPOINT_RULES, drawn)

    def compute(self) -> MetricReport:
        """Report of the ten metrics, with the precision-recall curve at OKS 0.5."""
        curves = precision_recall(RecordTable.of(self._records, 1), KEYPOINT_RULES)
        at_half = curves.precision[0, :, 0, 0]
        return MetricReport(
            values=figures_of(curves),
            primary="AP",
            curves={
                "precision_recall": {
                    "x": curves.rules.recalls.tolist(),
                    "y": {"objects": at_half.tolist()} if at_half[0] > -1 else {},
                    "xlabel": "recall",
                    "ylabel": "precision at OKS 0.5",
                }
            },
        )


def object_similarity(
    found: Array, ground_truth: Array, boxes_xyxy: Array, area: Array, sigmas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the OKS of N detections with M objects, as ``COCOeval.computeOks``.

    For an object without labelled points, the distance of a point is that to a box of three times the object's sides,
    zero inside it. COCO compares its indices of pixels with that box, which are half a pixel less than coordinates
    here; so does this.

    Args:
        found: (N, K, 2), pixels.
        ground_truth: (M, K, 3), x, y, visibility.
        boxes_xyxy: (M, 4).
        area: (M,), pixels.
        sigmas: (K,).

    Returns:
        (N, M).

    Example:
        >>> ground_truth = np.array([[[10.0, 10, 2], [50, 10, 1]]])
        >>> found = np.array([[[10.0, 10], [50, 10]], [[10, 10], [53, 14]]])
        >>> sigmas = np.array([0.1, 0.1])
        >>> object_similarity(found, ground_truth, np.zeros((1, 4)), np.array([400.0]), sigmas).round(3)
        array([[1.   ],
               [0.729]])
    """
    similarity = np.zeros((len(found), len(ground_truth)))
    spread = (sigmas * 2) ** 2
    for column, (points, box, size) in enumerate(zip(ground_truth, boxes_xyxy, area, strict=True)):
        labelled = points[:, 2] > 0
        if labelled.any():
            offset = found[:, labelled] - points[labelled, :2]
        else:
            sides = box[2:] - box[:2]
            indices = found - 0.5
            offset = np.maximum(0, box[:2] - sides - indices) + np.maximum(0, indices - (box[:2] + 2 * sides))
            labelled = np.ones(len(points), bool)
        exponent = (offset**2).sum(axis=2) / spread[labelled] / (size + np.spacing(1)) / 2
        similarity[:, column] = np.exp(-exponent).mean(axis=1)
    return np.nan_to_num(similarity)


def suppress_poses(
    keypoints: Array, scores: Array, boxes_xyxy: Array, sigmas: NDArray[np.float64], threshold: float = 0.9
) -> NDArray[np.int64]:
    """Suppress poses that are found twice, by their similarity (OKS) instead of the IoU of their boxes.

    Of two poses that are more alike than the threshold, the one with the higher score stays; the area is the mean of
    those of both boxes. As in the authors' code of HRNet.

    Args:
        keypoints: (N, K, 2), pixels.
        scores: (N,).
        boxes_xyxy: (N, 4), pixels.
        sigmas: (K,), spreads of the points.
        threshold: Similarity above which two poses are one.

    Returns:
        Kept indices, by falling score, int64.

    Example:
        >>> poses = np.array([[[10.0, 10], [50, 90]], [[11, 10], [50, 90]], [[60, 10], [90, 90]]])
        >>> boxes = np.array([[0.0, 0, 100, 100]] * 3)
        >>> suppress_poses(poses, np.array([0.5, 0.9, 0.4]), boxes, np.array([0.05, 0.05]))
        array([1, 2])
    """
    area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).astype(np.float64).prod(axis=1)
    left = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        distance = ((keypoints[left].astype(np.float64) - keypoints[best]) ** 2).sum(axis=2)
        size = (area[left] + area[best])[:, None] / 2 + np.spacing(1)
        similarity = np.exp(-distance / (2 * sigmas) ** 2 / size / 2).mean(axis=1)
        left = left[similarity <= threshold]
    return np.array(kept, np.int64)
