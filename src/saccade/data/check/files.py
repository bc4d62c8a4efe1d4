"""Faults found across all images: names that clash, images listed twice, near duplicates, leaks between splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import PurePath

import numpy as np

from saccade.data.check.duplicates import find_duplicates
from saccade.data.check.images import ImageStats
from saccade.data.check.report import Issue
from saccade.data.check.split_view import LAST, LocatedIssue, SplitView
from saccade.data.tables.table_dataset import TableDataset

__all__ = ["check_files"]

_LEAK = "Take it out of one of the splits: on images seen in training the score is too good."
_MOSTLY = 0.5  # share of images without an object above which labels may be missing


def check_files(views: Sequence[SplitView], all_stats: Sequence[Sequence[ImageStats]]) -> list[list[LocatedIssue]]:
    """Find the faults that only show across all images: clashing names, repeated files, near duplicates, leaks.

    Args:
        views: The splits of a data set.
        all_stats: Statistics of their images, as :func:`~saccade.data.check.images.collect_stats` gives them.

    Returns:
        Faults of each split, unordered.
    """
    located: list[list[LocatedIssue]] = [[] for _ in views]
    starts = [0, *accumulate(len(view.dataset) for view in views)]
    splits = np.repeat(np.arange(len(views)), np.diff(starts))
    paths = [_paths(view) for view in views]
    for number, view in enumerate(views):
        located[number] += _check_names(view, paths[number])
        located[number] += _check_empty(view)
    same_file = list(_same_files(views, paths))
    for number, found in same_file:
        located[number].append(found)
    known = {(number, found.image) for number, found in same_file}
    for duplicate in find_duplicates([stats for split_stats in all_stats for stats in split_stats], splits):
        own, other = int(splits[duplicate.image]), int(splits[duplicate.first])
        image, first = duplicate.image - starts[own], duplicate.first - starts[other]
        if (own, image) not in known:
            located[own].append(_duplicate_issue(views[own], image, views[other], first, duplicate.exact))
    return located


def _paths(view: SplitView) -> list[str]:
    """File of each image; an empty list where one file holds all of them."""
    paths = [view.dataset.path(index) for index in range(len(view.dataset))]
    return paths if len(set(paths)) > 1 or len(paths) == 1 else []


def _check_names(view: SplitView, paths: Sequence[str]) -> Iterator[LocatedIssue]:
    """File names that differ only in case, so that some file systems take them for one."""
    first: dict[str, int] = {}
    for index, path in enumerate(paths):
        before = first.setdefault(path.casefold(), index)
        if paths[before] != path:
            problem = f"its name differs from {PurePath(paths[before]).name} only in case"
            remedy = "Rename one of the two: some systems take them for one file."
            where = (path, "name", problem, remedy)
            yield LocatedIssue(index, -1, Issue(*where, "warning", "image.name", view.split, path, other=paths[before]))


def _same_files(views: Sequence[SplitView], paths: Sequence[Sequence[str]]) -> Iterator[tuple[int, LocatedIssue]]:
    """Files that a split lists twice, or that two splits list."""
    first: dict[str, tuple[int, int]] = {}
    for number, view in enumerate(views):
        for index, path in enumerate(paths[number]):
            split, before = first.setdefault(path, (number, index))
            if (split, before) == (number, index):
                continue
            if split == number:
                where = (path, "image", "it is listed twice", "Take one of the two off the list.")
                issue = Issue(*where, "warning", "image.repeated", view.split, path, other=path)
            else:
                problem = f"the same file lies in '{views[split].split}'"
                issue = Issue(path, "image", problem, _LEAK, "warning", "splits.leak", view.split, path, other=path)
            yield number, LocatedIssue(index, -1, issue)


def _duplicate_issue(view: SplitView, image: int, other: SplitView, first: int, exact: bool) -> LocatedIssue:
    path, earlier = view.dataset.path(image), other.dataset.path(first)
    how = "its pixels equal those of" if exact else "it resembles"
    if view is other:
        remedy = "Check whether both are meant; remove one if not."
        problem = f"{how} {earlier}"
        issue = Issue(path, "image", problem, remedy, "warning", "image.duplicate", view.split, path, other=earlier)
    else:
        problem = f"{how} {earlier} in '{other.split}'"
        issue = Issue(path, "image", problem, _LEAK, "warning", "splits.leak", view.split, path, other=earlier)
    return LocatedIssue(image, -1, issue)


def _check_empty(view: SplitView) -> Iterator[LocatedIssue]:
    """A split in which most images have no object, which often means that labels were not found."""
    if view.boxes is None or not len(view.dataset):
        return
    empty = len(view.dataset) - len(np.unique(view.image))
    if empty > _MOSTLY * len(view.dataset):
        source = str(view.dataset.root) if isinstance(view.dataset, TableDataset) else view.dataset.info.name
        problem = f"{empty} of {len(view.dataset)} images have no object"
        remedy = "Check whether their labels are missing; if not, all is well."
        issue = Issue(source, f"split '{view.split}'", problem, remedy, "warning", "splits.mostly-empty", view.split)
        yield LocatedIssue(LAST, 0, issue)
