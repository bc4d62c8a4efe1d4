"""PASCAL VOC's average precision: 11 points (2007) and the area under the curve (2010 on).

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015, section 2.2, and
``VOCevaldet`` of its development kit. Detections of a class go by falling score over all images. Each looks at the
object of its class that it overlaps most, taken or not; it is right if the IoU is at least 0.5 and the object is still
free, wrong otherwise. What looks at a ``difficult`` object counts neither way. No number of detections is too many.

*Coordinates.* The kit adds 1 to every side, as its pixels are counted and both ends included. Boxes here are continuous
(the VOC reader makes them so), and have the same sides and overlaps without that.

*Equal scores.* They keep the order of image ids, and of the detections in an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import MetricReport
from saccade.metrics.overlaps import box_overlaps, to_xywh
from saccade.metrics.records import ImageRecord, RecordTable, make_record
from saccade.results.base import Result
from saccade.results.detections import Detections
from saccade.structures.sample import Target

__all__ = ["VocEvaluator", "voc_average_precision", "voc_values"]


class VocEvaluator:
    """VOC's mean average precision of boxes.

    Args:
        class_names: Names of labels 0..N-1.
        min_iou: Overlap that makes a match, 0.1 to 1.
    """

    def __init__(self, class_names: Sequence[str], min_iou: float = 0.5) -> None:
        self.class_names = tuple(class_names)
        self.min_iou = min_iou
        self._images: dict[int, ImageRecord] = {}

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take detections and ground truth (``boxes``, ``labels``; ``difficult``, ``iscrowd`` if there are any)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Detections):
                raise TypeError(f"box metrics need Detections, got {type(result).__name__}.")
            found, ground_truth = to_xywh(result.boxes_xyxy), to_xywh(target.get("boxes", np.zeros((0, 4))))
            crowd = np.asarray(target.get("iscrowd", np.zeros(len(ground_truth)))).reshape(-1).astype(bool)
            self._images[int(result.image_id)] = make_record(
                result.path,
                len(self.class_names),
                result.scores,
                result.labels,
                found[:, 2] * found[:, 3],
                target,
                ground_truth[:, 2] * ground_truth[:, 3],
                box_overlaps(found, ground_truth, crowd),
            )

    def state(self) -> dict[int, ImageRecord]:
        """Records by image id."""
        return self._images

    def merge(self, states: Sequence[Any]) -> None:
        """Take the union; an image that several processes saw counts once."""
        self._images = {image_id: record for state in states for image_id, record in state.items()}

    def compute(self) -> MetricReport:
        """Both mean average precisions, and those of each class."""
        table = RecordTable.of(self._images, len(self.class_names))
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
    """``VOC07_mAP`` and ``VOC12_mAP`` of what :func:`voc_average_precision` returns; NaN without objects."""
    means = {}
    for year, values in by_class.items():
        defined = values[~np.isnan(values)]
        means[f"{year}_mAP"] = float(defined.mean()) if len(defined) else float("nan")
    return means


def voc_average_precision(table: RecordTable, min_iou: float = 0.5) -> dict[str, NDArray[np.float64]]:
    """Average precision of each class by both definitions.

    Args:
        table: Detections, objects and overlaps; crowds are taken for difficult.
        min_iou: Overlap that makes a match, at least 0.1.

    Returns:
        ``VOC07`` and ``VOC12``, each (C,), NaN for a class without objects that count.
    """
    ignored = table.ignore | table.difficult
    overlap, partner = table.best(table.label[table.found] == table.ground_truth_label[table.ground_truth])
    near = overlap >= min_iou
    rows, bounds = table.by_score(~(near & np.append(ignored, False)[partner]))
    # The surest detection of an object has it; all others that look at it come too late.
    _, first = np.unique(np.where(near[rows], partner[rows], -1 - rows), return_index=True)
    hit = np.zeros(len(rows), bool)
    hit[first] = True
    hit &= near[rows]
    result = {year: np.full(table.num_classes, np.nan) for year in ("VOC07", "VOC12")}
    for label, objects in enumerate(table.objects(ignored).tolist()):
        if not objects:
            continue
        right = np.cumsum(hit[bounds[label] : bounds[label + 1]])
        precision = right / np.arange(1, len(right) + 1)
        # The curve never rises with recall: from each point on, the best that follows.
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        # Recall of k tenths is reached at the first detection with 10 right >= k objects, exactly, in whole numbers.
        places = np.searchsorted(10 * right, np.arange(11) * objects, side="left")
        result["VOC07"][label] = best[places].mean()
        steps = np.diff(right, prepend=0) / objects
        result["VOC12"][label] = (steps * best[:-1]).sum()
    return result
