"""Faults of the class list: ids that start at another number, gaps, clashing names, classes without an example."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from saccade.data.check.report import Issue, Severity, SplitStatistics
from saccade.data.check.split_view import SplitView
from saccade.data.tables.table_dataset import TableDataset

__all__ = ["check_classes"]

_FEW = 5  # images of a class below which little can be learnt, in classification
_LISTED = 10
_ERROR: Severity = "error"
_WARNING: Severity = "warning"
_IGNORED_NAMES = frozenset({"background"})


def check_classes(views: Sequence[SplitView], splits: Sequence[SplitStatistics]) -> Iterator[Issue]:
    """Find faults of the class list: wrong ids, clashing names, classes without or with few examples.

    Args:
        views: The splits of a data set.
        splits: Their statistics, in the same order.

    Yields:
        Faults of the data set as a whole.
    """
    if views:
        yield from _check_lists(views)
        yield from _check_names(views)
        yield from _check_ids(views)
        yield from _check_counts(views, splits)


def _source(view: SplitView) -> str:
    """File or folder that the class list belongs to."""
    dataset = view.dataset
    return str(dataset.root) if isinstance(dataset, TableDataset) else dataset.info.name


def _check_names(views: Sequence[SplitView]) -> Iterator[Issue]:
    names = dict.fromkeys(name for view in views for name in view.dataset.info.class_names)
    names.update(dict.fromkeys(name for view in views for name in _unknown_names(view)))
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"[\s_-]+", " ", name.strip()).casefold(), []).append(name)
    for group in groups.values():
        if len(group) > 1:
            problem = f"{_join_names(group)} differ only in case or blanks and count as {len(group)} classes"
            remedy = "Give them one spelling, if one class is meant."
            yield Issue(_source(views[0]), "classes", problem, remedy, "warning", "classes.names")


def _unknown_names(view: SplitView) -> tuple[str, ...]:
    return view.dataset.table.unknown_classes if isinstance(view.dataset, TableDataset) else ()


def _check_ids(views: Sequence[SplitView]) -> Iterator[Issue]:
    info = views[0].dataset.info
    if info.task == "keypoints" and not info.category_ids:
        return
    ids = info.category_ids or tuple(range(len(views[0].known_classes)))
    if not ids:
        return
    unknown: set[int] = set()
    for view in views:
        for name in _unknown_names(view):
            match = re.search(r"(-?\d+)$", name)
            unknown.add(int(match[1]) if match else -2)
        unknown |= {int(label) for label in np.unique(view.labels[view.labels >= len(view.known_classes)])}
    used = {int(label) for view in views for label in np.unique(view.labels[view.labels >= 0])}
    first, last = min(ids), max(ids)
    # All ids are shifted by one: the id next to the list is used, the id at its other end never.
    for stray, label, begin in ((last + 1, 0, first + 1), (first - 1, len(ids) - 1, first - 1)):
        if unknown == {stray} and label not in used:
            problem = (
                f"class ids seem to be counted from {begin}: id {stray} is used and unknown, "
                f"id {ids[label]} ('{views[0].class_name(label)}') is never used"
            )
            correction = "Subtract 1 from" if begin > first else "Add 1 to"
            remedy = (
                f"{correction} every class id, and do so before --repair, which removes objects of unknown classes."
            )
            yield Issue(_source(views[0]), "classes", problem, remedy, "error", "classes.counted-from")
    gaps = sorted(set(range(first, last + 1)) - set(ids))
    if gaps:
        listed = ", ".join(map(str, gaps[:_LISTED])) + (", ..." if len(gaps) > _LISTED else "")
        problem = f"the ids run from {first} to {last} without {listed}"
        remedy = "Nothing to do here, labels are renumbered; other programs may need ids without gaps."
        yield Issue(_source(views[0]), "classes", problem, remedy, "warning", "classes.gaps")


def _check_lists(views: Sequence[SplitView]) -> Iterator[Issue]:
    """Splits whose class lists differ, so that a label means two things."""
    first = views[0].dataset.info
    for view in views[1:]:
        other = view.dataset.info
        if other.class_names == first.class_names:
            continue
        more = [name for name in other.class_names if name not in set(first.class_names)]
        fewer = [name for name in first.class_names if name not in set(other.class_names)]
        pairs = (("it adds", more), ("it lacks", fewer))
        differences = [f"{verb} {_join_names(names)}" for verb, names in pairs if names]
        difference = " and ".join(differences) or "their order differs"
        problem = f"its classes are not those of '{first.split}': {difference}"
        remedy, severity = "Give both the same class list.", _ERROR
        if not set(first.class_names) & set(other.class_names):
            problem = f"it shares no class with '{first.split}'"
            remedy, severity = "This is right for metric learning; a classifier cannot be scored on it.", _WARNING
        yield Issue(other.name, f"split '{other.split}'", problem, remedy, severity, "classes.lists", other.split)


def _join_names(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names[:_LISTED])
    return f"{listed} and {len(names) - _LISTED} more" if len(names) > _LISTED else listed


def _check_counts(views: Sequence[SplitView], splits: Sequence[SplitStatistics]) -> Iterator[Issue]:
    source, task = _source(views[0]), views[0].dataset.info.task
    names = dict.fromkeys(name for view in views for name in view.dataset.info.class_names)
    used = [{name for name, count in split.class_counts.items() if count} for split in splits]
    apart = len(splits) > 1 and len(set().union(*used)) == sum(map(len, used)) and all(used)
    if apart:
        remedy = "This is right for metric learning; for anything else split the images again."
        yield Issue(source, "splits", "no class occurs in two of them", remedy, "warning", "classes.missing")
    for name in names:
        if name.lower() in _IGNORED_NAMES:
            continue
        counts = {split.name: split.class_counts.get(name, 0) for split in splits}
        total, where = sum(counts.values()), f"class '{name}'"
        if total == 0:
            remedy = "Add examples, or remove the class from the list."
            yield Issue(source, where, "it never occurs", remedy, "warning", "classes.unseen")
            continue
        missing = [split for split, count in counts.items() if count == 0]
        if missing and not apart:
            present = ", ".join(f"'{split}'" for split, count in counts.items() if count)
            lacking = ", ".join(f"'{split}'" for split in missing)
            remedy = "Split the images so that every class is in every split."
            problem = f"it occurs in {present}, but not in {lacking}"
            yield Issue(source, where, problem, remedy, "warning", "classes.missing")
        if task == "classification" and total < _FEW:
            remedy = "Add images, or join it with another class."
            yield Issue(source, where, f"it has only {total} images", remedy, "warning", "classes.few")
