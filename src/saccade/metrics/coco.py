"""COCO's twelve figures for boxes, through faster-coco-eval, equal to pycocotools.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the rules of
https://cocodataset.org/#detection-eval: greedy matching by falling score at IoU 0.50:0.05:0.95, precision interpolated
at 101 recalls, at most 100 detections an image and class, crowds neither found nor missed. Undefined figures are NaN
here, not -1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.data.sample import Target
from saccade.errors import DataError
from saccade.metrics.base import MetricReport
from saccade.results.base import Result
from saccade.results.detections import Detections

__all__ = ["COCO_FIGURES", "CocoEvaluator", "ImageRecord", "confusion_counts"]

Array = NDArray[Any]

# Name, precision (else recall), IoU, area, detections an image: the order of pycocotools' ``stats``.
_ROWS: tuple[tuple[str, bool, float | None, str, int], ...] = (
    ("AP", True, None, "all", 100),
    ("AP50", True, 0.5, "all", 100),
    ("AP75", True, 0.75, "all", 100),
    ("AP_small", True, None, "small", 100),
    ("AP_medium", True, None, "medium", 100),
    ("AP_large", True, None, "large", 100),
    ("AR1", False, None, "all", 1),
    ("AR10", False, None, "all", 10),
    ("AR100", False, None, "all", 100),
    ("AR_small", False, None, "small", 100),
    ("AR_medium", False, None, "medium", 100),
    ("AR_large", False, None, "large", 100),
)
COCO_FIGURES = tuple(row[0] for row in _ROWS)


class ImageRecord(NamedTuple):
    """What is kept of one image, in pixels of the original.

    Attributes:
        boxes: Detected, (N, 4) xyxy.
        scores: (N,).
        labels: (N,) int32.
        truth_boxes: (M, 4) xyxy.
        truth_labels: (M,) int32.
        area: (M,), decides small, medium and large (COCO: of the mask, not of the box).
        crowd: (M,) bool.
    """

    boxes: Array
    scores: Array
    labels: Array
    truth_boxes: Array
    truth_labels: Array
    area: Array
    crowd: Array


class CocoEvaluator:
    """Average precision and recall of boxes.

    Args:
        class_names: Names of labels 0..N-1.
        confusion_score: Detections below it do not enter the confusion matrix (they all enter the average precision).
        confusion_iou: Overlap that makes a pair there.
    """

    def __init__(self, class_names: Sequence[str], confusion_score: float = 0.25, confusion_iou: float = 0.5) -> None:
        self.class_names = tuple(class_names)
        self.confusion_score = confusion_score
        self.confusion_iou = confusion_iou
        self._images: dict[int, ImageRecord] = {}

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take detections beside their truth (``boxes``, ``labels``; ``area`` and ``iscrowd`` if there are any)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Detections):
                raise TypeError(f"box metrics need Detections, got {type(result).__name__}.")
            self._images[int(result.image_id)] = _record(result, target, len(self.class_names))

    def state(self) -> dict[int, ImageRecord]:
        """Arrays by image id."""
        return self._images

    def merge(self, states: Sequence[Any]) -> None:
        """Take the union; an image that several processes saw counts once."""
        self._images = {image_id: record for state in states for image_id, record in state.items()}

    def compute(self) -> MetricReport:
        """The twelve figures, each class, precision-recall curves at IoU 0.5 and the confusion matrix."""
        count = len(self.class_names)
        precision, recall, params = _evaluate(self._images, count)
        values = {}
        for name, is_precision, iou, area, detections in _ROWS:
            # precision: (IoU, recall, class, area, detections); recall: without its second axis.
            chosen = slice(None) if iou is None else int(np.argmin(np.abs(params.iouThrs - iou)))
            place = params.areaRngLbl.index(area), params.maxDets.index(detections)
            table = (
                precision[chosen, ..., place[0], place[1]] if is_precision else recall[chosen, ..., place[0], place[1]]
            )
            values[name] = _mean(table)

        objects = np.zeros(count, np.int64)
        for record in self._images.values():
            objects += np.bincount(record.truth_labels[~record.crowd], minlength=count)
        at_half = precision[0, :, :, 0, -1]  # (recall, class)
        per_class = [
            {
                "class": name,
                "AP": _mean(precision[:, :, label, 0, -1]),
                "AP50": _mean(at_half[:, label]),
                "AR": _mean(recall[:, label, 0, -1]),
                "objects": int(objects[label]),
            }
            for label, name in enumerate(self.class_names)
        ]
        curves = {
            name: at_half[:, label].tolist() for label, name in enumerate(self.class_names) if at_half[0, label] > -1
        }
        return MetricReport(
            values=values,
            primary="AP",
            per_class=per_class,
            curves={
                "precision_recall": {
                    "x": params.recThrs.tolist(),
                    "y": curves,
                    "xlabel": "recall",
                    "ylabel": "precision at IoU 0.5",
                }
            },
            confusion={
                "labels": [*self.class_names, "background"],
                "matrix": confusion_counts(
                    self._images.values(), count, self.confusion_score, self.confusion_iou
                ).tolist(),
            },
        )


def confusion_counts(
    records: Any, num_classes: int, min_score: float = 0.25, min_iou: float = 0.5
) -> NDArray[np.int64]:
    """Which class was taken for which.

    Pairs of a true and a detected box form by falling IoU, whatever their classes, each box once. Crowds, and
    detections that lie in one by at least ``min_iou``, do not count.

    Args:
        records: ``ImageRecord`` of each image.
        num_classes: Classes without background.
        min_score: Detections below it are left out.
        min_iou: Overlap that makes a pair.

    Returns:
        (C + 1, C + 1): row the truth, column the prediction; the last row holds detections of nothing, the last column
        missed objects.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for record in records:
        sure = record.scores >= min_score
        boxes, labels = record.boxes[sure], record.labels[sure]
        overlap, inside = _overlaps(boxes, record.truth_boxes)
        in_crowd = (inside[:, record.crowd] >= min_iou).any(axis=1)
        truths, overlap = record.truth_labels[~record.crowd], overlap[:, ~record.crowd]
        free_boxes, free_truths = np.ones(len(labels), bool), np.ones(len(truths), bool)
        rows, columns = np.nonzero(overlap >= min_iou)
        for pair in np.argsort(-overlap[rows, columns], kind="stable"):
            row, column = rows[pair], columns[pair]
            if free_boxes[row] and free_truths[column]:
                free_boxes[row] = free_truths[column] = False
                matrix[truths[column], labels[row]] += 1
        np.add.at(matrix, (num_classes, labels[free_boxes & ~in_crowd]), 1)
        np.add.at(matrix, (truths[free_truths], num_classes), 1)
    return matrix


def _record(result: Detections, target: Target, num_classes: int) -> ImageRecord:
    boxes = np.asarray(target.get("boxes", np.zeros((0, 4), np.float32))).reshape(-1, 4)
    labels = np.asarray(target.get("labels", np.zeros(0))).reshape(-1).astype(np.int32)
    for whose, found in (("truth", labels), ("detections", result.labels)):
        if len(found) and not 0 <= found.min() <= found.max() < num_classes:
            raise DataError(
                f"{result.path}: {whose} hold label {int(found.max())}, but there are {num_classes} classes. "
                "Check that model and data set have the same classes."
            )
    wide = boxes.astype(np.float64)
    area = target.get("area", (wide[:, 2] - wide[:, 0]) * (wide[:, 3] - wide[:, 1]))
    crowd = np.asarray(target.get("iscrowd", np.zeros(len(boxes), bool))).reshape(-1).astype(bool)
    return ImageRecord(
        result.boxes_xyxy,
        result.scores,
        result.labels.astype(np.int32),
        boxes,
        labels,
        np.asarray(area).reshape(-1),
        crowd,
    )


def _evaluate(images: Mapping[int, ImageRecord], num_classes: int) -> tuple[Array, Array, Any]:
    """Precision (IoU, recall, class, area, detections) and recall (the same without recall); -1 is undefined."""
    from faster_coco_eval import COCO, COCOeval_faster

    # Ids start at 1: COCO's own code takes 0 for "no match".
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image_id in sorted(images):
        record = images[image_id]
        for box, label, area, crowd in zip(
            _xywh(record.truth_boxes),
            record.truth_labels.tolist(),
            record.area.tolist(),
            record.crowd.tolist(),
            strict=True,
        ):
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
        for box, label, score in zip(_xywh(record.boxes), record.labels.tolist(), record.scores.tolist(), strict=True):
            found.append({"image_id": image_id, "category_id": label + 1, "bbox": box, "score": score})
    dataset = {
        "images": [{"id": image_id} for image_id in sorted(images)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(num_classes)],
        "annotations": truths,
    }
    truth = COCO(dataset)
    evaluation = COCOeval_faster(truth, truth.loadRes(found), "bbox")
    params = evaluation.params
    if not images or not num_classes:
        shape = len(params.iouThrs), len(params.recThrs), num_classes, len(params.areaRng), len(params.maxDets)
        return np.full(shape, -1.0), np.full((shape[0], *shape[2:]), -1.0), params
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"]), params


def _xywh(boxes: Array) -> list[list[float]]:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1).tolist()


def _mean(table: Array) -> float:
    defined = table[table > -1]
    return float(np.mean(defined)) if defined.size else float("nan")


def _overlaps(boxes: Array, others: Array) -> tuple[Array, Array]:
    """IoU of each pair, and the share of each box that lies in the other; both (N, M)."""
    first, second = boxes.astype(np.float64), others.astype(np.float64)
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    area, other_area = ((pair[:, 2] - pair[:, 0]) * (pair[:, 3] - pair[:, 1]) for pair in (first, second))
    tiny = np.finfo(np.float64).tiny
    return shared / np.maximum(area[:, None] + other_area[None] - shared, tiny), shared / np.maximum(
        area[:, None], tiny
    )
