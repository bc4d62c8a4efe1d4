"""Faults of the files as a whole: names that clash, images listed twice, images that are alike."""

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

_LEAK = "Take it out of one of the splits: what was learnt by heart scores too well."
_MOSTLY = 0.5  # share of images without an object above which labels may be missing


def check_files(parts: Sequence[SplitView], looks: Sequence[Sequence[ImageStats]]) -> list[list[LocatedIssue]]:
    """Faults that need a view over all images, by split.

    Args:
        parts: Splits.
        looks: What their images showed.
    """
    placed: list[list[LocatedIssue]] = [[] for _ in parts]
    starts = [0, *accumulate(len(part.dataset) for part in parts)]
    splits = np.repeat(np.arange(len(parts)), np.diff(starts))
    paths = [_paths(part) for part in parts]
    for number, part in enumerate(parts):
        placed[number] += _check_names(part, paths[number])
        placed[number] += _check_empty(part)
    same_file = list(_same_files(parts, paths))
    for number, found in same_file:
        placed[number].append(found)
    known = {(number, found.image) for number, found in same_file}
    for twin in find_duplicates([look for part in looks for look in part], splits):
        own, other = int(splits[twin.image]), int(splits[twin.first])
        image, first = twin.image - starts[own], twin.first - starts[other]
        if (own, image) not in known:
            placed[own].append(_duplicate_issue(parts[own], image, parts[other], first, twin.exact))
    return placed


def _paths(part: SplitView) -> list[str]:
    """File of each image; none where one file holds all of them."""
    paths = [part.dataset.path(index) for index in range(len(part.dataset))]
    return paths if len(set(paths)) > 1 or len(paths) == 1 else []


def _check_names(part: SplitView, paths: Sequence[str]) -> Iterator[LocatedIssue]:
    """Names that some file systems take for one."""
    first: dict[str, int] = {}
    for index, path in enumerate(paths):
        before = first.setdefault(path.casefold(), index)
        if paths[before] != path:
            problem = f"its name differs from {PurePath(paths[before]).name} only in case"
            remedy = "Rename one of the two: some systems take them for one file."
            where = (path, "name", problem, remedy)
            yield LocatedIssue(index, -1, Issue(*where, "warning", "file-name", part.split, path, other=paths[before]))


def _same_files(parts: Sequence[SplitView], paths: Sequence[Sequence[str]]) -> Iterator[tuple[int, LocatedIssue]]:
    """Images that a list names twice, or two lists name."""
    first: dict[str, tuple[int, int]] = {}
    for number, part in enumerate(parts):
        for index, path in enumerate(paths[number]):
            split, before = first.setdefault(path, (number, index))
            if (split, before) == (number, index):
                continue
            if split == number:
                where = (path, "image", "it is listed twice", "Take one of the two off the list.")
                issue = Issue(*where, "warning", "repeated-image", part.split, path, other=path)
            else:
                problem = f"the same file lies in '{parts[split].split}'"
                issue = Issue(path, "image", problem, _LEAK, "warning", "leak", part.split, path, other=path)
            yield number, LocatedIssue(index, -1, issue)


def _duplicate_issue(part: SplitView, image: int, other: SplitView, first: int, exact: bool) -> LocatedIssue:
    path, twin = part.dataset.path(image), other.dataset.path(first)
    how = "its pixels equal those of" if exact else "it looks like"
    if part is other:
        remedy = "Look whether both are meant; remove one if not."
        issue = Issue(path, "image", f"{how} {twin}", remedy, "warning", "duplicate", part.split, path, other=twin)
    else:
        problem = f"{how} {twin} in '{other.split}'"
        issue = Issue(path, "image", problem, _LEAK, "warning", "leak", part.split, path, other=twin)
    return LocatedIssue(image, -1, issue)


def _check_empty(part: SplitView) -> Iterator[LocatedIssue]:
    """A split in which most images have no object, which often means that labels were not found."""
    if part.boxes is None or not len(part.dataset):
        return
    empty = len(part.dataset) - len(np.unique(part.image))
    if empty > _MOSTLY * len(part.dataset):
        source = str(part.dataset.root) if isinstance(part.dataset, TableDataset) else part.dataset.info.name
        problem = f"{empty} of {len(part.dataset)} images have no object"
        remedy = "Look whether their labels are missing; if not, all is well."
        issue = Issue(source, f"split '{part.split}'", problem, remedy, "warning", "mostly-empty", part.split)
        yield LocatedIssue(LAST, 0, issue)
