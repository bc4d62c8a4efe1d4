"""Evaluator for a COCO result file, by what the file compares."""

from __future__ import annotations

from saccade.errors import ConfigError
from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.oks import OksEvaluator
from saccade.structures.dataset import DatasetInfo

__all__ = ["IOU_TYPES", "result_evaluator"]

# What is compared, by COCO's name, and the task for which its ground truth is read.
IOU_TYPES = {"bbox": "detection", "segm": "detection", "keypoints": "keypoints"}


def result_evaluator(info: DatasetInfo, iou_type: str | None = None) -> CocoEvaluator | OksEvaluator:
    """Make the evaluator of COCO result entries with ``bbox``, ``segmentation`` or ``keypoints``.

    Args:
        info: Description of the data set.
        iou_type: ``bbox``, ``segm`` or ``keypoints``; that of the data set's task if not given.

    Raises:
        ConfigError: If the data set is not read for ``iou_type``.

    Example:
        >>> result_evaluator(DatasetInfo("set", "detection", ("cat", "dog")), "segm").iou_type
        'segm'
    """
    fitting = [name for name, task in IOU_TYPES.items() if task == info.task]
    if not fitting:
        raise ConfigError(
            f"result files hold {', '.join(IOU_TYPES)}, and data set '{info.name}' is read for {info.task}. "
            "Read it for another task."
        )
    chosen = fitting[0] if iou_type is None else iou_type
    if chosen not in fitting:
        raise ConfigError(
            f"iou_type is '{chosen}', and data set '{info.name}' is read for {info.task}. "
            f"Choose {' or '.join(fitting)}, or read it for another task."
        )
    return OksEvaluator(info.class_names) if chosen == "keypoints" else CocoEvaluator(info.class_names, iou_type=chosen)
