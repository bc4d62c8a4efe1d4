"""All checks of a data set, in order; the splits of a source are looked at together, so that leaks are seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.check.classes import check_classes
from saccade.data.check.files import check_files
from saccade.data.check.images import ImageStats, Progress, check_images, look_at_all
from saccade.data.check.objects import check_objects
from saccade.data.check.report import CheckReport, Issue
from saccade.data.check.split_view import LocatedIssue, SplitView, gather, parts_of, reads_table
from saccade.data.check.statistics import SplitStatistics
from saccade.data.derived.combine import without_unions
from saccade.data.open import open_raw, resolve_source, split_names
from saccade.data.tables.faults import box_faults
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset

__all__ = ["check_dataset", "check_parts", "check_source", "source_splits"]

_GENERATED = "digit_scenes"  # made on the fly; it has splits, but no folder that could name them


def check_source(
    source: str | Path,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    images: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> CheckReport:
    """Look through a data set on disk, all of its splits unless some are named.

    A split that cannot be opened is a fault in the report, and the others are looked at all the same.

    Args:
        source: Name in the catalogue, or a folder.
        split: Parts, joined by ``+``; all that the source has if not given.
        format: Reader; found by looking if not given.
        task: Which ground truth to read, where there are several.
        images: Also decode every image, which finds broken files, wrong sizes and copies.
        progress: Wraps the images of a split, given their number, to show a bar.
        **options: Of the reader.

    Raises:
        DataError: If there is no such source, format or option.
    """
    names = source_splits(source, split, format, **options)
    opened = [_open(source, name, format, task, options) for name in names]
    parts = [part for part in opened if not isinstance(part, Issue)]
    broken = [part for part in opened if isinstance(part, Issue)]
    if split is None:
        parts = without_unions(parts)
    if not parts:
        return CheckReport(f"{source} ({'+'.join(names)})", broken, images_checked=images)
    report = check_parts(parts, images, progress)
    report.issues += broken
    return report


def source_splits(source: str | Path, split: str | None, format: str | None, **options: Any) -> list[str]:
    """Names of the splits to look at.

    Args:
        source: Name in the catalogue, or a folder.
        split: Parts, joined by ``+``; all that the source has if not given.
        format: Reader; found by looking if not given.
        **options: Of the reader.

    Raises:
        DataError: If there is no such source, format or option.
    """
    if split is not None:
        return [name.strip() for name in split.split("+")]
    if source == _GENERATED:
        return ["train", "val", "test"]
    return list(split_names(resolve_source(source, format, **options)))


def check_dataset(dataset: VisionDataset, images: bool = True, progress: Progress | None = None) -> CheckReport:
    """Look through every image and its ground truth.

    Args:
        dataset: As :func:`saccade.data.open.open_raw` gives it: a label policy would have removed what is looked for.
        images: Also decode every image, which finds broken files, wrong sizes and copies.
        progress: Wraps the images of a split, given their number, to show a bar.

    Returns:
        Counts and issues.
    """
    return check_parts(parts_of(dataset), images, progress)


def check_parts(
    datasets: Sequence[VisionDataset], images: bool = True, progress: Progress | None = None
) -> CheckReport:
    """Look through the splits of one data set; their classes may differ, which is a fault.

    Args:
        datasets: The splits, at least one.
        images: Also decode every image.
        progress: Wraps the images of a split, given their number, to show a bar.
    """
    info = datasets[0].info
    name = f"{info.name} ({'+'.join(dataset.info.split for dataset in datasets)}), {info.task}"
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.info.class_names))
    report = CheckReport(name, class_names=names, images_checked=images)
    parts: list[SplitView] = []
    looks: list[list[ImageStats]] = []
    for dataset in datasets:
        looks.append(look_at_all(dataset, images, progress))
        real = np.array([look.size for look in looks[-1]], np.int32).reshape(-1, 2)
        parts.append(gather(dataset, [look.target for look in looks[-1]], real))
        report.splits.append(_count(parts[-1], looks[-1]))
    for part, seen, found in zip(parts, looks, check_files(parts, looks), strict=True):
        placed: list[LocatedIssue] = [*check_objects(part), *check_images(part, seen), *found]
        report.issues += [fault.issue for fault in sorted(placed, key=lambda fault: fault[:2])]
    report.issues += check_classes(parts, report.splits)
    return report


def _count(part: SplitView, looks: Sequence[ImageStats]) -> SplitStatistics:
    dataset, names = part.dataset, part.dataset.info.class_names
    statistics = SplitStatistics(part.split, len(dataset), len(part.labels))
    counts: Counter[str] = Counter(dict.fromkeys(names, 0))
    maps = any(look.map_size is not None for look in looks)
    has_objects = part.boxes is not None or part.keypoints.shape[1] > 0
    if maps:
        counts.update(names[label] for look in looks for label in look.present if label < len(names))
        statistics.objects = 0
    elif part.keypoints.shape[1]:
        labelled = (part.keypoints[..., 2] > 0).sum(axis=0).tolist()
        counts.update(dict(zip(names, labelled, strict=False)))
    elif dataset.info.task == "segmentation" and reads_table(dataset):
        # Outlines are painted over background 0, so label v is class v + 1; counted are images that show a class.
        known = part.labels >= 0
        pairs = np.unique(np.column_stack([part.image[known], part.labels[known]]), axis=0)
        counts[names[0]] = len(dataset)
        counts.update(names[label + 1] for label in pairs[:, 1].tolist() if label + 1 < len(names))
    else:
        known = (part.labels >= 0) & (part.labels < len(names))
        totals = np.bincount(part.labels[known], minlength=len(names)).tolist()
        counts.update(dict(zip(names, totals, strict=False)))
    statistics.class_counts = dict(counts)
    if has_objects and not maps:
        filled = np.zeros(len(dataset), np.bool_)
        filled[part.image] = True
        if not reads_table(dataset):  # where the ground truth could not be read, nothing is said
            filled |= np.array([look.target is None for look in looks], np.bool_)
        statistics.empty = [dataset.path(index) for index in np.flatnonzero(~filled).tolist()]
    if part.boxes is not None:
        sizes = part.sizes[part.image]
        bad = np.logical_or.reduce(list(box_faults(part.boxes, sizes).values()))
        statistics.sides = part.boxes[~bad, 2:] - part.boxes[~bad, :2]
        sized = sizes[~bad].all(axis=1)
        statistics.shares = statistics.sides[sized] / sizes[~bad][sized][:, ::-1]
    return statistics


def _open(
    source: str | Path, name: str, format_name: str | None, task: str | None, options: Mapping[str, Any]
) -> VisionDataset | Issue:
    """A split, or what is wrong with it."""
    try:
        return open_raw(source, name, format=format_name, task=task, **options)
    except DataError as error:
        problem, _, remedy = " ".join(str(error).split()).partition(". ")
        file, found, rest = problem.partition(": ")
        where = (file, f"split '{name}'", rest) if found else (str(source), f"split '{name}'", problem)
        return Issue(*where, remedy or "Correct it, or leave the split out.", "error", "split", name)
