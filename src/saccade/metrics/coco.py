"""COCO's twelve metrics of boxes or masks, equal to those of pycocotools and faster-coco-eval.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the rules of
https://cocodataset.org/#detection-eval: greedy matching by falling score at IoU 0.50:0.05:0.95, precision interpolated
at 101 recalls, at most 100 detections an image and class unless asked for more, crowds neither found nor missed.
Undefined metrics are NaN here, not -1. Masks are not kept: ``update`` encodes them as run lengths and keeps only their
overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError, DataError
from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.metrics.coco_core import BOX_RULES, box_rules, figures_of, precision_recall
from saccade.metrics.confidence import class_thresholds, confidence_curves
from saccade.metrics.detection_errors import error_breakdown
from saccade.metrics.overlaps import RunLengths, box_overlaps, encode_masks, mask_areas, mask_overlaps, to_xywh
from saccade.metrics.records import LEAST_OVERLAP, DetectedObjects, ImageRecord, RecordTable, make_record
from saccade.metrics.resample import of_records, resampled_precision
from saccade.results.base import Result
from saccade.results.detections import Detections
from saccade.structures.sample import Target

__all__ = ["COCO_FIGURES", "CocoEvaluator", "confusion_counts"]

Array = NDArray[Any]

COCO_FIGURES = tuple(figure[0] for figure in BOX_RULES.figures)
_OF_A_CLASS = ("AP", "AP50", "AP75", "AR", "AP_small", "AP_medium", "AP_large")


class CocoEvaluator(RecordEvaluator[ImageRecord]):
    """COCO's average precision and recall, of boxes or of masks.

    Args:
        class_names: Names of labels 0..N-1.
        confusion_score: Score below which detections do not enter the confusion matrix (all enter the average
            precision).
        confusion_iou: IoU from which a detection and an object form a pair of the confusion matrix, 0.1 to 1.
        iou_type: ``bbox`` or ``segm``.
        max_detections: Detections that count in an image and class; ``AR100`` is named after it.

    Raises:
        ConfigError: If an option is none of these.

    Example:
        >>> about = dict(path="1.jpg", image_id=1, image_size=(60, 80), class_names=("cat", "dog"))
        >>> boxes = np.array([[0, 0, 40, 40], [42, 0, 80, 40.0]])
        >>> result = Detections(**about, boxes_xyxy=boxes, scores=[0.9, 0.8], labels=[0, 0])
        >>> evaluator = CocoEvaluator(("cat", "dog"))
        >>> evaluator.update([result], [{"boxes": np.array([[40, 0, 80, 40.0]]), "labels": np.array([0])}])
        >>> values = evaluator.compute().values
        >>> values["AP50"], values["AR100"]
        (0.5, 1.0)
    """

    def __init__(
        self,
        class_names: Sequence[str],
        confusion_score: float = 0.25,
        confusion_iou: float = 0.5,
        iou_type: str = "bbox",
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        if max_detections < 1:
            raise ConfigError(f"max_detections is {max_detections}; at least one detection has to count.")
        if iou_type not in ("bbox", "segm"):
            raise ConfigError(f"iou_type is '{iou_type}'. Choose bbox or segm.")
        if not LEAST_OVERLAP <= confusion_iou <= 1:
            raise ConfigError(f"confusion_iou must be {LEAST_OVERLAP} to 1; got {confusion_iou}.")
        self.class_names = tuple(class_names)
        self.confusion_score = confusion_score
        self.confusion_iou = confusion_iou
        self.iou_type = iou_type
        self.max_detections = max_detections

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take detections beside their ground truth.

        Targets have ``boxes`` or, for masks, ``masks``; ``labels``; and ``area`` and ``iscrowd`` if there are any.

        Raises:
            DataError: If a label is not below the number of classes, or masks are missing or of another size.
        """
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Detections):
                raise TypeError(f"box metrics need Detections, got {type(result).__name__}.")
            about = result.path, int(result.image_id), result.scores, result.labels, target
            if self.iou_type == "bbox":
                self.add_boxes(*about, to_xywh(result.boxes_xyxy))
            elif result.masks is None:
                raise DataError(f"{result.path}: the detections have no masks. Evaluate a model that predicts masks.")
            else:
                self.add_masks(*about, encode_masks(result.masks))

    def add_boxes(
        self, path: str, image_id: int, scores: Array, labels: Array, target: Target, boxes_xywh: Array
    ) -> None:
        """Take the detections of one image as plain arrays.

        Args:
            path: File of the image, for messages.
            image_id: The data set's number for it.
            scores: (N,).
            labels: (N,).
            target: Ground truth, as :meth:`update` takes it.
            boxes_xywh: (N, 4) float64, pixels.
        """
        ground_truth = to_xywh(target.get("boxes", np.zeros((0, 4))))
        ground_truth_area = target.get("area", ground_truth[:, 2] * ground_truth[:, 3])
        overlap = box_overlaps(boxes_xywh, ground_truth, _crowd(target, len(ground_truth)))
        area = boxes_xywh[:, 2] * boxes_xywh[:, 3]
        detected = DetectedObjects(scores, labels, area)
        self._records[image_id] = make_record(path, len(self.class_names), detected, target, ground_truth_area, overlap)

    def add_masks(
        self, path: str, image_id: int, scores: Array, labels: Array, target: Target, masks: Sequence[RunLengths]
    ) -> None:
        """Take the detections of one image with masks as run lengths; else as :meth:`add_boxes`.

        Raises:
            DataError: If the ground truth has no masks, or masks of another size.
        """
        if "masks" not in target:
            raise DataError(f"{path}: the ground truth has no masks. Open the data set with masks=True.")
        ground_truth = encode_masks(target["masks"])
        sizes = {tuple(mask["size"]) for mask in (*masks, *ground_truth)}
        if len(sizes) > 1:
            raise DataError(
                f"{path}: masks have the sizes (height, width) {sorted(sizes)}. "
                "Give all of them in pixels of the image."
            )
        ground_truth_area = target.get("area", mask_areas(ground_truth))
        overlap = mask_overlaps(masks, ground_truth, _crowd(target, len(ground_truth)))
        detected = DetectedObjects(scores, labels, mask_areas(masks))
        self._records[image_id] = make_record(path, len(self.class_names), detected, target, ground_truth_area, overlap)

    def table(self) -> RecordTable:
        """Table of the records of all images."""
        return RecordTable.of(self._records, len(self.class_names))

    def resampled(self, images: Sequence[int], weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """AP, AP50 and AP75 of each draw of images (:mod:`saccade.metrics.resample`)."""
        drawn = of_records(weights, images, self._records)
        return resampled_precision(self.table(), box_rules(self.max_detections), drawn)

    def best_thresholds(self) -> NDArray[np.float64]:
        """Score of each class at which its F1 at IoU 0.5 is greatest, (C,); NaN without objects."""
        return class_thresholds(confidence_curves(self.table(), most=self.max_detections))

    def compute(self) -> MetricReport:
        """Report of the twelve metrics and the best F1, with classes, curves at IoU 0.5, confusion and error kinds."""
        table = self.table()
        curves = precision_recall(table, box_rules(self.max_detections))
        confidence = confidence_curves(table, most=self.max_detections)
        objects = table.objects(table.crowd)
        at_half = curves.precision[0, :, :, 0]  # (recall, class)
        shown = [(label, name) for label, name in enumerate(self.class_names) if objects[label]]
        per_class = []
        for label, name in enumerate(self.class_names):
            figures = figures_of(curves, label)
            figures["AR"] = figures[f"AR{self.max_detections}"]
            row = {key: figures[key] for key in _OF_A_CLASS}
            per_class.append({"class": name, **row, "objects": int(objects[label])})
        confusion = confusion_counts(
            self._records.values(), len(self.class_names), self.confusion_score, self.confusion_iou
        )
        best = {"F1": confidence.best_f1, "F1_confidence": confidence.best_confidence}
        return MetricReport(
            values=figures_of(curves) | best,
            primary="AP",
            per_class=per_class,
            curves={
                "precision_recall": {
                    "x": curves.rules.recalls.tolist(),
                    "y": {name: at_half[:, label].tolist() for label, name in shown},
                    "xlabel": "recall",
                    "ylabel": "precision at IoU 0.5",
                },
                "F1_confidence": {
                    "x": confidence.confidence[::10].tolist(),
                    "y": {name: confidence.f1[label, ::10].tolist() for label, name in shown},
                    "xlabel": "confidence",
                    "ylabel": "F1 at IoU 0.5",
                    "mark": confidence.best_confidence,
                },
            },
            confusion={
                "labels": [*self.class_names, "background"],
                "matrix": confusion.tolist(),
                "unpaired": len(self.class_names),
            },
            breakdown=error_breakdown(table, self.max_detections),
            notes=[self._limit(table)],
        )

    def _limit(self, table: RecordTable) -> str:
        """The limit of detections, and what it cut off."""
        most = self.max_detections
        note = f"at most {most} detections of a class count in an image"
        beyond = table.rank >= most
        if not beyond.any():
            return f"{note}."
        images = len(np.unique(table.image[beyond]))
        return (
            f"{note}: {int(beyond.sum()):,} of {len(table.rank):,}, in {images:,} image{'s' if images != 1 else ''}, "
            "did not. Raise the limit by max_detections (--max-detections)."
        )


def confusion_counts(
    records: Iterable[ImageRecord], num_classes: int, min_score: float = 0.25, min_iou: float = 0.5
) -> NDArray[np.int64]:
    """Count the confusion matrix of a detector: predicted against true class, with a row and column for background.

    Objects and detections are paired by falling overlap, whatever their classes, each once. Crowds, and detections that
    lie in one by at least ``min_iou``, do not count.

    Args:
        records: One an image.
        num_classes: Number of classes, without background.
        min_score: Score below which detections are left out.
        min_iou: Overlap that makes a pair, at least 0.1.

    Returns:
        (C + 1, C + 1), row the ground truth, column the prediction; the last row holds false positives on background,
        the last column missed objects.

    Example:
        >>> from saccade.metrics.records import DetectedObjects
        >>> detected = DetectedObjects(scores=np.array([0.9, 0.8]), labels=np.array([1, 0]), area=np.array([100, 100]))
        >>> target = {"labels": np.array([0, 0])}
        >>> overlap = np.array([[0.7, 0.0], [0.0, 0.0]])  # a cat taken for a dog, a cat on background
        >>> record = make_record("1.jpg", 2, detected, target, np.array([100, 100]), overlap)
        >>> confusion_counts([record], num_classes=2)
        array([[0, 1, 1],
               [0, 0, 0],
               [1, 0, 0]])
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for record in records:
        free, unmatched = record.scores >= min_score, ~record.crowd
        near = (record.overlap >= min_iou) & free[record.found]
        is_crowd = record.crowd[record.ground_truth]
        in_crowd = np.zeros(len(free), bool)
        in_crowd[record.found[near & is_crowd]] = True
        pairs = np.flatnonzero(near & ~is_crowd)
        pairs = pairs[np.argsort(-record.overlap[pairs], kind="stable")]
        for row, column in zip(record.found[pairs].tolist(), record.ground_truth[pairs].tolist(), strict=True):
            if free[row] and unmatched[column]:
                free[row] = unmatched[column] = False
                matrix[record.ground_truth_labels[column], record.labels[row]] += 1
        matrix[num_classes, :-1] += np.bincount(record.labels[free & ~in_crowd], minlength=num_classes)
        matrix[:-1, num_classes] += np.bincount(record.ground_truth_labels[unmatched], minlength=num_classes)
    return matrix


def _crowd(target: Mapping[str, Array], count: int) -> NDArray[np.bool_]:
    return np.asarray(target.get("iscrowd", np.zeros(count))).reshape(-1).astype(bool)
