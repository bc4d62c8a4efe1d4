"""Faults of the class list: ids counted from another number, gaps, names that clash, classes without an example."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from saccade.data.check.report import Issue, Severity, SplitStatistics
from saccade.data.check.split_view import SplitView
from saccade.data.tables.table_dataset import TableDataset

__all__ = ["check_classes"]

_FEW = 5  # images of a class below which little can be learnt, for one class an image
_LISTED = 10
_ERROR: Severity = "error"
_WARNING: Severity = "warning"
_IGNORED_NAMES = frozenset({"background"})


def check_classes(parts: Sequence[SplitView], splits: Sequence[SplitStatistics]) -> Iterator[Issue]:
    """Faults of the class list of a data set.

    Args:
        parts: Its splits.
        splits: Their counts, in the same order.
    """
    if parts:
        yield from _check_lists(parts)
        yield from _check_names(parts)
        yield from _check_ids(parts)
        yield from _check_counts(parts, splits)


def _source(part: SplitView) -> str:
    """File or folder that the class list belongs to."""
    dataset = part.dataset
    return str(dataset.root) if isinstance(dataset, TableDataset) else dataset.info.name


def _check_names(parts: Sequence[SplitView]) -> Iterator[Issue]:
    names = dict.fromkeys(name for part in parts for name in part.dataset.info.class_names)
    names.update(dict.fromkeys(name for part in parts for name in _unknown_names(part)))
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"[\s_-]+", " ", name.strip()).casefold(), []).append(name)
    for group in groups.values():
        if len(group) > 1:
            problem = f"{_few(group)} differ only in case or blanks and count as {len(group)} classes"
            remedy = "Give them one spelling, if one class is meant."
            yield Issue(_source(parts[0]), "classes", problem, remedy, "warning", "class-name")


def _unknown_names(part: SplitView) -> tuple[str, ...]:
    return part.dataset.table.unknown_classes if isinstance(part.dataset, TableDataset) else ()


def _check_ids(parts: Sequence[SplitView]) -> Iterator[Issue]:
    info = parts[0].dataset.info
    if info.task == "keypoints" and not info.category_ids:
        return
    ids = info.category_ids or tuple(range(len(parts[0].known_classes)))
    if not ids:
        return
    unknown: set[int] = set()
    for part in parts:
        for name in _unknown_names(part):
            match = re.search(r"(-?\d+)$", name)
            unknown.add(int(match[1]) if match else -2)
        unknown |= {int(label) for label in np.unique(part.labels[part.labels >= len(part.known_classes)])}
    used = {int(label) for part in parts for label in np.unique(part.labels[part.labels >= 0])}
    first, last = min(ids), max(ids)
    # All ids are moved by one: the one next to the list is used, the one at its other end never.
    for stray, label, begin in ((last + 1, 0, first + 1), (first - 1, len(ids) - 1, first - 1)):
        if unknown == {stray} and label not in used:
            problem = (
                f"class ids seem to be counted from {begin}: id {stray} is used and unknown, "
                f"id {ids[label]} ('{parts[0].class_name(label)}') is never used"
            )
            step = "Subtract 1 from" if begin > first else "Add 1 to"
            remedy = f"{step} every class id, and do so before --fix, which removes objects of unknown classes."
            yield Issue(_source(parts[0]), "classes", problem, remedy, "error", "counted-from")
    gaps = sorted(set(range(first, last + 1)) - set(ids))
    if gaps:
        listed = ", ".join(map(str, gaps[:_LISTED])) + (", ..." if len(gaps) > _LISTED else "")
        problem = f"the ids run from {first} to {last} without {listed}"
        remedy = "Nothing to do here, labels are numbered anew; other programs may need ids without gaps."
        yield Issue(_source(parts[0]), "classes", problem, remedy, "warning", "id-gaps")


def _check_lists(parts: Sequence[SplitView]) -> Iterator[Issue]:
    """Splits whose class lists differ, so that a label means two things."""
    first = parts[0].dataset.info
    for part in parts[1:]:
        other = part.dataset.info
        if other.class_names == first.class_names:
            continue
        more = [name for name in other.class_names if name not in set(first.class_names)]
        fewer = [name for name in first.class_names if name not in set(other.class_names)]
        told = [f"{words} {_few(names)}" for words, names in (("it adds", more), ("it lacks", fewer)) if names]
        problem = f"its classes are not those of '{first.split}': {' and '.join(told) or 'they stand in another order'}"
        remedy, severity = "Give both the same class list.", _ERROR
        if not set(first.class_names) & set(other.class_names):
            problem = f"it shares no class with '{first.split}'"
            remedy, severity = "So it should be for metric learning; a classifier cannot be scored on it.", _WARNING
        yield Issue(other.name, f"split '{other.split}'", problem, remedy, severity, "class-list", other.split)


def _few(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names[:_LISTED])
    return f"{listed} and {len(names) - _LISTED} more" if len(names) > _LISTED else listed


def _check_counts(parts: Sequence[SplitView], splits: Sequence[SplitStatistics]) -> Iterator[Issue]:
    source, task = _source(parts[0]), parts[0].dataset.info.task
    names = dict.fromkeys(name for part in parts for name in part.dataset.info.class_names)
    used = [{name for name, count in split.class_counts.items() if count} for split in splits]
    apart = len(splits) > 1 and len(set().union(*used)) == sum(map(len, used)) and all(used)
    if apart:
        remedy = "So it should be for metric learning; for all else divide the images anew."
        yield Issue(source, "splits", "no class occurs in two of them", remedy, "warning", "class-missing")
    for name in names:
        if name.lower() in _IGNORED_NAMES:
            continue
        counts = {split.name: split.class_counts.get(name, 0) for split in splits}
        total, where = sum(counts.values()), f"class '{name}'"
        if total == 0:
            remedy = "Add examples, or take the class off the list."
            yield Issue(source, where, "it never occurs", remedy, "warning", "class-unseen")
            continue
        missing = [split for split, count in counts.items() if count == 0]
        if missing and not apart:
            there = ", ".join(f"'{split}'" for split, count in counts.items() if count)
            lacking = ", ".join(f"'{split}'" for split in missing)
            remedy = "Divide the images so that every class is in every split."
            problem = f"it occurs in {there}, but not in {lacking}"
            yield Issue(source, where, problem, remedy, "warning", "class-missing")
        if task == "classification" and total < _FEW:
            remedy = "Add images, or join it with another class."
            yield Issue(source, where, f"it has only {total} images", remedy, "warning", "class-few")
