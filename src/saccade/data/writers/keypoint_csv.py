"""Keypoint CSV: ``<split>.csv`` for the images in ``<split>/``, and ``saccade.yaml`` with the points' names.

A row is an object: file name, then x and y of each point; cells of a point that is not labelled are empty. The table
cannot hold whether a point is hidden, nor boxes, outlines, classes, attributes and images without objects; what is lost
is counted.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport
from saccade.data.writers._images import drop_attributes, write_images, write_options
from saccade.data.writers._objects import drop_skeleton
from saccade.errors import DataError
from saccade.structures.files import write_text

__all__ = ["TASKS", "write"]

TASKS = ("keypoints",)


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    """Write one split as a table of keypoints.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits, of the same points.
        split: Name of the split.
        images: ``copy``, ``link`` or ``none``.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, no object has a labelled point, or the points are not those of the splits
            written before.
    """
    names, table = dataset.info.class_names, dataset.table
    options = {"class_names": list(names), "flip_pairs": [list(pair) for pair in dataset.info.flip_pairs]}
    labelled: NDArray[np.bool_] = np.asarray((table.keypoints[..., 2] > 0).any(axis=1))
    shown = [index for index in range(len(dataset)) if labelled[table.objects(index)].any()]
    if not shown:
        raise DataError(f"{dataset.info.name} ({split}): no object has a labelled point, so there is nothing to write.")
    write_options(folder, {"format": "keypoint_csv", **options}, report)
    written = write_images(dataset, folder / split, images, report, _names(dataset, shown))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", *(f"{name}_{axis}" for name in names for axis in "xy")])
    for index, name in written.items():
        rows = table.objects(index)
        for points, keep in zip(table.keypoints[rows], labelled[rows], strict=True):
            if keep:
                writer.writerow([name, *(cell for x, y, seen in points for cell in _cells(x, y, seen))])
    write_text(folder / f"{split}.csv", stream.getvalue())
    _count_losses(dataset, labelled, len(shown), report)


def _cells(x: np.float32, y: np.float32, visibility: np.float32) -> tuple[str, str]:
    """Both coordinates with the fewest digits that give the same number again."""
    if visibility <= 0:
        return "", ""
    return np.format_float_positional(x, trim="-"), np.format_float_positional(y, trim="-")


def _names(dataset: TableDataset, indices: list[int]) -> dict[int, str]:
    names = {index: PurePosixPath(dataset.table.path(index)).name for index in indices}
    counts = Counter(name.casefold() for name in names.values())
    return {index: name if counts[name.casefold()] == 1 else f"{index}_{name}" for index, name in names.items()}


def _count_losses(dataset: TableDataset, labelled: NDArray[np.bool_], shown: int, report: LossReport) -> None:
    table = dataset.table
    visibility = table.keypoints[labelled][..., 2]
    report.keep("objects", int(labelled.sum()))
    report.drop("objects", "none of their points is labelled", int((~labelled).sum()))
    report.drop("images", "a row of the table is an object, and they have none", len(dataset) - shown)
    report.keep("keypoints", int((visibility > 1).sum()))
    report.change("keypoints", "hidden points become visible ones", int(((visibility > 0) & (visibility <= 1)).sum()))
    if table.boxes is not None:
        report.drop("boxes", "the table has points only", int(labelled.sum()))
    if table.outlines is not None:
        report.drop("polygons", "the table has points only", int(table.outlines.has_rings().sum()))
        report.drop("masks", "the table has points only", int(table.outlines.has_runs().sum()))
    drop_skeleton(dataset, report)
    drop_attributes(dataset, report)
