"""Keypoint errors in units of the object: normalised mean error, share of correct points, failure rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.metrics.base import MetricReport, RecordEvaluator
from saccade.results.base import Result
from saccade.results.keypoints import Keypoints
from saccade.structures.sample import Target

__all__ = ["KeypointEvaluator", "normaliser"]

_HEAD = 0.5  # a point is correct within half the head's size (Andriluka et al. 2014, MPII)
_HEAD_BOX = 0.6  # MPII takes the head's size to be this share of its box's diagonal
_FAILED = 0.1  # objects whose NME is above this are failures (Sagonas et al. 2013, 300-W)
_MISSED = 1.0  # error given to every point of an object for which nothing was predicted


class _Errors(NamedTuple):
    """Record of one image: errors of its points, (objects, K), in units of object and head; NaN where undefined."""

    of_object: NDArray[np.float64]
    of_head: NDArray[np.float64]
    without_size: int  # objects that have labelled points and yet no size


class KeypointEvaluator(RecordEvaluator[_Errors]):
    """Normalised mean error (NME), share of correct points (PCK) and failure rate.

    A point's error is its distance to the ground truth in pixels over the object's size. The size is the square root of
    the area of the object's box: the one in ``boxes`` of the target if there is one, else the tight box around its
    labelled points; or, with ``eyes``, the distance between those two points (300-W's inter-ocular distance). NME is
    the mean over the points of an object, then over the objects. An object without a prediction has error 1 at every
    point. Several objects in one image are paired so that the summed error is least.

    ``PCKh@0.5`` measures in sizes of the head instead: 0.6 of the diagonal of ``head_boxes`` (M, 4) of the target, as
    MPII defines it, or else the distance of the two points of ``head``. Without either it is not reported.

    Args:
        point_names: K names; numbers if empty.
        eyes: Indices of the two points whose distance normalises.
        pck: Errors up to which a point is correct; one metric each.
        head: Indices of the two ends of the head.

    Example:
        >>> points = np.array([[[10.0, 10], [110, 10], [10, 110], [110, 110]]])
        >>> about = dict(path="1.png", image_id=1, image_size=(200, 200), class_names=("a", "b", "c", "d"))
        >>> moved = points + np.array([[[3.0, 4], [0, 0], [0, 8], [20, 0]]])  # 5, 0, 8 and 20 pixels of 100
        >>> evaluator = KeypointEvaluator()
        >>> target = {"keypoints": np.concatenate([points, np.full((1, 4, 1), 2.0)], axis=-1)}
        >>> evaluator.update([Keypoints(**about, keypoints=moved, point_scores=np.ones((1, 4)))], [target])
        >>> evaluator.compute().values
        {'NME': 0.0825, 'PCK@0.05': 0.5, 'PCK@0.1': 0.75, 'failure_rate@0.1': 0.0}
    """

    def __init__(
        self,
        point_names: Sequence[str] = (),
        eyes: tuple[int, int] | None = None,
        pck: Sequence[float] = (0.05, 0.1),
        head: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.point_names = tuple(point_names)
        self.eyes = eyes
        self.pck = tuple(pck)
        self.head = head

    def update(self, results: Sequence[Result], targets: Sequence[Target]) -> None:
        """Take predictions beside their ground truth (``keypoints``: (N, K, 3), visibility 0 = unlabelled)."""
        for result, target in zip(results, targets, strict=True):
            if not isinstance(result, Keypoints):
                raise TypeError(f"keypoint metrics need Keypoints, got {type(result).__name__}.")
            ground_truth = np.asarray(target["keypoints"], np.float64)
            if len(result) and result.keypoints.shape[1] != ground_truth.shape[1]:
                raise DataError(
                    f"{result.path}: the prediction has {result.keypoints.shape[1]} points, the ground truth "
                    f"{ground_truth.shape[1]}. Build the model with as many keypoints as the data set has."
                )
            boxes = target.get("boxes")
            if boxes is not None and len(boxes) != len(ground_truth):
                boxes = None
            sizes = np.array(
                [
                    normaliser(each, None if boxes is None else boxes[i], self.eyes)
                    for i, each in enumerate(ground_truth)
                ]
            )
            self._records[int(result.image_id)] = _errors(
                np.asarray(result.keypoints, np.float64), ground_truth, sizes, self._head_sizes(target, ground_truth)
            )

    def compute(self) -> MetricReport:
        """Report of all metrics, with the cumulative distribution of the objects' errors."""
        tables = [
            self._records[image_id] for image_id in sorted(self._records) if self._records[image_id].of_object.size
        ]
        points = max([len(self.point_names), *(table.of_object.shape[1] for table in tables)])
        errors = np.concatenate([table.of_object for table in tables]) if tables else np.zeros((0, points))
        of_head = np.concatenate([table.of_head for table in tables]) if tables else np.zeros((0, points))
        of_head = of_head[~np.isnan(of_head)]
        labelled = ~np.isnan(errors)
        errors, labelled = errors[labelled.any(axis=1)], labelled[labelled.any(axis=1)]
        known = np.where(labelled, errors, 0.0)
        of_object = known.sum(axis=1) / np.maximum(labelled.sum(axis=1), 1)
        values = {
            "NME": _mean(of_object),
            **{f"PCK@{limit:g}": _mean(errors[labelled] <= limit) for limit in self.pck},
            f"failure_rate@{_FAILED}": _mean(of_object > _FAILED),
        }
        if len(of_head):
            values[f"PCKh@{_HEAD}"] = _mean(of_head <= _HEAD)
        names = [self.point_names[i] if i < len(self.point_names) else str(i) for i in range(points)]
        per_class = [
            {
                "class": name,
                "NME": _mean(errors[labelled[:, i], i]),
                "PCK@0.1": _mean(errors[labelled[:, i], i] <= 0.1),
                "points": int(labelled[:, i].sum()),
            }
            for i, name in enumerate(names)
        ]
        thresholds = np.linspace(0, 0.2, 101)
        share = [_mean(of_object <= threshold) for threshold in thresholds]
        curve = {"x": thresholds.tolist(), "y": {"objects": share}, "xlabel": "NME", "ylabel": "share of objects below"}
        without_size = sum(record.without_size for record in self._records.values())
        return MetricReport(
            values=values,
            primary="NME",
            higher_is_better=False,
            per_class=per_class,
            curves={"cumulative_error": curve},
            notes=[_unscored(without_size, self.eyes)] if without_size else [],
        )

    def _head_sizes(self, target: Target, ground_truth: NDArray[Any]) -> NDArray[np.float64]:
        """Sizes of the objects' heads, (objects,), pixels; NaN where the head is not known."""
        if "head_boxes" in target:
            boxes = np.asarray(target["head_boxes"], np.float64).reshape(-1, 4)
            sizes = _HEAD_BOX * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
        elif self.head is not None:
            sizes = np.array([normaliser(each, eyes=self.head) for each in ground_truth])
        else:
            sizes = np.full(len(ground_truth), np.nan)
        return np.where(sizes > 0, sizes, np.nan)


def _errors(
    predicted: NDArray[Any], ground_truth: NDArray[Any], sizes: NDArray[np.float64], heads: NDArray[np.float64]
) -> _Errors:
    """Errors of each ground truth point, given the sizes of its object and of its head."""
    labelled = (ground_truth[..., 2] > 0) & (sizes > 0)[:, None]
    # (ground truth objects, predicted objects, K)
    distance = np.linalg.norm(
        ground_truth[:, None, :, :2] - predicted.reshape(-1, ground_truth.shape[1], 2)[None], axis=-1
    )
    distance = np.where(np.isfinite(distance), distance, np.inf)
    relative = distance / np.where(sizes > 0, sizes, 1.0)[:, None, None]
    errors = np.full(ground_truth.shape[:2], _MISSED)
    of_head = np.full(ground_truth.shape[:2], np.inf)
    # Objects without a labelled point take no prediction from those that have one.
    rows = np.flatnonzero(labelled.any(axis=1))
    cost = np.where(labelled[rows, None], np.minimum(relative[rows], 1e6), 0.0).sum(axis=-1)
    for row, column in ((int(rows[first]), second) for first, second in _pair(cost)):
        errors[row] = np.where(np.isfinite(relative[row, column]), relative[row, column], _MISSED)
        of_head[row] = distance[row, column] / heads[row]
    has_head = (ground_truth[..., 2] > 0) & ~np.isnan(heads)[:, None]
    without_size = int(((ground_truth[..., 2] > 0).any(axis=1) & ~(sizes > 0)).sum())
    return _Errors(np.where(labelled, errors, np.nan), np.where(has_head, of_head, np.nan), without_size)


def _unscored(count: int, eyes: tuple[int, int] | None) -> str:
    """Note on objects that have labelled points, and yet no size by which their errors could be divided."""
    if eyes is None:
        why = "no extent: their points, or the sides of their box, lie on one horizontal or vertical line"
    else:
        why = f"no distance between the points {eyes[0]} and {eyes[1]}, which is their size"
    return f"Left out of NME, PCK and failures: {count} of the objects with labelled points, which have {why}."


def normaliser(
    points: NDArray[Any], box_xyxy: NDArray[Any] | None = None, eyes: tuple[int, int] | None = None
) -> float:
    """Compute the size of an object in pixels, by which errors are divided.

    Args:
        points: (K, 3) x, y, visibility of the ground truth.
        box_xyxy: Box of the object, (4,), if the ground truth has one.
        eyes: Two points whose distance is the size instead.

    Returns:
        The size; NaN if it is undefined (nothing labelled, no extent), and then the object is not scored.

    Example:
        >>> points = np.array([[0.0, 0, 2], [30, 0, 2], [30, 40, 2]])
        >>> normaliser(points, box_xyxy=np.array([0.0, 0, 100, 25])), normaliser(points, eyes=(0, 2))
        (50.0, 50.0)
    """
    labelled = points[:, 2] > 0
    if eyes is not None:
        if not labelled[list(eyes)].all():
            return float("nan")
        return float(np.linalg.norm(points[eyes[0], :2] - points[eyes[1], :2])) or float("nan")
    if box_xyxy is not None:
        width, height = box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]
    elif labelled.any():
        width, height = np.ptp(points[labelled, :2], axis=0)
    else:
        return float("nan")
    return float(np.sqrt(float(width) * float(height))) or float("nan")


def _pair(cost: NDArray[Any]) -> list[tuple[int, int]]:
    """Pair rows with columns, each once, at the least summed cost."""
    if cost.shape == (1, 1):
        return [(0, 0)]
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
