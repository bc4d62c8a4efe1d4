"""COCO's matching of detections to objects, and its curves of precision and recall.

The rules are those of ``COCOeval`` to the letter, and the tests compare the metrics with those of pycocotools and
faster-coco-eval, which return finished curves and not the match of each detection. Here matching runs over all images
and classes at once, one detection of each in a round, so that neither time nor memory goes into Python objects, and the
matches are available for confidence curves and for the breakdown of errors. Run lengths of masks and their overlaps
come from faster-coco-eval (:mod:`saccade.metrics.overlaps`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.records import RecordTable, rank_in_group

__all__ = [
    "BOX_RULES",
    "KEYPOINT_RULES",
    "CocoCurves",
    "CocoRules",
    "box_rules",
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
    """Parameters of ``COCOeval``: areas, numbers of detections, thresholds, and the metrics to report.

    Args:
        areas: Name, least and greatest area of an object in pixels; the first is all.
        most: Detections that count in an image and class, ascending.
        figures: Metrics to report: name, whether precision (else recall), threshold (None: mean of all), area,
            detections an image.
        thresholds: Overlaps that make a match, shape (T,).
        recalls: Recalls at which precision is read, shape (R,).

    Example:
        >>> BOX_RULES.figures[1]
        ('AP50', True, 0.5, 'all', 100)
        >>> CocoRules(areas=BOX_RULES.areas[:1], most=(300,), figures=(("AP", True, None, "all", 300),)).thresholds
        array([0.5 , 0.55, 0.6 , 0.65, 0.7 , 0.75, 0.8 , 0.85, 0.9 , 0.95])
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


def box_rules(most: int = 100) -> CocoRules:
    """Rules for boxes and masks, with another number of detections that count in an image and class than COCO's 100.

    Example:
        >>> [figure[0] for figure in box_rules(300).figures if figure[0].startswith("AR")][:3]
        ['AR1', 'AR10', 'AR300']
    """
    return CocoRules(
        areas=(_ALL, _SMALL, _MEDIUM, _LARGE),
        most=(*(number for number in (1, 10) if number < most), most),
        figures=(
            ("AP", True, None, "all", most),
            ("AP50", True, 0.5, "all", most),
            ("AP75", True, 0.75, "all", most),
            ("AP_small", True, None, "small", most),
            ("AP_medium", True, None, "medium", most),
            ("AP_large", True, None, "large", most),
            ("AR1", False, None, "all", 1),
            ("AR10", False, None, "all", min(10, most)),
            (f"AR{most}", False, None, "all", most),
            ("AR_small", False, None, "small", most),
            ("AR_medium", False, None, "medium", most),
            ("AR_large", False, None, "large", most),
        ),
    )


BOX_RULES = box_rules()
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
    """Precision and recall as arrays, those of ``COCOeval.eval``; -1 is undefined.

    Args:
        rules: Rules by which the curves were made.
        precision: (T, R, C, areas).
        recall: (T, C, areas, numbers of detections).

    Example:
        >>> curves = CocoCurves(BOX_RULES, np.ones((10, 101, 2, 4)), np.full((10, 2, 4, 3), 0.5))
        >>> curves.figure(("AP50", True, 0.5, "all", 100)), curves.figure(("AR10", False, None, "all", 10), label=1)
        (1.0, 0.5)
    """

    rules: CocoRules
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def figure(self, figure: Figure, label: int | None = None) -> float:
        """Value of one of the rules' metrics, over all classes or of one; NaN where it is undefined."""
        _, is_precision, threshold, area, most = figure
        table = self.precision if is_precision else self.recall[..., self.rules.most.index(most)]
        table = table[..., [name for name, _, _ in self.rules.areas].index(area)]
        if threshold is not None:
            table = table[[int(np.argmin(np.abs(self.rules.thresholds - threshold)))]]
        return mean_defined(table if label is None else table[..., label])


def figures_of(curves: CocoCurves, label: int | None = None) -> dict[str, float]:
    """Read the rules' metrics from curves, by name, over all classes or of one.

    Args:
        curves: Precision and recall.
        label: A class; all if not given.

    Example:
        >>> curves = CocoCurves(BOX_RULES, np.ones((10, 101, 2, 4)), np.full((10, 2, 4, 3), 0.5))
        >>> figures_of(curves)
        {'AP': 1.0, 'AP50': 1.0, 'AP75': 1.0, ..., 'AR_large': 0.5}
    """
    return {figure[0]: curves.figure(figure, label) for figure in curves.rules.figures}


def precision_recall(table: RecordTable, rules: CocoRules) -> CocoCurves:
    """Compute COCO's interpolated precision and its recall, for every threshold, class and area.

    Args:
        table: Detections, objects and overlaps.
        rules: Areas, thresholds and numbers of detections.

    Example:
        >>> from saccade.metrics.records import DetectedObjects, make_record
        >>> detected = DetectedObjects(np.array([0.9, 0.8]), np.array([0, 0]), np.array([400, 400]))
        >>> overlap = np.array([[0.0], [0.8]])
        >>> record = make_record("1.jpg", 1, detected, {"labels": np.array([0])}, np.array([400]), overlap)
        >>> curves = precision_recall(RecordTable.of({1: record}, num_classes=1), BOX_RULES)
        >>> curves.precision[:, 0, 0, 0], curves.recall[:, 0, 0, 2]
        (array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0. , 0. , 0. ]),
         array([1., 1., 1., 1., 1., 1., 1., 0., 0., 0.]))
    """
    shape = len(rules.thresholds), len(rules.recalls), table.num_classes, len(rules.areas)
    precision = np.full(shape, -1.0)
    recall = np.full((shape[0], *shape[2:], len(rules.most)), -1.0)
    rows, bounds = table.by_score(table.rank < rules.most[-1])
    for area, (_, least, greatest) in enumerate(rules.areas):
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
            precision[:, :, label, area] = class_precision(hits, counts[:, part], objects, rules.recalls)
            for number, most in enumerate(rules.most):
                recall[:, label, area, number] = hits[:, table.rank[rows[part]] < most].sum(axis=1) / objects
    return CocoCurves(rules, precision, recall)


def match_detections(
    table: RecordTable, thresholds: Sequence[float] | Array, ignored: NDArray[np.bool_], most: int
) -> NDArray[np.int32]:
    """Match detections to objects greedily, by the rule of ``COCOeval.evaluateImg``.

    In an image and class, detections are matched by falling score. Each takes, among the free objects that it overlaps
    by the threshold, the one it overlaps most, the last of equals; ignored objects only if there is no other. A crowd
    is always free.

    Args:
        table: Detections, objects and overlaps.
        thresholds: T overlaps, each at least 0.1.
        ignored: Objects that do not count, (M,).
        most: Detections in an image and class that are matched.

    Returns:
        (T, N) rows of objects, -1 for none.

    Example:
        >>> from saccade.metrics.records import DetectedObjects, make_record
        >>> detected = DetectedObjects(np.array([0.9, 0.8]), np.array([0, 0]), np.array([400, 400]))
        >>> overlap = np.array([[0.6, 0.0], [0.9, 0.55]])
        >>> record = make_record("1.jpg", 1, detected, {"labels": np.array([0, 0])}, np.array([400, 400]), overlap)
        >>> table = RecordTable.of({1: record}, num_classes=1)
        >>> match_detections(table, [0.5, 0.75], table.ignore, most=100)
        array([[ 0,  1],
               [-1,  0]], dtype=int32)
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
    turn[order] = rank_in_group(group[order])
    turn = turn[np.searchsorted(active, found)]
    # By round, then by detection; among the candidates of a detection the preferred one comes last.
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
    """Interpolate precision at given recalls: never rising with recall, 0 where the recall is not reached.

    Args:
        hits: True positives among the detections of one class by falling score, (T, n).
        counts: True and false positives, (T, n); the other detections are ignored.
        objects: Number of objects, above 0.
        recalls: (R,).

    Returns:
        (T, R).

    Example:
        >>> hits = np.array([[True, False, True]])
        >>> class_precision(hits, np.ones_like(hits), objects=2, recalls=np.array([0.0, 0.5, 1.0])).round(2)
        array([[1.  , 1.  , 0.67]])
    """
    right = np.cumsum(hits, axis=1, dtype=np.float64)
    all_so_far = np.cumsum(counts, axis=1, dtype=np.float64)
    # COCOeval adds 2e-16 to the divisor instead, so that perfect is a little less than 1 there.
    precision = right / np.maximum(all_so_far, 1.0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    read = np.zeros((len(hits), len(recalls)))
    for row, reached in enumerate(right / objects):
        first = np.searchsorted(reached, recalls, side="left")
        inside = first < len(reached)
        read[row, inside] = precision[row, first[inside]]
    return read


def mean_defined(table: Array) -> float:
    """Mean of the defined entries, those above -1; NaN if there are none.

    Example:
        >>> mean_defined(np.array([0.5, -1, 1.0]))
        0.75
    """
    defined = table[table > -1]
    return float(np.mean(defined)) if defined.size else float("nan")
