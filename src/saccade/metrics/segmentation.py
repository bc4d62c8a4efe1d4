"""Metrics of label maps from one confusion matrix of pixels: IoU, Dice and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.results.base import Result
from saccade.results.segmentation import SegmentationMap
from saccade.structures.sample import IGNORE_LABEL, Target

__all__ = ["SegmentationEvaluator", "check_pair", "confusion_figures", "has_one_foreground"]

# Record of one image: (ground truth, prediction) pairs that occur, coded as ground truth * C + prediction, and the
# number of pixels of each; small even for 150 classes.
PixelPairs = tuple[NDArray[np.int32], NDArray[np.int64]]


class SegmentationEvaluator(RecordEvaluator[PixelPairs]):
    """Metrics of semantic segmentation: pixel and mean accuracy, mean and frequency-weighted IoU, and Dice.

    Long et al. 2015, section 5. Where the only classes are ``background`` and one other, also the IoU and Dice of that
    one.

    Args:
        class_names: Names of the labels; a single one is the foreground, against ``background``.

    Example:
        >>> names = ("sky", "road")
        >>> about = dict(path="1.png", image_id=1, image_size=(2, 3), class_names=names)
        >>> result = SegmentationMap(**about, label_map=np.array([[0, 0, 0], [1, 1, 1]], np.uint8))
        >>> evaluator = SegmentationEvaluator(names)
        >>> evaluator.update([result], [{"label_map": np.array([[0, 0, 255], [0, 1, 1]])}])
        >>> report = evaluator.compute()
        >>> round(report.values["mIoU"], 3), report.values["pixel_accuracy"]
        (0.667, 0.8)
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = ("background", *class_names) if len(class_names) == 1 else tuple(class_names)

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take label maps beside their ground truth (``label_map``, 255 = ignore), both of the original's size."""
        classes = len(self.class_names)
        for result, target in zip(results, targets, strict=True):
            found, labelled = check_pair(result, target, self.class_names)
            scored = labelled != IGNORE_LABEL
            ground_truth, predicted = labelled[scored].astype(np.int64), found.label_map[scored].astype(np.int64)
            counts = np.bincount(ground_truth * classes + predicted, minlength=classes * classes)
            codes = np.flatnonzero(counts)
            self._records[int(result.image_id)] = codes.astype(np.int32), counts[codes]

    def compute(self) -> MetricReport:
        """Report of all metrics, over the pixels of all images together."""
        classes = len(self.class_names)
        flat = np.zeros(classes * classes, np.int64)
        for codes, counts in self._records.values():
            flat[codes] += counts
        matrix = flat.reshape(classes, classes)
        values, per_class = confusion_figures(matrix, self.class_names)
        if has_one_foreground(self.class_names):
            values["foreground_IoU"] = per_class[1]["IoU"]
            values["foreground_Dice"] = per_class[1]["Dice"]
        return MetricReport(
            values=values,
            primary="mIoU",
            per_class=per_class,
            confusion={"labels": list(self.class_names), "matrix": matrix.tolist()},
        )


def has_one_foreground(class_names: Sequence[str]) -> bool:
    """Whether there is one class against ``background``, named or not.

    Example:
        >>> [has_one_foreground(names) for names in (("cell",), ("Background", "cell"), ("sky", "car"))]
        [True, True, False]
    """
    return len(class_names) == 1 or (len(class_names) == 2 and class_names[0].lower() == "background")


def check_pair(result: Result, target: Target, class_names: Sequence[str]) -> tuple[SegmentationMap, NDArray[Any]]:
    """Check that a result can be scored against its target.

    Args:
        result: A ``SegmentationMap``.
        target: With ``label_map``.
        class_names: Names of labels 0..C-1.

    Returns:
        The result and the label map of the ground truth, (H, W).

    Raises:
        DataError: If they differ in size, or a pixel that is to be scored holds a label that does not exist.
        TypeError: If the result is of another task.

    Example:
        >>> names, label_map = ("sky", "road"), np.eye(2, dtype=np.uint8)
        >>> result = SegmentationMap(
        ...     path="1.png", image_id=1, image_size=(2, 2), class_names=names, label_map=label_map
        ... )
        >>> _, ground_truth = check_pair(result, {"label_map": np.full((2, 2), 7)}, names)
        Traceback (most recent call last):
            ...
        saccade.errors.DataError: 1.png: the ground truth holds label 7, but there are 2 classes ['sky', 'road']. ...
    """
    if not isinstance(result, SegmentationMap):
        raise TypeError(f"segmentation metrics need SegmentationMap, got {type(result).__name__}.")
    ground_truth, predicted = np.asarray(target["label_map"]), result.label_map
    if ground_truth.shape != predicted.shape:
        raise DataError(
            f"{result.path}: the prediction has {predicted.shape[0]}x{predicted.shape[1]} pixels, the ground truth "
            f"{ground_truth.shape[0]}x{ground_truth.shape[1]}. Give targets in original pixels."
        )
    scored = ground_truth != IGNORE_LABEL
    for whose, found in (("ground truth", ground_truth[scored]), ("prediction", predicted[scored])):
        if found.size and not 0 <= found.min() <= found.max() < len(class_names):
            raise DataError(
                f"{result.path}: the {whose} holds label {int(found.max())}, but there are {len(class_names)} classes "
                f"{list(class_names)}. Mark pixels that are not to be scored with {IGNORE_LABEL}."
            )
    return result, ground_truth


def confusion_figures(matrix: NDArray[Any], names: Sequence[str]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Compute the metrics of a confusion matrix of pixels.

    Args:
        matrix: (C, C), row the ground truth, column the prediction.
        names: C names.

    Returns:
        Metrics by name, and one row a class. A class that is neither in the ground truth nor predicted has NaN and is
        left out of the means; one that is only predicted has IoU and Dice 0, and no accuracy.

    Example:
        >>> values, rows = confusion_figures(np.array([[6, 2], [0, 2]]), ("sky", "road"))
        >>> values["mIoU"], rows[1]["IoU"], rows[1]["accuracy"]
        (0.625, 0.5, 1.0)
    """
    hits, ground_truth, predicted = np.diag(matrix).astype(np.float64), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy, iou, dice = (
            hits / ground_truth,
            hits / (ground_truth + predicted - hits),
            2 * hits / (ground_truth + predicted),
        )
        pixel_accuracy = hits.sum() / matrix.sum()
        frequency_weighted = np.nansum(ground_truth * iou) / ground_truth.sum()
    values = {
        "mIoU": _defined_mean(iou),
        "pixel_accuracy": float(pixel_accuracy),
        "mean_accuracy": _defined_mean(accuracy),
        "frequency_weighted_IoU": float(frequency_weighted),
        "mean_Dice": _defined_mean(dice),
    }
    rows = [
        {
            "class": name,
            "IoU": float(iou[label]),
            "Dice": float(dice[label]),
            "accuracy": float(accuracy[label]),
            "pixels": int(ground_truth[label]),
        }
        for label, name in enumerate(names)
    ]
    return values, rows


def _defined_mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
