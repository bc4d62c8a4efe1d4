"""All metrics of a detector: COCO's of boxes, of masks and keypoints if it predicts any, and VOC's on VOC's data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import CompositeEvaluator, MetricReport
from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.oks import OksEvaluator
from saccade.metrics.voc import voc_average_precision, voc_values
from saccade.results.base import Result
from saccade.results.detections import Detections
from saccade.structures.sample import Target

__all__ = ["DetectionEvaluator"]


class DetectionEvaluator(CompositeEvaluator):
    """COCO's metrics of boxes; those of masks, of keypoints and PASCAL VOC's where results and ground truth allow them.

    If both have masks, ``mask_AP``, ... are added; if both have keypoints, ``keypoint_AP``, ... by their similarity
    (OKS); if the ground truth marks difficult objects, VOC's mean average precisions. Classes, curves, confusion and
    errors are those of the boxes.

    Args:
        class_names: Names of labels 0..N-1.
        primary: Metric by which the best checkpoint is chosen, ``AP``, ``mask_AP`` or ``keypoint_AP``; the boxes'
            ``AP`` where there is nothing else to score.
        max_detections: Detections that count in an image and class, for COCO's metrics; of keypoints 20 do.
        point_names: Names of the keypoints.

    Example:
        >>> about = dict(path="1.jpg", image_id=1, image_size=(60, 80), class_names=("cat", "dog"))
        >>> boxes = np.array([[0, 0, 40, 40], [42, 0, 80, 40.0]])
        >>> result = Detections(**about, boxes_xyxy=boxes, scores=[0.9, 0.8], labels=[0, 1])
        >>> target = {"boxes": boxes, "labels": np.array([0, 1]), "difficult": np.array([False, False])}
        >>> evaluator = DetectionEvaluator(("cat", "dog"))
        >>> evaluator.update([result], [target])
        >>> values = evaluator.compute().values
        >>> values["AP"], values["VOC07_mAP"]
        (1.0, 1.0)
    """

    def __init__(
        self,
        class_names: Sequence[str],
        primary: str = "AP",
        max_detections: int = 100,
        point_names: Sequence[str] = (),
    ) -> None:
        self.class_names = tuple(class_names)
        self._primary = primary
        self._boxes = CocoEvaluator(class_names, max_detections=max_detections)
        self._masks = CocoEvaluator(class_names, iou_type="segm", max_detections=max_detections)
        self._points = OksEvaluator(point_names)
        super().__init__(self._boxes, self._masks, self._points)

    @property
    def max_detections(self) -> int:
        """Detections that count in an image and class; may be set."""
        return self._boxes.max_detections

    @max_detections.setter
    def max_detections(self, number: int) -> None:
        self._boxes.max_detections = self._masks.max_detections = number

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take detections and ground truth (``boxes``, ``labels``; ``masks``, ``area``, ``iscrowd`` and so on)."""
        self._boxes.update(results, targets)
        for result, target in zip(results, targets, strict=True):
            if isinstance(result, Detections) and result.masks is not None and "masks" in target:
                self._masks.update([result], [target])
            points_known = {"keypoints", "area"} <= target.keys()
            if isinstance(result, Detections) and result.keypoints is not None and points_known:
                scores, points = np.asarray(result.scores, np.float64), np.asarray(result.keypoints, np.float64)
                self._points.add_points(result.path, int(result.image_id), scores, target, points)

    def resampled(self, images: Sequence[int], weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """AP, AP50 and AP75 of boxes, masks and keypoints of each draw of images (:mod:`saccade.metrics.resample`)."""
        values = self._boxes.resampled(images, weights)
        for prefix, evaluator in (("mask_", self._masks), ("keypoint_", self._points)):
            if evaluator.state():
                values |= {prefix + name: value for name, value in evaluator.resampled(images, weights).items()}
        return values

    def best_thresholds(self) -> NDArray[np.float64]:
        """Score of each class at which the F1 of its boxes at IoU 0.5 is greatest, (C,); NaN without objects."""
        return self._boxes.best_thresholds()

    def compute(self) -> MetricReport:
        """Report of all metrics.

        Raises:
            DataError: If some images have masks, in result and ground truth, and others have none.
        """
        report = self._boxes.compute()
        if self._masks.state():
            without = self._boxes.state().keys() - self._masks.state().keys()
            if without:
                raise DataError(
                    f"image {min(without)} and {len(without) - 1} others have no masks in result or ground truth, "
                    "unlike the rest. Give masks for all images, (0, height, width) where nothing is found."
                )
            report.values.update({f"mask_{name}": value for name, value in self._masks.compute().values.items()})
        if self._points.state():
            report.values.update({f"keypoint_{name}": value for name, value in self._points.compute().values.items()})
        if any(record.difficult is not None for record in self._boxes.state().values()):
            report.values.update(voc_values(voc_average_precision(self._boxes.table())))
        if self._primary in report.values:
            report.primary = self._primary
        return report
