"""All checks of a data set in order; the splits of a source are checked together, so that leaks are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.check.classes import check_classes
from saccade.data.check.files import check_files
from saccade.data.check.images import ImageStats, Progress, check_images, collect_stats
from saccade.data.check.objects import check_objects
from saccade.data.check.report import CheckReport, Issue
from saccade.data.check.split_view import LocatedIssue, SplitView, is_table_backed, split_datasets, view_split
from saccade.data.check.statistics import SplitStatistics
from saccade.data.derived.combine import without_unions
from saccade.data.open import GENERATED, GENERATED_SPLITS, open_raw, resolve_source, split_names
from saccade.data.readers._common import unread_files
from saccade.data.tables.annotations import ReadFault
from saccade.data.tables.content import content_faults, count_content
from saccade.data.tables.faults import box_faults
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset

__all__ = ["check_dataset", "check_source", "check_splits", "source_splits"]

_UNREAD = "files.unread"


def check_source(
    source: str | Path,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    images: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> CheckReport:
    """Check a data set on disk, all of its splits unless some are named.

    A split that cannot be opened is a fault in the report, and the others are checked all the same.

    Args:
        source: Name in the catalogue, or a folder.
        split: Splits, joined by ``+``; all that the source has if not given.
        format: Reader; found automatically if not given.
        task: Task whose ground truth is read, where the source has several.
        images: Also decode every image, which finds broken files, wrong sizes and duplicates.
        progress: Wraps the images of a split, given their number, to show a bar.
        **options: Options of the reader.

    Returns:
        Statistics of the splits and all issues.

    Raises:
        DataError: If there is no such source, format or option.

    Example:
        >>> print(check_source("digit_scenes", split="val", images=False).to_text().splitlines()[0])
        digit_scenes (val), detection
    """
    found = None if source == GENERATED else resolve_source(source, format, **options)
    try:
        names = source_splits(source, split, format, task=task, **options)
    except DataError as error:  # the source is there, but not what would name its splits
        return CheckReport(str(source), [_issue_of(error, str(source), "splits", "")], images_checked=images)
    unread = [] if found is None else _check_unread(found.root)
    opened = [_open(source, name, format, task, options) for name in names]
    splits = [entry for entry in opened if not isinstance(entry, Issue)]
    broken = [entry for entry in opened if isinstance(entry, Issue)]
    if split is None:
        splits = without_unions(splits)
    if not splits:
        return CheckReport(f"{source} ({'+'.join(names)})", broken + unread, images_checked=images)
    report = check_splits(splits, images, progress)
    report.issues += broken + unread
    return report


def source_splits(source: str | Path, split: str | None, format: str | None, **options: Any) -> list[str]:
    """List the names of the splits to check.

    Args:
        source: Name in the catalogue, or a folder.
        split: Splits, joined by ``+``; all that the source has if not given.
        format: Reader; found automatically if not given.
        **options: Options of the reader, and ``task``, which helps to find the format.

    Returns:
        Names of splits, in the order of the source or as given.

    Raises:
        DataError: If there is no such source, format or option.

    Example:
        >>> source_splits("digit_scenes", None, None)
        ['train', 'val', 'test']
        >>> source_splits("mnist", "train+test", None)
        ['train', 'test']
    """
    if split is not None:
        return [name.strip() for name in split.split("+")]
    if source == GENERATED:
        return list(GENERATED_SPLITS)
    return list(split_names(resolve_source(source, format, **options)))


def check_dataset(dataset: VisionDataset, images: bool = True, progress: Progress | None = None) -> CheckReport:
    """Check every image of a data set and its ground truth.

    Args:
        dataset: As :func:`saccade.data.open.open_raw` gives it: a label policy would have removed the faults.
        images: Also decode every image, which finds broken files, wrong sizes and duplicates.
        progress: Wraps the images of a split, given their number, to show a bar.

    Returns:
        Statistics of the splits and all issues.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> report = check_dataset(DigitScenes("classification", "val", count=20))
        >>> report.ok, report.images, report.class_counts["7"]
        (True, 20, 2)
    """
    return check_splits(split_datasets(dataset), images, progress)


def check_splits(
    datasets: Sequence[VisionDataset], images: bool = True, progress: Progress | None = None
) -> CheckReport:
    """Check the splits of one data set together; differing classes and shared images are faults.

    Args:
        datasets: The splits, at least one.
        images: Also decode every image.
        progress: Wraps the images of a split, given their number, to show a bar.

    Returns:
        Statistics of the splits and all issues.
    """
    info = datasets[0].info
    name = f"{info.name} ({'+'.join(dataset.info.split for dataset in datasets)}), {info.task}"
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.info.class_names))
    report = CheckReport(name, class_names=names, images_checked=images)
    views: list[SplitView] = []
    all_stats: list[list[ImageStats]] = []
    for dataset in datasets:
        split_stats = collect_stats(dataset, images, progress)
        real = np.array([stats.size for stats in split_stats], np.int32).reshape(-1, 2)
        all_stats.append(split_stats)
        views.append(view_split(dataset, [stats.target for stats in split_stats], real))
        report.splits.append(_count(views[-1], split_stats))
    for view, split_stats, from_files in zip(views, all_stats, check_files(views, all_stats), strict=True):
        located: list[LocatedIssue] = [*check_objects(view), *check_images(view, split_stats), *from_files]
        report.issues += [entry.issue for entry in sorted(located, key=lambda entry: entry[:2])]
    report.issues += check_classes(views, report.splits)
    report.issues += _check_reading(datasets)
    report.issues += _check_content(views, all_stats, report.splits)
    return report


def _check_reading(datasets: Sequence[VisionDataset]) -> Iterator[Issue]:
    """What the readers read past; a file that several splits share is reported once."""
    seen: set[ReadFault] = set()
    for dataset in datasets:
        for fault in dataset.table.faults if isinstance(dataset, TableDataset) else ():
            if fault in seen:
                continue
            seen.add(fault)
            problem, _, remedy = fault.message.partition(". ")
            file, _, field = fault.where.partition(": ")
            remedy = remedy or "Correct it, or leave it out (data.bad_labels=drop)."
            yield Issue(file, field or "file", problem.rstrip("."), remedy, "error", fault.code, dataset.info.split)


def _check_unread(root: Path) -> list[Issue]:
    """Files that are, or look like, images and are not read because of their suffix."""
    if not root.is_dir():
        return []
    remedy = "Convert or rename them, or remove them from the folder."
    problem = "{} of its files ({}) {} not read"
    return [
        Issue(
            str(root), "files", problem.format(count, suffix, "is" if count == 1 else "are"), remedy, "warning", _UNREAD
        )
        for suffix, count in sorted(unread_files(root).items())
    ]


def _check_content(
    views: Sequence[SplitView], all_stats: Sequence[Sequence[ImageStats]], splits: Sequence[SplitStatistics]
) -> Iterator[Issue]:
    """Whether there is anything at all to learn from, label maps included."""
    contents = []
    for view, split_stats, statistics in zip(views, all_stats, splits, strict=True):
        content = count_content(view.dataset)
        shown = [stats for stats in split_stats if stats.map_size is not None]
        if shown and view.dataset.info.task == "segmentation":
            names = view.dataset.info.class_names
            used = frozenset(name for name, count in statistics.class_counts.items() if count and name in names)
            objects = sum(any(_is_class(names, label) for label in stats.present) for stats in shown)
            content = replace(content, objects=objects, classes=used)
        contents.append(content)
    for split, fault in content_faults(contents):
        problem, _, remedy = fault.message.partition(". ")
        yield Issue(
            fault.where, f"split '{split}'" if split else "objects", problem, remedy, "error", fault.code, split
        )


def _is_class(names: Sequence[str], label: int) -> bool:
    return label >= len(names) or names[label].lower() != "background"


def _count(view: SplitView, split_stats: Sequence[ImageStats]) -> SplitStatistics:
    """Statistics of a split: objects by class, images without objects, sizes of sound boxes."""
    dataset, names = view.dataset, view.dataset.info.class_names
    result = SplitStatistics(view.split, len(dataset), len(view.labels))
    counts: Counter[str] = Counter(dict.fromkeys(names, 0))
    has_maps = any(stats.map_size is not None for stats in split_stats)
    has_objects = view.boxes is not None or view.keypoints.shape[1] > 0
    if has_maps:
        counts.update(names[label] for stats in split_stats for label in stats.present if label < len(names))
        result.objects = 0
    elif view.keypoints.shape[1]:
        labelled = (view.keypoints[..., 2] > 0).sum(axis=0).tolist()
        counts.update(dict(zip(names, labelled, strict=False)))
    elif dataset.info.task == "segmentation" and is_table_backed(dataset):
        # Outlines are painted over background 0, so label v is class v + 1; images that show a class are counted.
        known = view.labels >= 0
        pairs = np.unique(np.column_stack([view.image[known], view.labels[known]]), axis=0)
        counts[names[0]] = len(dataset)
        counts.update(names[label + 1] for label in pairs[:, 1].tolist() if label + 1 < len(names))
    else:
        known = (view.labels >= 0) & (view.labels < len(names))
        totals = np.bincount(view.labels[known], minlength=len(names)).tolist()
        counts.update(dict(zip(names, totals, strict=False)))
    result.class_counts = dict(counts)
    if has_objects and not has_maps:
        filled = np.zeros(len(dataset), np.bool_)
        filled[view.image] = True
        if not is_table_backed(dataset):  # an unreadable ground truth is reported elsewhere
            filled |= np.array([stats.target is None for stats in split_stats], np.bool_)
        result.empty = [dataset.path(index) for index in np.flatnonzero(~filled).tolist()]
    if view.boxes is not None:
        sizes = view.sizes[view.image]
        bad = np.logical_or.reduce(list(box_faults(view.boxes, sizes).values()))
        result.sides = view.boxes[~bad, 2:] - view.boxes[~bad, :2]
        sized = sizes[~bad].all(axis=1)
        result.shares = result.sides[sized] / sizes[~bad][sized][:, ::-1]
    return result


def _open(
    source: str | Path, name: str, format_name: str | None, task: str | None, options: Mapping[str, Any]
) -> VisionDataset | Issue:
    """Open a split; an issue if it cannot be opened."""
    try:
        return open_raw(source, name, format=format_name, task=task, **options)
    except DataError as error:
        return _issue_of(error, str(source), f"split '{name}'", name)


def _issue_of(error: DataError, source: str, field: str, split: str) -> Issue:
    """An error of opening as an issue; its message is "file: problem. Remedy."."""
    problem, _, remedy = " ".join(str(error).split()).partition(". ")
    file, found, rest = problem.partition(": ")
    where = (file, field, rest) if found else (source, field, problem)
    phrases = {
        "has no images": "splits.empty",
        "there is nothing in format": "splits.none",
        "holds colours": "maps.colours",
    }
    code = next((code for phrase, code in phrases.items() if phrase in problem), "splits.unreadable")
    return Issue(*where, remedy or "Correct it, or leave the split out.", "error", code, split)
