"""What goes wrong when a detector is wrong, and what each kind of error costs.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2. Every false
positive at IoU 0.5 has one kind, every object that was not found is missed or is explained by a detection that was
nearly right. The cost of a kind is the AP50 that would be gained if an oracle corrected it and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.coco_core import BOX_RULES, class_precision, match_detections
from saccade.metrics.records import RecordTable

__all__ = ["ERRORS", "error_breakdown"]

ERRORS = ("localisation", "classification", "duplicate", "background", "both", "missed")
_FOREGROUND = 0.5

Flags = NDArray[np.bool_]


def error_breakdown(table: RecordTable, most: int = 100) -> list[dict[str, Any]]:
    """Number and cost of each kind of error.

    A detection that found nothing is, and the first that applies holds, of

    - *localisation*: it overlaps an object of its class by 0.1 to 0.5. Corrected, it finds that object.
    - *classification*: it overlaps an object of another class by 0.5 or more. Corrected, it gets that class and finds
      the object.
    - *duplicate*: it overlaps an object of its class by 0.5 or more, which a surer detection took. Corrected, it is
      gone.
    - *background*: it overlaps no object by 0.1 or more. Corrected, it is gone.
    - *both*: it overlaps only objects of other classes, by 0.1 to 0.5. Corrected, it is gone.

    An object is *missed* if no detection took it and no error of localisation or classification is about it. Corrected,
    it need not be found; a class of which nothing is left to find then leaves the mean. A correction may not find an
    object twice: of several the surest is right, the others are gone, and so are all about an object that is found
    already. Crowds and detections in them do not count.

    Args:
        table: Detections, objects and overlaps, down to 0.1 and between all classes.
        most: Detections in an image and class that count.

    Returns:
        A row a kind: ``error``, ``count`` and ``AP50_gained``, which is NaN if there are no objects.
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

    is_found = np.zeros(len(table.ground_truth_label), bool)
    is_found[taken[hit]] = True
    explained = is_found.copy()
    explained[own[localisation]] = True
    explained[other[classification]] = True
    missed = ~(explained | table.ignore)

    objects = table.objects(table.ignore)
    base = _average_precision(table, table.label, hit, hit | wrong, objects)

    def corrected(kind: Flags, partner: NDArray[np.int64] | None = None) -> float:
        label, right = table.label, hit
        if partner is not None:
            first = _surest(table, kind & ~np.append(is_found, False)[partner], partner)
            right = hit | first
            label = np.where(first, np.append(table.ground_truth_label, -1)[partner], table.label)
        return _average_precision(table, label, right, (hit | wrong) & (right | ~kind), objects)

    left = objects - np.bincount(table.ground_truth_label[missed], minlength=table.num_classes)
    outcomes = {
        "localisation": (localisation, corrected(localisation, own)),
        "classification": (classification, corrected(classification, other)),
        "duplicate": (duplicate, corrected(duplicate)),
        "background": (background, corrected(background)),
        "both": (both, corrected(both)),
        "missed": (missed, _average_precision(table, table.label, hit, hit | wrong, left)),
    }
    return [
        {"error": name, "count": int(outcomes[name][0].sum()), "AP50_gained": outcomes[name][1] - base}
        for name in ERRORS
    ]


def _surest(table: RecordTable, kind: Flags, partner: NDArray[np.int64]) -> Flags:
    """Of the detections where ``kind`` is true, the one with the greatest score for each partner."""
    rows = np.flatnonzero(kind)
    rows = rows[np.lexsort((rows, -table.score[rows]))]
    _, first = np.unique(partner[rows], return_index=True)
    chosen = np.zeros(len(kind), bool)
    chosen[rows[first]] = True
    return chosen


def _average_precision(
    table: RecordTable, label: NDArray[np.int32], hit: Flags, counts: Flags, objects: NDArray[np.int64]
) -> float:
    """Mean over the classes of the precision at 101 recalls; NaN if there is nothing to find.

    Args:
        table: Gives scores and their order.
        label: Class of each detection, (N,).
        hit: Those that found an object, (N,).
        counts: Those that are right or wrong, (N,).
        objects: To find of each class, (C,).
    """
    rows = np.flatnonzero(counts)
    rows = rows[np.lexsort((table.rank[rows], table.image[rows], -table.score[rows], label[rows]))]
    bounds = np.searchsorted(label[rows], np.arange(table.num_classes + 1))
    means = []
    for number in np.flatnonzero(objects > 0).tolist():
        hits = hit[rows[bounds[number] : bounds[number + 1]]][None]
        means.append(class_precision(hits, np.ones_like(hits), int(objects[number]), BOX_RULES.recalls).mean())
    return float(np.mean(means)) if means else float("nan")
