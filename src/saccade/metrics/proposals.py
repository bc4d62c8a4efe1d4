"""Recall of proposals: which share of the objects they cover, by their number and by the overlap that is asked for.

Hosang et al. 2016, "What makes for effective detection proposals?": recall against number and against IoU, and the
average recall over IoU 0.5..0.95. Uijlings et al. 2013: the average best overlap of each class (ABO) and its mean
(MABO).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.base import MetricReport
from saccade.ops.boxes_numpy import box_iou
from saccade.results.palette import CHART_COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COUNTS", "THRESHOLDS", "ProposalRecall", "best_overlaps", "plot_recall"]

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000)
"""Numbers of proposals at which recall is measured."""
THRESHOLDS = np.linspace(0.5, 0.95, 10).round(2)
"""Overlaps at which recall is measured; its mean over them is the average recall (AR)."""

_REPORTED = (100, 300, 1000, 2000)
_OVERLAPS = (0.5, 0.7)
_SLACK = 1e-9  # an overlap that is a threshold but for rounding reaches it


def best_overlaps(
    proposals_xyxy: NDArray[Any], boxes_xyxy: NDArray[Any], counts: Sequence[int] = COUNTS
) -> NDArray[np.float64]:
    """Compute the best overlap of each object with the first proposals, for several numbers of them.

    Several objects may have the same best proposal.

    Args:
        proposals_xyxy: (P, 4), best first.
        boxes_xyxy: (N, 4), objects.
        counts: K numbers of proposals, rising; those above P stand for all of them.

    Returns:
        (N, K), IoU 0..1; 0 without proposals.

    Example:
        >>> proposals = np.array([[0, 0, 10, 5], [0, 0, 10, 8], [0, 0, 10, 10.0]])
        >>> best_overlaps(proposals, np.array([[0, 0, 10, 10.0]]), counts=(1, 2, 3))
        array([[0.5, 0.8, 1. ]])
    """
    if not len(proposals_xyxy) or not len(boxes_xyxy):
        return np.zeros((len(boxes_xyxy), len(counts)))
    first = np.asarray(proposals_xyxy, np.float64)[: counts[-1]]
    overlaps = box_iou(np.asarray(boxes_xyxy, np.float64)[:, None], first)
    best = np.maximum.accumulate(overlaps, axis=1)
    reached: NDArray[np.float64] = best[:, np.minimum(np.asarray(counts), len(first)) - 1]
    return reached


class ProposalRecall:
    """Recall of proposals over a data set.

    Crowds and objects marked difficult do not count.

    Args:
        class_names: Names of labels 0..N-1, for the best overlap of each class.
        counts: Numbers of proposals, rising.

    Example:
        >>> recall = ProposalRecall(("cat",))
        >>> target = {"boxes": np.array([[0, 0, 10, 10.0], [50, 50, 90, 90]]), "labels": np.array([0, 0])}
        >>> recall.update(np.array([[0, 0, 10, 8.0]]), target)
        array([0.8, 0. ])
        >>> report = recall.compute()
        >>> report.values["recall50@100"], report.values["recall70@100"], report.values["AR@100"]
        (0.5, 0.5, 0.35)
        >>> report.per_class
        [{'class': 'cat', 'objects': 2, 'ABO': 0.4}]
    """

    def __init__(self, class_names: Sequence[str], counts: Sequence[int] = COUNTS) -> None:
        self.class_names, self.counts = tuple(class_names), tuple(counts)
        self._best: list[NDArray[np.float64]] = []
        self._labels: list[NDArray[np.int64]] = []
        self._proposals: list[int] = []

    def update(self, proposals_xyxy: NDArray[Any], target: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Take an image.

        Args:
            proposals_xyxy: (P, 4), best first, in its pixels.
            target: Its ``boxes`` and ``labels``, and ``iscrowd`` and ``difficult`` where they are known.

        Returns:
            Best overlap of every object with all proposals that count, (N,), crowds and difficult ones too.
        """
        boxes = np.asarray(target["boxes"], np.float64).reshape(-1, 4)
        counted = np.ones(len(boxes), np.bool_)
        for key in ("iscrowd", "difficult"):
            counted &= ~np.asarray(target.get(key, np.zeros(len(boxes))), np.bool_)
        best = best_overlaps(proposals_xyxy, boxes, self.counts)
        self._best.append(best[counted])
        self._labels.append(np.asarray(target["labels"], np.int64)[counted])
        self._proposals.append(len(proposals_xyxy))
        return best[:, -1]

    def compute(self) -> MetricReport:
        """Report: recall, average recall and best overlaps by number of proposals, and both curves."""
        best = np.concatenate([np.zeros((0, len(self.counts))), *self._best])
        labels = np.concatenate([np.zeros(0, np.int64), *self._labels])
        recall = np.full((len(THRESHOLDS), len(self.counts)), np.nan)
        if len(best):
            recall = (best[None] >= THRESHOLDS[:, None, None] - _SLACK).mean(axis=1)
        values: dict[str, float] = {}
        for count in (count for count in _REPORTED if count in self.counts):
            column = self.counts.index(count)
            for overlap in _OVERLAPS:
                row = int(np.flatnonzero(overlap == THRESHOLDS)[0])
                values[f"recall{round(100 * overlap)}@{count}"] = float(recall[row, column])
            values[f"AR@{count}"] = float(recall[:, column].mean().round(12))
        rows = [
            {"class": self.class_names[label], "objects": int((labels == label).sum())}
            | {"ABO": float(best[labels == label, -1].mean())}
            for label in np.unique(labels[labels >= 0]).tolist()
        ]
        values["MABO"] = float(np.mean([row["ABO"] for row in rows])) if rows else float("nan")
        values["proposals"] = float(np.mean(self._proposals)) if self._proposals else float("nan")
        reported = [count for count in _REPORTED if count in self.counts]
        by_number = {f"IoU {overlap}": recall[np.flatnonzero(overlap == THRESHOLDS)[0]] for overlap in _OVERLAPS}
        by_number["average recall"] = recall.mean(axis=0)
        by_overlap = {f"{count} proposals": recall[:, self.counts.index(count)] for count in reported}
        curves = {
            "recall_by_number": _curve(self.counts, by_number, "proposals an image"),
            "recall_by_overlap": _curve(THRESHOLDS, by_overlap, "IoU"),
        }
        primary = f"AR@{reported[-1]}" if reported else "MABO"
        return MetricReport(values, primary, per_class=rows, curves=curves)


def plot_recall(report: MetricReport) -> Figure:
    """Draw recall against the number of proposals (logarithmic) and against the overlap.

    Args:
        report: Of :meth:`ProposalRecall.compute`.

    Example:
        >>> recall = ProposalRecall(("cat",))
        >>> _ = recall.update(np.zeros((0, 4)), {"boxes": np.array([[0, 0, 9, 9.0]]), "labels": np.array([0])})
        >>> [axes.get_xlabel() for axes in plot_recall(recall.compute()).axes]
        ['proposals an image', 'IoU']
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, curve in zip(figure.subplots(1, 2), report.curves.values(), strict=True):
        for (name, values), color in zip(curve["y"].items(), CHART_COLORS, strict=False):
            axes.plot(curve["x"], values, label=name, color=color, linewidth=1.8, marker="o", markersize=3)
        axes.set(xlabel=curve["xlabel"], ylabel=curve["ylabel"], ylim=(0, 1.02))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize="small", frameon=False)
    figure.axes[0].set_xscale("log")
    return figure


def _curve(x: Sequence[float] | NDArray[np.float64], y: dict[str, NDArray[np.float64]], label: str) -> dict[str, Any]:
    lines = {name: values.tolist() for name, values in y.items()}
    return {"x": np.asarray(x).tolist(), "y": lines, "xlabel": label, "ylabel": "recall"}
