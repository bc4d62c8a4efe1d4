"""One split as the checks see it: its objects in flat arrays, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.data.check.report import Issue
from saccade.data.derived.combine import ConcatDataset
from saccade.data.tables.outlines import Outlines
from saccade.data.tables.table_dataset import TableDataset
from saccade.structures.dataset import VisionDataset
from saccade.structures.sample import Target

__all__ = ["LocatedIssue", "SplitView", "gather", "parts_of", "reads_table"]

# Where the faults of a whole split stand: behind those of its images.
LAST = 1 << 62


class LocatedIssue(NamedTuple):
    """A fault and its place in the order of the report."""

    image: int
    position: int
    issue: Issue


@dataclass
class SplitView:
    """One split.

    Args:
        dataset: The split itself.
        image: Image of each object, shape (N,), int64, rising.
        labels: (N,) int64; negative for unknown classes.
        boxes: (N, 4) xyxy pixels; None without boxes.
        keypoints: (N, K, 3); K is 0 without keypoints.
        outlines: Polygons or masks; None without.
        annotated: (height, width) of each image as the annotations say, (M, 2) int32; 0 where they do not.
        real: The same as decoded; 0 where it was not, or could not be.
    """

    dataset: VisionDataset
    image: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64] | None
    keypoints: NDArray[np.float32]
    outlines: Outlines | None
    annotated: NDArray[np.int32]
    real: NDArray[np.int32]

    @property
    def split(self) -> str:
        """Its name."""
        return self.dataset.info.split

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(height, width) of each image, as decoded if it was, else as annotated; 0 where neither is known."""
        return np.where(self.real > 0, self.real, self.annotated)

    @property
    def position(self) -> NDArray[np.int64]:
        """Place of each object in its image, (N,), int64."""
        first = np.searchsorted(self.image, np.arange(len(self.dataset)))
        places: NDArray[np.int64] = np.arange(len(self.image)) - first[self.image]
        return places

    @property
    def known_classes(self) -> tuple[str, ...]:
        """Names of labels 0..N-1 of the objects.

        Objects with keypoints are of one class; objects that are painted over a background are counted without it.
        """
        info = self.dataset.info
        if info.task == "keypoints":
            return ("object",)
        return info.class_names[1:] if info.task == "segmentation" and reads_table(self.dataset) else info.class_names

    def class_name(self, label: int) -> str:
        """Name of a label, also of an unknown one."""
        names = self.known_classes
        if 0 <= label < len(names):
            return names[label]
        return self.dataset.table.class_name(label, names) if isinstance(self.dataset, TableDataset) else str(label)

    def file(self, index: int) -> str:
        """File that holds the ground truth of an image."""
        return annotation_path(self.dataset, index)


def annotation_path(dataset: VisionDataset, index: int) -> str:
    """File that holds the ground truth of an image; the image's own where the data set knows no other."""
    return dataset.annotation_path(index) if isinstance(dataset, TableDataset) else dataset.path(index)


def parts_of(dataset: VisionDataset) -> list[VisionDataset]:
    """The splits that a data set was joined from, or the data set itself."""
    if isinstance(dataset, ConcatDataset):
        return [part for joined in dataset.parts for part in parts_of(joined)]
    return [dataset]


def reads_table(dataset: VisionDataset) -> bool:
    """Whether the ground truth of a data set is what its table says; else its targets are asked for one by one."""
    return isinstance(dataset, TableDataset) and type(dataset).target is TableDataset.target


def gather(dataset: VisionDataset, targets: Sequence[Target | None], real: NDArray[np.int32]) -> SplitView:
    """The objects of a split.

    Args:
        dataset: The split.
        targets: Its ground truth by image, None where there is none to be had; not looked at where the table says all.
        real: (height, width) as decoded, (M, 2), 0 where unknown.
    """
    if isinstance(dataset, TableDataset) and reads_table(dataset):
        table = dataset.table
        return SplitView(
            dataset, table.image_index, table.labels, table.boxes, table.keypoints, table.outlines, table.sizes, real
        )
    annotated = dataset.table.sizes if isinstance(dataset, TableDataset) else np.zeros((len(dataset), 2), np.int32)
    labels = [
        np.zeros(0, np.int64) if target is None else np.atleast_1d(target.get("labels", np.zeros(0))).astype(np.int64)
        for target in targets
    ]
    counts = [len(found) for found in labels]
    boxes = [target["boxes"] for target in targets if target is not None and "boxes" in target]
    points = [target["keypoints"] for target in targets if target is not None and "keypoints" in target]
    total = sum(counts)
    return SplitView(
        dataset,
        np.repeat(np.arange(len(dataset)), counts),
        np.concatenate([np.zeros(0, np.int64), *labels]),
        np.concatenate(boxes).astype(np.float64) if boxes else None,
        np.concatenate(points) if points else np.zeros((total, 0, 3), np.float32),
        None,
        annotated,
        real,
    )
