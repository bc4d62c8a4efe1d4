"""Errors of a detector by kind, and the AP50 that each kind costs.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2. Every false
positive at IoU 0.5 has one kind; every object that was not found is missed or is explained by a detection that was
nearly correct. The cost of a kind is the AP50 that would be gained if an oracle corrected it and nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.coco_core import BOX_RULES, class_precision, match_detections
from saccade.metrics.records import RecordTable

__all__ = ["ERRORS", "DetectionErrors", "error_breakdown", "find_errors"]

ERRORS = ("localisation", "classification", "duplicate", "background", "both", "missed")
_FOREGROUND = 0.5

Flags = NDArray[np.bool_]


class DetectionErrors(NamedTuple):
    """Kind of every error of a detector, and the object that it is about: result of :func:`find_errors`.

    Attributes:
        taken: Object that each detection is matched to, (N,), -1 for none.
        hit: True positives, (N,).
        wrong: False positives, (N,); each has one of the next five kinds.
        localisation: (N,).
        classification: (N,).
        duplicate: (N,).
        background: (N,).
        both: (N,).
        missed: Objects that no detection is matched to, nor an error of localisation or classification about, (M,).
        own: Object of its class that each detection overlaps most, (N,), -1 for none.
        other: The same among the objects of other classes, (N,).
        overlap: Overlap with ``own``, (N,), 0 for none.

    Example:
        >>> from saccade.metrics.records import DetectedObjects, make_record
        >>> detected = DetectedObjects(np.array([0.9, 0.8]), np.array([0, 0]), np.array([400, 400]))
        >>> target, overlap = {"labels": np.array([0])}, np.array([[0.3], [0]])
        >>> record = make_record("1.jpg", 1, detected, target, np.array([400]), overlap)
        >>> found = find_errors(RecordTable.of({1: record}, num_classes=1))
        >>> found.localisation, found.background, found.own
        (array([ True, False]), array([False,  True]), array([ 0, -1]))
    """

    taken: NDArray[np.int32]
    hit: Flags
    wrong: Flags
    localisation: Flags
    classification: Flags
    duplicate: Flags
    background: Flags
    both: Flags
    missed: Flags
    own: NDArray[np.int64]
    other: NDArray[np.int64]
    overlap: NDArray[np.float64]


def find_errors(table: RecordTable, most: int = 100) -> DetectionErrors:
    """Find the kind of each error, by the rules of :func:`error_breakdown`.

    Args:
        table: Detections, objects and overlaps, down to 0.1 and between all classes.
        most: Detections in an image and class that count.

    Example:
        >>> from saccade.metrics.records import DetectedObjects, make_record
        >>> nothing = DetectedObjects(np.zeros(0), np.zeros(0, int), np.zeros(0))
        >>> record = make_record("1.jpg", 1, nothing, {"labels": np.array([0])}, np.array([400]), np.zeros((0, 1)))
        >>> find_errors(RecordTable.of({1: record}, num_classes=1)).missed
        array([ True])
    """
    taken = match_detections(table, [_FOREGROUND], table.ignore, most)[0]
    matched = taken >= 0
    hit = matched.copy()
    hit[matched] = ~table.ignore[taken[matched]]
    wrong = (table.rank < most) & ~matched

    same = table.label[table.found] == table.ground_truth_label[table.ground_truth]
    counts = ~table.ignore[table.ground_truth]
    overlap, own = table.best(counts & same)
    other_overlap, other = table.best(counts & ~same)
    localisation = wrong & (overlap > 0) & (overlap < _FOREGROUND)
    classification = wrong & ~localisation & (other_overlap >= _FOREGROUND)
    duplicate = wrong & ~localisation & ~classification & (overlap >= _FOREGROUND)
    background = wrong & (overlap == 0) & (other_overlap == 0)
    both = wrong & ~(localisation | classification | duplicate | background)

    explained = np.zeros(len(table.ground_truth_label), bool)
    explained[taken[hit]] = True
    explained[own[localisation]] = True
    explained[other[classification]] = True
    missed = ~(explained | table.ignore)
    return DetectionErrors(
        taken, hit, wrong, localisation, classification, duplicate, background, both, missed, own, other, overlap
    )


def error_breakdown(table: RecordTable, most: int = 100) -> list[dict[str, Any]]:
    """Count each kind of error and the AP50 it costs (Bolya et al. 2020, section 2).

    A false positive has the first of these kinds that applies:

    - *localisation*: it overlaps an object of its class by 0.1 to 0.5. Corrected, it finds that object.
    - *classification*: it overlaps an object of another class by 0.5 or more. Corrected, it gets that class and finds
      the object.
    - *duplicate*: it overlaps an object of its class by 0.5 or more, which is matched to a detection of higher score.
      Corrected, it is removed.
    - *background*: it overlaps no object by 0.1 or more. Corrected, it is removed.
    - *both*: it overlaps only objects of other classes, by 0.1 to 0.5. Corrected, it is removed.

    An object is *missed* if it is not matched and no error of localisation or classification is about it. Corrected, it
    need not be found; a class without further objects then leaves the mean. A correction may not find an object twice:
    of several detections the one with the highest score finds it and the others are removed, as are all about an object
    that is found already. Crowds and detections in them do not count.

    Args:
        table: Detections, objects and overlaps, down to 0.1 and between all classes.
        most: Detections in an image and class that count.

    Returns:
        A row a kind: ``error``, ``count`` and ``AP50_gained``, which is NaN if there are no objects.

    Example:
        >>> from saccade.metrics.records import DetectedObjects, make_record
        >>> detected = DetectedObjects(np.array([0.9, 0.8]), np.array([0, 1]), np.array([400, 400]))
        >>> overlap = np.array([[0.3, 0.0], [0.0, 0.0]])  # a loose box, a box on background
        >>> target = {"labels": np.array([0, 1])}
        >>> record = make_record("1.jpg", 2, detected, target, np.array([400, 400]), overlap)
        >>> rows = error_breakdown(RecordTable.of({1: record}, num_classes=2))
        >>> {row["error"]: row["count"] for row in rows}
        {'localisation': 1, 'classification': 0, 'duplicate': 0, 'background': 1, 'both': 0, 'missed': 1}
        >>> rows[0]["AP50_gained"]
        0.5
    """
    found = find_errors(table, most)
    is_found = np.zeros(len(table.ground_truth_label), bool)
    is_found[found.taken[found.hit]] = True
    scored = found.hit | found.wrong
    objects = table.objects(table.ignore)
    base = _average_precision(table, table.label, found.hit, scored, objects)

    def corrected(kind: Flags, partner: NDArray[np.int64] | None = None) -> float:
        label, right = table.label, found.hit
        if partner is not None:
            first = _highest_scoring(table, kind & ~np.append(is_found, False)[partner], partner)
            right = right | first
            label = np.where(first, np.append(table.ground_truth_label, -1)[partner], table.label)
        return _average_precision(table, label, right, scored & (right | ~kind), objects)

    left = objects - np.bincount(table.ground_truth_label[found.missed], minlength=table.num_classes)
    outcomes = {
        "localisation": (found.localisation, corrected(found.localisation, found.own)),
        "classification": (found.classification, corrected(found.classification, found.other)),
        "duplicate": (found.duplicate, corrected(found.duplicate)),
        "background": (found.background, corrected(found.background)),
        "both": (found.both, corrected(found.both)),
        "missed": (found.missed, _average_precision(table, table.label, found.hit, scored, left)),
    }
    return [
        {"error": name, "count": int(outcomes[name][0].sum()), "AP50_gained": outcomes[name][1] - base}
        for name in ERRORS
    ]


def _highest_scoring(table: RecordTable, kind: Flags, partner: NDArray[np.int64]) -> Flags:
    """Mark the detection with the greatest score for each partner, of those where ``kind`` is true."""
    rows = np.flatnonzero(kind)
    rows = rows[np.lexsort((rows, -table.score[rows]))]
    _, first = np.unique(partner[rows], return_index=True)
    chosen = np.zeros(len(kind), bool)
    chosen[rows[first]] = True
    return chosen


def _average_precision(
    table: RecordTable, label: NDArray[np.int32], hit: Flags, counts: Flags, objects: NDArray[np.int64]
) -> float:
    """Mean over the classes of the precision at 101 recalls; NaN without objects.

    Args:
        table: Scores of the detections, and their order.
        label: Class of each detection, (N,).
        hit: True positives, (N,).
        counts: True and false positives, (N,).
        objects: Number of objects of each class, (C,).
    """
    rows = np.flatnonzero(counts)
    rows = rows[np.lexsort((table.rank[rows], table.image[rows], -table.score[rows], label[rows]))]
    bounds = np.searchsorted(label[rows], np.arange(table.num_classes + 1))
    means = []
    for number in np.flatnonzero(objects > 0).tolist():
        hits = hit[rows[bounds[number] : bounds[number + 1]]][None]
        means.append(class_precision(hits, np.ones_like(hits), int(objects[number]), BOX_RULES.recalls).mean())
    return float(np.mean(means)) if means else float("nan")
