"""Metrics of label maps: IoU, Dice and accuracy from one confusion matrix of pixels, and the F-measure of borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.metrics.boundary import class_boundary_f
from saccade.metrics.resample import of_records, rows_mean
from saccade.results.base import Result
from saccade.results.segmentation import SegmentationMap
from saccade.structures.sample import IGNORE_LABEL, Target

__all__ = [
    "PixelRecord",
    "SegmentationEvaluator",
    "check_pair",
    "confusion_figures",
    "confusion_matrix",
    "has_one_foreground",
]

_EXACT = 1 << 24  # pixels that OpenCV's histogram of float32 counts exactly


class PixelRecord(NamedTuple):
    """Record of one image, small even for 150 classes.

    Attributes:
        codes: (ground truth, prediction) pairs that occur, coded as ground truth * C + prediction, int32.
        counts: Number of pixels of each pair, int64.
        labels: Classes with a boundary in either map.
        boundary_f: F-measure of the boundary of each of these.

    Example:
        >>> evaluator, label_map = SegmentationEvaluator(("sky", "road")), np.eye(3, dtype=np.uint8)
        >>> about = dict(path="1.png", image_id=1, image_size=(3, 3), class_names=("sky", "road"))
        >>> evaluator.update([SegmentationMap(**about, label_map=label_map)], [{"label_map": label_map}])
        >>> record = evaluator.state()[1]
        >>> record.codes, record.counts, record.boundary_f
        (array([0, 3], dtype=int32), array([6, 3]), array([1., 1.]))
    """

    codes: NDArray[np.int32]
    counts: NDArray[np.int64]
    labels: NDArray[np.int64]
    boundary_f: NDArray[np.float64]


class SegmentationEvaluator(RecordEvaluator[PixelRecord]):
    """Metrics of semantic segmentation: pixel and mean accuracy, mean and frequency-weighted IoU, Dice, boundary F.

    Long et al. 2015, section 5; the boundaries as in Csurka et al. 2013: of each class the mean over the images in
    which it has a boundary, of these the mean over classes. Where the only classes are ``background`` and one other,
    also the IoU and Dice of that one.

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
        for result, target in zip(results, targets, strict=True):
            found, labelled = check_pair(result, target)
            matrix = confusion_matrix(labelled, found.label_map, self.class_names, result.path).ravel()
            codes = np.flatnonzero(matrix)
            boundaries = class_boundary_f(found.label_map, labelled, ignore=IGNORE_LABEL)
            self._records[int(result.image_id)] = PixelRecord(codes.astype(np.int32), matrix[codes], *boundaries)

    def resampled(self, images: Sequence[int], weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Accuracy, IoU and Dice of each draw of images (:mod:`saccade.metrics.resample`)."""
        drawn = of_records(weights, images, self._records).astype(np.float64)
        classes = len(self.class_names)
        hits, there, found = (np.zeros((len(self._records), classes)) for _ in range(3))
        for row, image_id in enumerate(sorted(self._records)):
            record = self._records[image_id]
            truth, predicted = np.divmod(record.codes, classes)
            np.add.at(there[row], truth, record.counts)
            np.add.at(found[row], predicted, record.counts)
            same = truth == predicted
            hits[row, truth[same]] = record.counts[same]
        hits, there, found = drawn @ hits, drawn @ there, drawn @ found  # (D, C)
        with np.errstate(divide="ignore", invalid="ignore"):
            iou, dice, accuracy = hits / (there + found - hits), 2 * hits / (there + found), hits / there
            pixel_accuracy = hits.sum(axis=1) / there.sum(axis=1)
        values = {"mIoU": iou, "mean_accuracy": accuracy, "mean_Dice": dice}
        figures = {name: rows_mean(table) for name, table in values.items()} | {"pixel_accuracy": pixel_accuracy}
        if has_one_foreground(self.class_names):
            figures |= {"foreground_IoU": iou[:, 1], "foreground_Dice": dice[:, 1]}
        return figures

    def compute(self) -> MetricReport:
        """Report of all metrics: over the pixels of all images together, those of boundaries over images."""
        classes = len(self.class_names)
        flat, sums, images = np.zeros(classes * classes, np.int64), np.zeros(classes), np.zeros(classes)
        for image_id in sorted(self._records):  # a sum of floats depends on the order
            record = self._records[image_id]
            flat[record.codes] += record.counts
            sums[record.labels] += record.boundary_f
            images[record.labels] += 1
        matrix = flat.reshape(classes, classes)
        values, per_class = confusion_figures(matrix, self.class_names)
        boundary_f = np.divide(sums, images, out=np.full(classes, np.nan), where=images > 0)
        values["mean_boundary_F"] = _defined_mean(boundary_f)
        for row, value in zip(per_class, boundary_f, strict=True):
            row["boundary_F"] = float(value)
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


def check_pair(result: Result, target: Target) -> tuple[SegmentationMap, NDArray[Any]]:
    """Check that a result can be compared with its target.

    Args:
        result: A ``SegmentationMap``.
        target: With ``label_map``.

    Returns:
        The result and the label map of the ground truth, (H, W).

    Raises:
        DataError: If they differ in size.
        TypeError: If the result is of another task.

    Example:
        >>> about = dict(path="1.png", image_id=1, image_size=(2, 2), class_names=("sky", "road"))
        >>> check_pair(SegmentationMap(**about, label_map=np.eye(2)), {"label_map": np.eye(3)})
        Traceback (most recent call last):
            ...
        saccade.errors.DataError: 1.png: the prediction has 2x2 pixels, the ground truth 3x3. Give targets in ...
    """
    if not isinstance(result, SegmentationMap):
        raise TypeError(f"segmentation metrics need SegmentationMap, got {type(result).__name__}.")
    ground_truth, predicted = np.asarray(target["label_map"]), result.label_map
    if ground_truth.shape != predicted.shape:
        raise DataError(
            f"{result.path}: the prediction has {predicted.shape[0]}x{predicted.shape[1]} pixels, the ground truth "
            f"{ground_truth.shape[0]}x{ground_truth.shape[1]}. Give targets in original pixels."
        )
    return result, ground_truth


def confusion_matrix(
    ground_truth: NDArray[Any], predicted: NDArray[Any], class_names: Sequence[str], path: str
) -> NDArray[np.int64]:
    """Count the pixels of each pair of classes of two label maps.

    Of 8-bit maps it is OpenCV's joint histogram, one pass over the pixels.

    Args:
        ground_truth: (H, W), 0..C-1, or 255 where a pixel is not scored.
        predicted: (H, W), 0..C-1 where a pixel is scored.
        class_names: Names of labels 0..C-1.
        path: Name of the image, for messages.

    Returns:
        (C, C), row the ground truth, column the prediction.

    Raises:
        DataError: If a pixel that is to be scored holds a label that does not exist.

    Example:
        >>> ground_truth, predicted = np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]])
        >>> confusion_matrix(ground_truth, predicted, ("sky", "road"), "1.png")
        array([[1, 1],
               [0, 1]])
        >>> confusion_matrix(ground_truth + 6, predicted, ("sky", "road"), "1.png")
        Traceback (most recent call last):
            ...
        saccade.errors.DataError: 1.png: the ground truth holds label 261, but there are 2 classes ['sky', 'road']. ...
    """
    classes = len(class_names)
    if ground_truth.dtype == predicted.dtype == np.uint8 and classes <= IGNORE_LABEL:
        pairs = _joint_histogram(ground_truth, predicted)
        labelled, found = np.delete(pairs, IGNORE_LABEL, axis=0).sum(axis=1), pairs[:classes].sum(axis=0)
        _check_labels(np.flatnonzero(labelled), class_names, path, "ground truth")
        _check_labels(np.flatnonzero(found), class_names, path, "prediction")
        return pairs[:classes, :classes]
    scored = ground_truth != IGNORE_LABEL
    there, found = ground_truth[scored].astype(np.int64), predicted[scored].astype(np.int64)
    _check_labels(there, class_names, path, "ground truth")
    _check_labels(found, class_names, path, "prediction")
    return np.bincount(there * classes + found, minlength=classes * classes).reshape(classes, classes)


def _joint_histogram(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(256, 256) counts of the pairs of values."""
    import cv2

    counts = np.zeros((256, 256), np.int64)
    rows = max(1, _EXACT // max(1, first.shape[1]))
    for top in range(0, len(first), rows):
        part = [np.ascontiguousarray(one[top : top + rows]) for one in (first, second)]
        counts += cv2.calcHist(part, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
    return counts


def _check_labels(labels: NDArray[Any], class_names: Sequence[str], path: str, whose: str) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() < len(class_names):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(
            f"{path}: the {whose} holds label {int(wrong)}, but there are {len(class_names)} classes "
            f"{list(class_names)}. Mark pixels that are not to be scored with {IGNORE_LABEL}."
        )


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
