"""Evaluator for a COCO result file, by what the file compares."""

from __future__ import annotations

from saccade.errors import ConfigError
from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.oks import OksEvaluator
from saccade.structures.dataset import DatasetInfo

__all__ = ["IOU_TYPES", "RESULT_FIELDS", "result_evaluator"]

# What is compared, by COCO's name, and the task for which its ground truth is read.
IOU_TYPES = {"bbox": "detection", "segm": "detection", "keypoints": "keypoints"}
# What an entry holds, and what is compared then.
RESULT_FIELDS = {"bbox": "bbox", "segmentation": "segm", "keypoints": "keypoints"}


def result_evaluator(
    info: DatasetInfo, iou_type: str | None = None, max_detections: int | None = None
) -> CocoEvaluator | OksEvaluator:
    """Make the evaluator of COCO result entries with ``bbox``, ``segmentation`` or ``keypoints``.

    Args:
        info: Description of the data set.
        iou_type: ``bbox``, ``segm`` or ``keypoints``; that of the data set's task if not given.
        max_detections: Detections that count in an image and class; 100 if not given. Keypoints have no such option.

    Raises:
        ConfigError: If the data set is not read for ``iou_type``, or the limit is not one that it has.

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
    if chosen == "keypoints":
        if max_detections is not None:
            raise ConfigError("max_detections is for boxes and masks; of keypoints 20 count in an image, as in COCO.")
        return OksEvaluator(info.class_names)
    return CocoEvaluator(
        info.class_names, iou_type=chosen, max_detections=100 if max_detections is None else max_detections
    )
