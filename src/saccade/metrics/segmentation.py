"""Overlap of label maps, from one confusion matrix of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import MetricReport
from saccade.results.base import Result
from saccade.results.segmentation import SegmentationMap
from saccade.structures.sample import Target

__all__ = ["IGNORE", "SegmentationEvaluator", "check_pair", "confusion_figures", "has_one_foreground"]

IGNORE = 255
"""Value of ground truth pixels that are not scored."""


class SegmentationEvaluator:
    """Pixel accuracy, mean accuracy, mean and frequency-weighted IoU (Long et al. 2015, section 5), and Dice.

    Where the only classes are ``background`` and one other, also the IoU and Dice of that one.

    Args:
        class_names: Names of the labels; a single one is the foreground, against ``background``.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = ("background", *class_names) if len(class_names) == 1 else tuple(class_names)
        # (ground truth, prediction) pairs that occur, coded as ground truth * C + prediction, and their pixels: small
        # even for 150 classes.
        self._images: dict[int, tuple[NDArray[np.int32], NDArray[np.int64]]] = {}

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take maps beside their ground truth (``label_map``, 255 = ignore), both of the original's size."""
        classes = len(self.class_names)
        for result, target in zip(results, targets, strict=True):
            found, labelled = check_pair(result, target, self.class_names)
            scored = labelled != IGNORE
            ground_truth, predicted = labelled[scored].astype(np.int64), found.label_map[scored].astype(np.int64)
            counts = np.bincount(ground_truth * classes + predicted, minlength=classes * classes)
            codes = np.flatnonzero(counts)
            self._images[int(result.image_id)] = codes.astype(np.int32), counts[codes]

    def state(self) -> dict[int, tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Pixel pairs by image id."""
        return self._images

    def merge(self, states: Sequence[Any]) -> None:
        """Take the union; an image that several processes saw counts once."""
        self._images = {image_id: pairs for state in states for image_id, pairs in state.items()}

    def compute(self) -> MetricReport:
        """All figures, over the pixels of all images together."""
        classes = len(self.class_names)
        flat = np.zeros(classes * classes, np.int64)
        for codes, counts in self._images.values():
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
    """Whether there is one class against ``background``, named or not."""
    return len(class_names) == 1 or (len(class_names) == 2 and class_names[0].lower() == "background")


def check_pair(result: Result, target: Target, class_names: Sequence[str]) -> tuple[SegmentationMap, NDArray[Any]]:
    """A result and its label map, if one can be scored by the other.

    Args:
        result: A ``SegmentationMap``.
        target: With ``label_map``.
        class_names: Names of labels 0..C-1.

    Raises:
        DataError: If they differ in size, or a pixel that is to be scored holds a label that does not exist.
        TypeError: If the result is of another task.
    """
    if not isinstance(result, SegmentationMap):
        raise TypeError(f"segmentation metrics need SegmentationMap, got {type(result).__name__}.")
    ground_truth, predicted = np.asarray(target["label_map"]), result.label_map
    if ground_truth.shape != predicted.shape:
        raise DataError(
            f"{result.path}: the prediction has {predicted.shape[0]}x{predicted.shape[1]} pixels, the ground truth "
            f"{ground_truth.shape[0]}x{ground_truth.shape[1]}. Give targets in original pixels."
        )
    scored = ground_truth != IGNORE
    for whose, found in (("ground truth", ground_truth[scored]), ("prediction", predicted[scored])):
        if found.size and not 0 <= found.min() <= found.max() < len(class_names):
            raise DataError(
                f"{result.path}: the {whose} holds label {int(found.max())}, but there are {len(class_names)} classes "
                f"{list(class_names)}. Mark pixels that are not to be scored with 255."
            )
    return result, ground_truth


def confusion_figures(matrix: NDArray[Any], names: Sequence[str]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Figures from a confusion matrix of pixels.

    Args:
        matrix: (C, C), row the ground truth, column the prediction.
        names: C names.

    Returns:
        Figures by name, and one row a class. A class that is neither there nor predicted has NaN and is left out of
        the means; one that is not there but predicted has IoU and Dice 0, and no accuracy.
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
