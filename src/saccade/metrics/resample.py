"""Figures of resampled data sets: how sure a metric is, given the images that it was measured on.

The bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13) draws as many images
as there are, with replacement, and computes the metric anew. A metric of the whole data set, such as average precision,
is no mean of figures of images, so it is computed from the records of the images. A draw is a row of weights, how often
each image was drawn: detections are matched within an image, so that matching and sorting are done once and a draw
costs cumulative sums of weights only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import Evaluator
from saccade.metrics.coco_core import CocoRules, match_detections
from saccade.metrics.records import RecordTable

__all__ = [
    "Resampling",
    "draw_weights",
    "of_records",
    "records_of_draw",
    "resampled_precision",
    "resampled_values",
    "rows_mean",
]

Weights = NDArray[np.int64]
Values = dict[str, NDArray[np.float64]]

_CHUNK = 1 << 24  # values of an array at a time


@runtime_checkable
class Resampling(Protocol):
    """Protocol of evaluators that compute the figures of many draws at once.

    Example:
        >>> from saccade.metrics.classification import ClassificationEvaluator
        >>> isinstance(ClassificationEvaluator(("cat", "dog")), Resampling)
        True
    """

    def resampled(self, images: Sequence[int], weights: Weights) -> Values:
        """Figures of each draw, (D,) each, by name; a figure may be left out.

        Args:
            images: Image ids, N.
            weights: How often each image was drawn, (D, N).
        """
        ...


def draw_weights(images: int, draws: int, seed: int = 0) -> Weights:
    """Draw ``images`` images with replacement, ``draws`` times; returns how often each was drawn, (draws, images).

    Example:
        >>> draw_weights(images=5, draws=3).sum(axis=1)
        array([5, 5, 5])
    """
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=draws)


def resampled_values(evaluator: Evaluator, images: Sequence[int], weights: Weights) -> Values:
    """Compute the figures of an evaluator for each draw.

    Those of evaluators that follow :class:`Resampling` are computed for all draws at once; others compute each draw
    from the records of its images.

    Args:
        evaluator: It has seen all images, and stays as it is.
        images: Image ids, N.
        weights: How often each image was drawn, (D, N).

    Returns:
        Figures by name, (D,) each; NaN where undefined.

    Example:
        >>> from saccade.metrics.classification import ClassificationEvaluator
        >>> from saccade.results.classification import Classification
        >>> evaluator = ClassificationEvaluator(("cat", "dog"))
        >>> for number, label in enumerate([0, 1]):  # the first image is right, the second wrong
        ...     about = dict(path="", image_id=number, image_size=(4, 4), class_names=("cat", "dog"))
        ...     evaluator.update([Classification(**about, probabilities=np.array([0.9, 0.1]))], [{"labels": label}])
        >>> resampled_values(evaluator, [0, 1], np.array([[1, 1], [2, 0], [0, 2]]))["top1"]
        array([0.5, 1. , 0. ])
    """
    if isinstance(evaluator, Resampling):
        return evaluator.resampled(images, weights)
    worker, state = copy.deepcopy(evaluator), evaluator.state()
    rows = []
    for weight in weights:
        worker.merge([records_of_draw(state, images, weight)])
        rows.append(worker.compute().values)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}


def of_records(weights: Weights, images: Sequence[int], records: Mapping[int, Any]) -> Weights:
    """Columns of the weights that belong to records, by rising image id.

    Args:
        weights: (D, N).
        images: Image ids, N.
        records: By image id, some or all of these.

    Example:
        >>> of_records(np.array([[5, 6, 7]]), [30, 10, 20], {30: "cat", 10: "dog"})
        array([[6, 5]])
    """
    column = {image: number for number, image in enumerate(images)}
    return weights[:, [column[image] for image in sorted(records)]]


def rows_mean(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the defined values along the last dimension; NaN where there are none.

    Args:
        table: (..., C); NaN is undefined.

    Example:
        >>> rows_mean(np.array([[0.5, np.nan, 1.0], [np.nan, np.nan, np.nan]]))
        array([0.75,  nan])
    """
    defined = ~np.isnan(table)
    sums, counts = np.where(defined, table, 0).sum(axis=-1), defined.sum(axis=-1)
    mean: NDArray[np.float64] = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return mean


def records_of_draw(state: Any, images: Sequence[int], weight: Weights) -> Any:
    """State of an evaluator that saw each image as often as it was drawn, each time under another id.

    Args:
        state: Records by image id, or a list of such states.
        images: Image ids, N.
        weight: (N,).

    Example:
        >>> records_of_draw({7: "cat", 8: "dog"}, [7, 8], np.array([0, 2]))
        {0: 'dog', 1: 'dog'}
    """
    if isinstance(state, Mapping):
        drawn = np.repeat(np.asarray(images), weight).tolist()
        return {number: state[image] for number, image in enumerate(drawn) if image in state}
    return [records_of_draw(part, images, weight) for part in state]


def resampled_precision(table: RecordTable, rules: CocoRules, weights: Weights) -> Values:
    """Compute AP, AP50 and AP75 of each draw, as :func:`~saccade.metrics.coco_core.precision_recall` defines them.

    Args:
        table: Detections, objects and overlaps of N images.
        rules: Thresholds, recalls and number of detections.
        weights: How often each image of the table was drawn, (D, N).

    Returns:
        (D,) each; NaN for a draw without objects.

    Example:
        >>> from saccade.metrics.coco_core import BOX_RULES
        >>> from saccade.metrics.records import DetectedObjects, make_record
        >>> detected = DetectedObjects(np.array([0.9]), np.array([0]), np.array([400]))
        >>> about = "1.jpg", 1, detected, {"labels": np.array([0])}, np.array([400])
        >>> hit, loose = (make_record(*about, overlap=np.array([[iou]])) for iou in (1.0, 0.6))
        >>> table = RecordTable.of({1: hit, 2: loose}, num_classes=1)
        >>> resampled_precision(table, BOX_RULES, np.array([[2, 0], [0, 2]]))["AP"]
        array([1. , 0.3])
    """
    most = rules.most[-1]
    rows, bounds = table.by_score(table.rank < most)
    taken = match_detections(table, rules.thresholds, table.ignore, most)[:, rows]
    hits = (taken >= 0) & np.append(~table.ignore, False)[taken]
    counts = hits | (taken < 0)
    drawn = weights.astype(np.float64)
    by_class = []
    for label in range(table.num_classes):
        mine = (table.ground_truth_label == label) & ~table.ignore
        if mine.any():
            part = slice(int(bounds[label]), int(bounds[label + 1]))
            of_objects, of_found = table.ground_truth_image[mine], table.image[rows[part]]
            size = max(1, _CHUNK // max(1, len(of_found), len(of_objects)))
            chunks = [drawn[start : start + size] for start in range(0, len(drawn), size)]
            by_class.append(
                np.concatenate(
                    [
                        _class_precision(
                            chunk[:, of_found], hits[:, part], counts[:, part], chunk[:, of_objects].sum(axis=1), rules
                        )
                        for chunk in chunks
                    ]
                )
            )
    if not by_class:
        return dict.fromkeys(("AP", "AP50", "AP75"), np.full(len(weights), np.nan))
    means = rows_mean(np.stack(by_class, axis=-1))  # (D, T) of (D, T, C)
    at = {name: int(np.argmin(np.abs(rules.thresholds - value))) for name, value in (("AP50", 0.5), ("AP75", 0.75))}
    return {"AP": means.mean(axis=1), **{name: means[:, column] for name, column in at.items()}}


def _class_precision(
    weights: NDArray[np.float64],
    hits: NDArray[np.bool_],
    counts: NDArray[np.bool_],
    objects: NDArray[np.float64],
    rules: CocoRules,
) -> NDArray[np.float64]:
    """Average precision of one class, (D, T); NaN for a draw without objects.

    Precision is read at the first detection that reaches a recall, and falls only between hits, so that hits suffice.

    Args:
        weights: Of the detections by falling score, (D, n).
        hits: True positives, (T, n).
        counts: True and false positives, (T, n).
        objects: Number of objects, (D,).
        rules: Recalls at which precision is read.
    """
    result = np.zeros((len(weights), len(hits)))
    so_far = np.cumsum(weights, axis=1)
    for level, hit in enumerate(hits):
        columns = np.flatnonzero(hit)
        if not len(columns):
            continue
        right = np.cumsum(weights[:, columns], axis=1)
        every = so_far if counts[level].all() else np.cumsum(weights * counts[level], axis=1)
        precision = right / np.maximum(every[:, columns], 1.0)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / np.maximum(objects, 1.0)[:, None]
        reached = np.searchsorted(rules.recalls, recall, side="right")
        result[:, level] = (np.diff(reached, axis=1, prepend=0) * precision).sum(axis=1) / len(rules.recalls)
    result[objects == 0] = np.nan
    return result
