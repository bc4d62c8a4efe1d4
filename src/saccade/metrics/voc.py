"""PASCAL VOC's average precision: 11 points (2007) and the area under the curve (2010 on).

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015, section 2.2, and
``VOCevaldet`` of its development kit. Detections of a class are matched by falling score over all images. Each is
compared with the object of its class that it overlaps most, matched already or not; it is a true positive if the IoU is
at least 0.5 and the object is still free, a false positive otherwise. Detections matched to a ``difficult`` object do
not count. The number of detections is not limited.

*Coordinates.* The kit adds 1 to every side, because its boxes include their last pixel. Boxes here are continuous (the
VOC reader converts them), and have the same sides and overlaps without that.

*Equal scores.* They keep the order of image ids, and of the detections in an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.metrics.overlaps import box_overlaps, to_xywh
from saccade.metrics.records import DetectedObjects, ImageRecord, RecordTable, make_record
from saccade.results.base import Result
from saccade.results.detections import Detections
from saccade.structures.sample import Target

__all__ = ["VocEvaluator", "voc_average_precision", "voc_values"]


class VocEvaluator(RecordEvaluator[ImageRecord]):
    """PASCAL VOC's mean average precision of boxes, by the rules of 2007 and of 2010 on.

    Args:
        class_names: Names of labels 0..N-1.
        min_iou: IoU that makes a match, 0.1 to 1.

    Example:
        >>> about = dict(path="1.jpg", image_id=1, image_size=(60, 80), class_names=("cat",))
        >>> boxes = np.array([[0, 0, 10, 10], [40, 0, 50, 10], [20, 0, 30, 10.0]])
        >>> result = Detections(**about, boxes_xyxy=boxes, scores=[0.9, 0.8, 0.7], labels=[0, 0, 0])
        >>> evaluator = VocEvaluator(("cat",))
        >>> evaluator.update([result], [{"boxes": boxes[[0, 2]], "labels": np.array([0, 0])}])
        >>> {name: round(value, 3) for name, value in evaluator.compute().values.items()}
        {'VOC07_mAP': 0.848, 'VOC12_mAP': 0.833}
    """

    def __init__(self, class_names: Sequence[str], min_iou: float = 0.5) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.min_iou = min_iou

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take detections and ground truth (``boxes``, ``labels``; ``difficult``, ``iscrowd`` if there are any)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Detections):
                raise TypeError(f"box metrics need Detections, got {type(result).__name__}.")
            found, ground_truth = to_xywh(result.boxes_xyxy), to_xywh(target.get("boxes", np.zeros((0, 4))))
            crowd = np.asarray(target.get("iscrowd", np.zeros(len(ground_truth)))).reshape(-1).astype(bool)
            self._records[int(result.image_id)] = make_record(
                result.path,
                len(self.class_names),
                DetectedObjects(result.scores, result.labels, found[:, 2] * found[:, 3]),
                target,
                ground_truth[:, 2] * ground_truth[:, 3],
                box_overlaps(found, ground_truth, crowd),
            )

    def compute(self) -> MetricReport:
        """Report of both mean average precisions, with those of each class."""
        table = RecordTable.of(self._records, len(self.class_names))
        by_class = voc_average_precision(table, self.min_iou)
        objects = table.objects(table.ignore | table.difficult)
        return MetricReport(
            values=voc_values(by_class),
            primary="VOC12_mAP",
            per_class=[
                {
                    "class": name,
                    "VOC12_AP": float(by_class["VOC12"][label]),
                    "VOC07_AP": float(by_class["VOC07"][label]),
                    "objects": int(objects[label]),
                }
                for label, name in enumerate(self.class_names)
            ],
        )


def voc_values(by_class: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Average over the classes what :func:`voc_average_precision` returns: ``VOC07_mAP`` and ``VOC12_mAP``.

    Args:
        by_class: Average precision of each class by year, (C,) each; NaN where undefined.

    Returns:
        Means over the defined classes; NaN if there are none.

    Example:
        >>> voc_values({"VOC12": np.array([0.5, np.nan, 1.0])})
        {'VOC12_mAP': 0.75}
    """
    means = {}
    for year, values in by_class.items():
        defined = values[~np.isnan(values)]
        means[f"{year}_mAP"] = float(defined.mean()) if len(defined) else float("nan")
    return means


def voc_average_precision(table: RecordTable, min_iou: float = 0.5) -> dict[str, NDArray[np.float64]]:
    """Compute the average precision of each class by both definitions.

    Args:
        table: Detections, objects and overlaps; crowds are treated as difficult.
        min_iou: IoU that makes a match, at least 0.1.

    Returns:
        ``VOC07`` and ``VOC12``, each (C,), NaN for a class without objects that count.

    Example:
        >>> detected = DetectedObjects(np.array([0.9, 0.8]), np.array([0, 0]), np.array([400, 400]))
        >>> overlap = np.array([[0.0], [0.8]])
        >>> record = make_record("1.jpg", 1, detected, {"labels": np.array([0])}, np.array([400]), overlap)
        >>> voc_average_precision(RecordTable.of({1: record}, num_classes=1))
        {'VOC07': array([0.5]), 'VOC12': array([0.5])}
    """
    ignored = table.ignore | table.difficult
    overlap, partner = table.best(table.label[table.found] == table.ground_truth_label[table.ground_truth])
    near = overlap >= min_iou
    rows, bounds = table.by_score(~(near & np.append(ignored, False)[partner]))
    # The detection with the highest score takes an object; all others matched to it are false positives.
    _, first = np.unique(np.where(near[rows], partner[rows], -1 - rows), return_index=True)
    hit = np.zeros(len(rows), bool)
    hit[first] = True
    hit &= near[rows]
    result = {year: np.full(table.num_classes, np.nan) for year in ("VOC07", "VOC12")}
    for label, objects in enumerate(table.objects(ignored).tolist()):
        if not objects:
            continue
        hits = np.cumsum(hit[bounds[label] : bounds[label + 1]])
        precision = hits / np.arange(1, len(hits) + 1)
        # The curve never rises with recall: from each point on, the best that follows.
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        # Recall of k tenths is reached at the first detection with 10 hits >= k objects, exactly, in whole numbers.
        reached = np.searchsorted(10 * hits, np.arange(11) * objects, side="left")
        result["VOC07"][label] = best[reached].mean()
        gained = np.diff(hits, prepend=0) / objects
        result["VOC12"][label] = (gained * best[:-1]).sum()
    return result
