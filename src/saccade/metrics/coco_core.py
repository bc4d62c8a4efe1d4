"""COCO's matching of detections to objects, and its curves of precision and recall.

The rules are those of ``COCOeval`` to the letter, and the tests hold the figures against pycocotools and
faster-coco-eval. Those give finished curves and do not say which detection was matched. Here matching runs over all
images and classes at once, one detection of each in a turn, so that neither time nor memory goes into objects of
Python, and the matches are at hand for confidence curves and for the breakdown of errors. Run lengths of masks and
their overlaps come from faster-coco-eval (:mod:`saccade.metrics.overlaps`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.records import RecordTable, place_in_group

__all__ = [
    "BOX_RULES",
    "KEYPOINT_RULES",
    "CocoCurves",
    "CocoRules",
    "class_precision",
    "figures_of",
    "match_detections",
    "mean_defined",
    "precision_recall",
]

Array = NDArray[Any]
Figure = tuple[str, bool, float | None, str, int]


@dataclass(frozen=True)
class CocoRules:
    """Parameters of ``COCOeval``.

    Args:
        areas: Name, least and greatest area of an object in pixels; the first is all.
        most: Detections that count in an image and class, ascending.
        figures: Name, precision (else recall), threshold (None: mean of all), area, detections an image.
        thresholds: Overlaps that make a match, shape (T,).
        recalls: Where precision is read, shape (R,).
    """

    areas: tuple[tuple[str, float, float], ...]
    most: tuple[int, ...]
    figures: tuple[Figure, ...]
    thresholds: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0.5, 0.95, 10))
    recalls: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0.0, 1.0, 101))


_ALL, _SMALL, _MEDIUM, _LARGE = (
    ("all", 0.0, 1e10),
    ("small", 0.0, 1024.0),
    ("medium", 1024.0, 9216.0),
    ("large", 9216.0, 1e10),
)
BOX_RULES = CocoRules(
    areas=(_ALL, _SMALL, _MEDIUM, _LARGE),
    most=(1, 10, 100),
    figures=(
        ("AP", True, None, "all", 100),
        ("AP50", True, 0.5, "all", 100),
        ("AP75", True, 0.75, "all", 100),
        ("AP_small", True, None, "small", 100),
        ("AP_medium", True, None, "medium", 100),
        ("AP_large", True, None, "large", 100),
        ("AR1", False, None, "all", 1),
        ("AR10", False, None, "all", 10),
        ("AR100", False, None, "all", 100),
        ("AR_small", False, None, "small", 100),
        ("AR_medium", False, None, "medium", 100),
        ("AR_large", False, None, "large", 100),
    ),
)
KEYPOINT_RULES = CocoRules(
    areas=(_ALL, _MEDIUM, _LARGE),
    most=(20,),
    figures=(
        ("AP", True, None, "all", 20),
        ("AP50", True, 0.5, "all", 20),
        ("AP75", True, 0.75, "all", 20),
        ("AP_medium", True, None, "medium", 20),
        ("AP_large", True, None, "large", 20),
        ("AR", False, None, "all", 20),
        ("AR50", False, 0.5, "all", 20),
        ("AR75", False, 0.75, "all", 20),
        ("AR_medium", False, None, "medium", 20),
        ("AR_large", False, None, "large", 20),
    ),
)


@dataclass(frozen=True)
class CocoCurves:
    """``COCOeval.eval``; -1 is undefined.

    Args:
        rules: What was asked for.
        precision: (T, R, C, areas).
        recall: (T, C, areas, numbers of detections).
    """

    rules: CocoRules
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def figure(self, figure: Figure, label: int | None = None) -> float:
        """One of the rules' figures, of all classes or of one; NaN where it is undefined."""
        _, is_precision, threshold, area, most = figure
        table = self.precision if is_precision else self.recall[..., self.rules.most.index(most)]
        table = table[..., [name for name, _, _ in self.rules.areas].index(area)]
        if threshold is not None:
            table = table[[int(np.argmin(np.abs(self.rules.thresholds - threshold)))]]
        return mean_defined(table if label is None else table[..., label])


def figures_of(curves: CocoCurves, label: int | None = None) -> dict[str, float]:
    """The rules' figures by name, of all classes or of one."""
    return {figure[0]: curves.figure(figure, label) for figure in curves.rules.figures}


def precision_recall(table: RecordTable, rules: CocoRules) -> CocoCurves:
    """COCO's interpolated precision and its recall, for every threshold, class and area."""
    shape = len(rules.thresholds), len(rules.recalls), table.num_classes, len(rules.areas)
    precision = np.full(shape, -1.0)
    recall = np.full((shape[0], *shape[2:], len(rules.most)), -1.0)
    rows, bounds = table.by_score(table.rank < rules.most[-1])
    for place, (_, least, greatest) in enumerate(rules.areas):
        ignored = table.ignore | (table.ground_truth_area < least) | (table.ground_truth_area > greatest)
        taken = match_detections(table, rules.thresholds, ignored, rules.most[-1])[:, rows]
        matched = taken >= 0
        outside = (table.area[rows] < least) | (table.area[rows] > greatest)
        # A detection counts unless it took an ignored object, or took none and has the wrong size itself.
        counts = np.where(matched, np.append(~ignored, False)[taken], ~outside)
        for label, objects in enumerate(table.objects(ignored).tolist()):
            if not objects:
                continue
            part = slice(int(bounds[label]), int(bounds[label + 1]))
            hits = matched[:, part] & counts[:, part]
            precision[:, :, label, place] = class_precision(hits, counts[:, part], objects, rules.recalls)
            for number, most in enumerate(rules.most):
                recall[:, label, place, number] = hits[:, table.rank[rows[part]] < most].sum(axis=1) / objects
    return CocoCurves(rules, precision, recall)


def match_detections(
    table: RecordTable, thresholds: Sequence[float] | Array, ignored: NDArray[np.bool_], most: int
) -> NDArray[np.int32]:
    """Which object each detection takes, by the rule of ``COCOeval.evaluateImg``.

    In an image and class, detections choose by falling score. Each takes, among the free objects that it overlaps by
    the threshold, the one it overlaps most, the last of equals; ignored objects only if there is no other. A crowd is
    always free.

    Args:
        table: Detections, objects and overlaps.
        thresholds: T overlaps, each at least 0.1.
        ignored: Objects that do not count, (M,).
        most: Detections in an image and class that may choose.

    Returns:
        (T, N) rows of objects, -1 for none.
    """
    floors = np.minimum(np.asarray(thresholds, np.float64), 1 - 1e-10)
    result = np.full((len(floors), len(table.score)), -1, np.int32)
    keep = (
        (table.label[table.found] == table.ground_truth_label[table.ground_truth])
        & (table.overlap >= floors.min())
        & (table.rank[table.found] < most)
    )
    found, ground_truth, overlap = table.found[keep], table.ground_truth[keep], table.overlap[keep]
    active = np.unique(found)
    group = table.image[active] * table.num_classes + table.label[active]
    order = np.lexsort((table.rank[active], group))
    turn = np.empty(len(active), np.int64)
    turn[order] = place_in_group(group[order])
    turn = turn[np.searchsorted(active, found)]
    # Turn after turn, detection after detection; in each, the choice that would be liked best comes last.
    order = np.lexsort((ground_truth, overlap, ~ignored[ground_truth], found, turn))
    found, ground_truth, overlap, turn = found[order], ground_truth[order], overlap[order], turn[order]
    bounds = np.searchsorted(turn, np.arange(turn[-1] + 2 if len(turn) else 1))
    taken = np.zeros((len(floors), len(table.ground_truth_label)), bool)
    for first, end in itertools.pairwise(bounds.tolist()):
        choices = ground_truth[first:end]
        starts = np.flatnonzero(np.diff(found[first:end], prepend=-1))
        is_open = (~taken[:, choices] | table.crowd[choices]) & (overlap[first:end] >= floors[:, None])
        best = np.maximum.reduceat(np.where(is_open, np.arange(end - first), -1), starts, axis=1)
        level, who = np.nonzero(best >= 0)
        chosen = choices[best[level, who]]
        result[level, found[first:end][starts[who]]] = chosen
        taken[level, chosen] = True
    return result


def class_precision(
    hits: NDArray[np.bool_], counts: NDArray[np.bool_], objects: int, recalls: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Precision at some recalls, never rising with recall, 0 where the recall is not reached.

    Args:
        hits: Detections of one class by falling score that found an object, (T, n).
        counts: Those that are right or wrong, (T, n); the others do not matter.
        objects: There are to find, above 0.
        recalls: (R,).

    Returns:
        (T, R).
    """
    right = np.cumsum(hits, axis=1, dtype=np.float64)
    all_so_far = np.cumsum(counts, axis=1, dtype=np.float64)
    # COCOeval adds 2e-16 to the divisor instead, so that perfect is a little less than 1 there.
    precision = right / np.maximum(all_so_far, 1.0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    read = np.zeros((len(hits), len(recalls)))
    for row, reached in enumerate(right / objects):
        places = np.searchsorted(reached, recalls, side="left")
        inside = places < len(reached)
        read[row, inside] = precision[row, places[inside]]
    return read


def mean_defined(table: Array) -> float:
    """Mean of the entries above -1; NaN if there are none."""
    defined = table[table > -1]
    return float(np.mean(defined)) if defined.size else float("nan")
