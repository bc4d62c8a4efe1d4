"""All figures of a detector at once: COCO's of its boxes, of its masks where it draws any, and VOC's on VOC's data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saccade.errors import DataError
from saccade.metrics.base import MetricReport
from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.voc import voc_average_precision, voc_values
from saccade.results.base import Result
from saccade.results.detections import Detections
from saccade.structures.sample import Target

__all__ = ["DetectionEvaluator"]


class DetectionEvaluator:
    """COCO's figures of boxes, and what else results and ground truth allow.

    If both have masks, ``mask_AP``, ... are added; if the ground truth marks difficult objects, VOC's mean average
    precisions. Classes, curves, confusion and errors are those of the boxes.

    Args:
        class_names: Names of labels 0..N-1.
        primary: Figure that decides, ``AP`` or ``mask_AP``; the boxes' ``AP`` where there are no masks to score.
    """

    def __init__(self, class_names: Sequence[str], primary: str = "AP") -> None:
        self.class_names = tuple(class_names)
        self._primary = primary
        self._boxes = CocoEvaluator(class_names)
        self._masks = CocoEvaluator(class_names, iou_type="segm")

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take detections and ground truth (``boxes``, ``labels``; ``masks``, ``area``, ``iscrowd`` and so on)."""
        self._boxes.update(results, targets)
        for result, target in zip(results, targets, strict=True):
            if isinstance(result, Detections) and result.masks is not None and "masks" in target:
                self._masks.update([result], [target])

    def state(self) -> tuple[Any, Any]:
        """Records of boxes and of masks by image id."""
        return self._boxes.state(), self._masks.state()

    def merge(self, states: Sequence[Any]) -> None:
        """Take the union; an image that several processes saw counts once."""
        self._boxes.merge([boxes for boxes, _ in states])
        self._masks.merge([masks for _, masks in states])

    def compute(self) -> MetricReport:
        """All figures; the boxes' ``AP`` decides.

        Raises:
            DataError: If some images have masks, in result and ground truth, and others have none.
        """
        report = self._boxes.compute()
        if self._masks.state():
            without = self._boxes.state().keys() - self._masks.state().keys()
            if without:
                raise DataError(
                    f"image {min(without)} and {len(without) - 1} others have no masks in result or ground truth, unlike "
                    "the rest. Give masks for all images, (0, height, width) where nothing is found."
                )
            report.values.update({f"mask_{name}": value for name, value in self._masks.compute().values.items()})
        if any(record.difficult is not None for record in self._boxes.state().values()):
            report.values.update(voc_values(voc_average_precision(self._boxes.table())))
        if self._primary in report.values:
            report.primary = self._primary
        return report
