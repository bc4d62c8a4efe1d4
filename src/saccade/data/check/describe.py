"""Description of a data set: source, licence, splits, objects and classes, counted without decoding the images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.catalogue.catalogue import CATALOGUE, is_present
from saccade.data.open import open_raw, resolve_source, split_names
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError, did_you_mean
from saccade.structures.dataset import VisionDataset

__all__ = ["DatasetDescription", "SplitDescription", "describe_dataset"]


@dataclass(frozen=True)
class SplitDescription:
    """Counts of one split of a data set.

    Args:
        split: Name of the split.
        images: Number of images.
        objects: Number of annotated objects; 0 where the ground truth is not a list of objects.
        class_counts: Objects by class; for label maps images that show the class, for keypoints labelled points.
    """

    split: str
    images: int
    objects: int
    class_counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetDescription:
    """Description of a data set of the catalogue or of one's own.

    Args:
        name: Name in the catalogue, or of its folder.
        task: Task it is opened for.
        format: Format it is read in.
        licence: Licence as its source states it; empty for a data set of one's own.
        url: Page that describes its source.
        folder: Folder of its files; None if it is not on this machine, or made on the fly.
        download_size: Bytes to download; None where nothing can be downloaded.
        description: One line about its content.
        splits: Counts of each split; empty if it is not on this machine.
    """

    name: str
    task: str
    format: str
    licence: str
    url: str | None
    folder: Path | None
    download_size: int | None
    description: str
    splits: tuple[SplitDescription, ...]

    def to_json(self) -> dict[str, Any]:
        """Description as plain values for JSON."""
        return {
            **{name: getattr(self, name) for name in ("name", "task", "format", "licence", "url", "download_size")},
            "folder": None if self.folder is None else str(self.folder),
            "description": self.description,
            "splits": [vars(split) for split in self.splits],
        }


def describe_dataset(source: str | Path) -> DatasetDescription:
    """Describe a data set: task, format, licence, and the counts of its splits if it is on this machine.

    Args:
        source: Name in the catalogue, or a path.

    Raises:
        DataError: If there is none of that name, or it cannot be read.

    Example:
        >>> description = describe_dataset("digit_scenes")
        >>> description.task, [(split.split, split.images) for split in description.splits]
        ('detection', [('train', 2000), ('val', 200), ('test', 200)])
    """
    entry = CATALOGUE.get(source) if isinstance(source, str) else None
    if entry is None:
        if not Path(source).expanduser().exists():
            raise DataError(
                f"'{source}' is neither a data set of the catalogue nor a path.{did_you_mean(str(source), CATALOGUE)}"
            )
        found = resolve_source(source)
        splits = _splits(source, split_names(found))
        task = open_raw(source, splits[0].split).info.task
        return DatasetDescription(found.root.name, task, found.format, "", None, found.root, None, "", splits)
    here = is_present(entry.name)
    return DatasetDescription(
        name=entry.name,
        task=entry.task,
        format=entry.reader,
        licence=entry.licence,
        url=entry.url,
        folder=resolve_source(entry.name).root if here and entry.reader != "generated" else None,
        download_size=entry.size,
        description=entry.description,
        splits=_splits(entry.name, entry.splits) if here else (),
    )


def _splits(source: str | Path, names: tuple[str, ...]) -> tuple[SplitDescription, ...]:
    return tuple(_count(open_raw(source, name), name) for name in names)


def _count(dataset: VisionDataset, split: str) -> SplitDescription:
    if not isinstance(dataset, TableDataset):
        return SplitDescription(split, len(dataset), 0)
    names, table = dataset.info.class_names, dataset.table
    if dataset.info.task == "segmentation":
        shown = np.zeros(256, np.int64)
        for index in range(len(dataset)):
            shown[np.unique(dataset.target(index)["label_map"])] += 1
        counts = shown[: len(names)]
    elif dataset.info.task == "keypoints":
        counts = (table.keypoints[..., 2] > 0).sum(axis=0)
    else:
        counts = np.bincount(table.labels[table.labels >= 0], minlength=len(names))
    objects = 0 if dataset.info.task == "segmentation" else len(table.labels)
    return SplitDescription(split, len(dataset), objects, dict(zip(names, counts.tolist(), strict=False)))
