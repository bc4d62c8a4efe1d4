"""Boxes with classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from saccade.metrics.detection import DetectionEvaluator
from saccade.results.base import Result
from saccade.results.detections import Detections
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks.base import as_array

__all__ = ["TASK", "DetectionTask"]


class DetectionTask:
    """``boxes`` (B, K, 4), ``scores`` (B, K), ``labels`` (B, K) and ``count`` (B,) to ``Detections``."""

    name = "detection"
    decoded_keys = ("boxes", "scores", "labels", "count")

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """One ``Detections`` an image, boxes clipped to the original; those in the padding alone are left out."""
        boxes, scores, labels, counts = (as_array(decoded[key]) for key in self.decoded_keys)
        results: list[Result] = []
        for index, info in enumerate(infos):
            number = int(counts[index])
            original = info.geometry.invert_boxes(boxes[index, :number])
            keep = np.isfinite(original).all(axis=1) & (original[:, 2:] > original[:, :2]).all(axis=1)
            results.append(
                _result(
                    info,
                    class_names,
                    boxes_xyxy=original[keep],
                    scores=scores[index, :number][keep].astype(np.float32),
                    labels=labels[index, :number][keep],
                )
            )
        return results

    def ground_truth(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """The labelled boxes (and masks) with score 1."""
        boxes = np.asarray(target["boxes"]).reshape(-1, 4)
        geometry = info.geometry
        masks = target.get("masks")
        if not (geometry.size == geometry.original_size and np.array_equal(geometry.matrix, np.eye(3))):
            boxes = geometry.invert_boxes(boxes)  # float32; boxes nobody moved keep their precision
        if masks is not None:
            height, width = geometry.original_size
            restored = [np.asarray(geometry.invert_map(np.asarray(mask, np.uint8)), bool) for mask in masks]
            masks = np.stack(restored) if restored else np.zeros((0, height, width), bool)
        ones = np.ones(len(boxes), np.float32)
        return _result(info, class_names, boxes_xyxy=boxes, scores=ones, labels=target["labels"], masks=masks)

    def evaluator(self, data: DatasetInfo) -> DetectionEvaluator:
        """COCO's average precision of boxes decides; masks are scored as well, where there are any."""
        return DetectionEvaluator(data.class_names)

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> None:
        """None: boxes that are always the same score next to nothing."""
        return


def _result(info: ImageInfo, class_names: Sequence[str], **arrays: Any) -> Detections:
    return Detections(
        path=info.path,
        image_id=info.image_id,
        image_size=info.geometry.original_size,
        class_names=tuple(class_names),
        image=info.image,
        **arrays,
    )


TASK = DetectionTask()
