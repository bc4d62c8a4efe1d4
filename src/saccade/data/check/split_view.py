"""One split as the checks see it: its objects in flat arrays, whatever kind of data set it is."""

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

__all__ = ["LocatedIssue", "SplitView", "is_table_backed", "split_datasets", "view_split"]

# Position of the faults of a whole split in the report: behind those of its images.
LAST = 1 << 62


class LocatedIssue(NamedTuple):
    """A fault with its position in the report: by image, then by object (-1: the image itself)."""

    image: int
    position: int
    issue: Issue


@dataclass
class SplitView:
    """The objects of one split in flat arrays, with the annotated and the real size of each image.

    Args:
        dataset: The split itself.
        image: Image index of each object, shape (N,), int64, rising.
        labels: Class of each object, (N,) int64; negative for unknown classes.
        boxes: (N, 4) xyxy pixels; None without boxes.
        keypoints: (N, K, 3) x, y, visibility; K is 0 without keypoints.
        outlines: Polygons or masks; None without.
        annotated: (height, width) of each image in the annotations, (M, 2) int32; 0 where they hold none.
        real: The same as decoded; 0 where the image was not, or could not be, decoded.
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
        """Name of the split."""
        return self.dataset.info.split

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(height, width) of each image, as decoded if it was, else as annotated; 0 where neither is known."""
        return np.where(self.real > 0, self.real, self.annotated)

    @property
    def position(self) -> NDArray[np.int64]:
        """Index of each object within its image, (N,), int64."""
        first = np.searchsorted(self.image, np.arange(len(self.dataset)))
        position: NDArray[np.int64] = np.arange(len(self.image)) - first[self.image]
        return position

    @property
    def known_classes(self) -> tuple[str, ...]:
        """Class names of the objects, by label.

        Objects with keypoints are of one class; where objects are painted into label maps, the background is left out.
        """
        info = self.dataset.info
        if info.task == "keypoints":
            return ("object",)
        return (
            info.class_names[1:] if info.task == "segmentation" and is_table_backed(self.dataset) else info.class_names
        )

    def class_name(self, label: int) -> str:
        """Class name of a label, also of an unknown one."""
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


def split_datasets(dataset: VisionDataset) -> list[VisionDataset]:
    """Take a joined data set apart into its splits; any other is a list of itself."""
    if isinstance(dataset, ConcatDataset):
        return [part for joined in dataset.parts for part in split_datasets(joined)]
    return [dataset]


def is_table_backed(dataset: VisionDataset) -> bool:
    """Whether the annotation table is the ground truth; otherwise targets have to be read image by image."""
    return isinstance(dataset, TableDataset) and type(dataset).target is TableDataset.target


def view_split(dataset: VisionDataset, targets: Sequence[Target | None], real: NDArray[np.int32]) -> SplitView:
    """Collect the objects of a split in flat arrays, from its annotation table or from its targets.

    Args:
        dataset: The split.
        targets: Its ground truth by image, None where it could not be read; unused where there is a table.
        real: (height, width) of each image as decoded, (M, 2), 0 where unknown.

    Returns:
        The split for the checks.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> scenes = DigitScenes("detection", count=3)
        >>> view = view_split(scenes, [scenes.target(index) for index in range(3)], np.zeros((3, 2), np.int32))
        >>> view.boxes.shape, view.image
        ((12, 4), array([0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]))
    """
    if isinstance(dataset, TableDataset) and is_table_backed(dataset):
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
