"""Data set of images and one table of annotations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_image
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.outlines import mask_of_rings
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import IGNORE_LABEL, ImageInfo, Sample, Target

__all__ = ["TableDataset"]


class TableDataset:
    """Images in a folder and one :class:`AnnotationTable`; a :class:`~saccade.structures.dataset.VisionDataset`.

    Readers whose ground truth is more than boxes, labels and keypoints override :meth:`target`, those whose images are
    not files override :meth:`pixels` and :meth:`path`.

    Args:
        info: Name, task and classes.
        root: Data folder.
        table: Annotations.
        annotations: File that holds the ground truth of an image, below ``root``, for messages; ``{stem}`` is the
            image's.
        channels: Channels of the images: 3 for RGB, 1 for grey, or the number that the files have.
        allow_16bit: Give the pixels of 16-bit files as they are.
        image_root: Folder that the images' names are relative to, if it is not ``root``.
        masks: Give each object's mask as well, where the table has outlines.

    Attributes:
        repairs: How many labels and images policies left out or changed, by kind.
        left_out: Place and reason of each of them that is not there any more.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> builder = TableBuilder(["cat"])
        >>> builder.add_image("a.png", size=(40, 60))
        >>> builder.add_object("cat", (10, 5, 30, 35))
        >>> data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), Path("photos"), builder.build())
        >>> len(data), data.target(0)["boxes"]
        (1, array([[10.,  5., 30., 35.]]))
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: Path,
        table: AnnotationTable,
        annotations: str = "",
        channels: int = 3,
        allow_16bit: bool = False,
        image_root: Path | None = None,
        masks: bool = False,
    ) -> None:
        self.info = info
        self.root = Path(root)
        self.image_root = self.root if image_root is None else Path(image_root)
        self.masks = masks
        self.table = table
        self.channels = channels
        self.allow_16bit = allow_16bit
        self.repairs: dict[str, int] = {}
        self.left_out: list[tuple[str, str]] = []
        self._annotations = annotations

    def __len__(self) -> int:
        return len(self.table)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """The source's number of each image, shape (M,), int64."""
        return self.table.image_ids

    def path(self, index: int) -> str:
        """File of image ``index``."""
        return str(self.image_root / self.table.path(index))

    def annotation_path(self, index: int) -> str:
        """File that holds the ground truth of image ``index``, for messages."""
        if not self._annotations:
            return self.path(index)
        return str(self.root / self._annotations.format(stem=Path(self.table.path(index)).stem))

    def pixels(self, index: int) -> NDArray[Any]:
        """Decoded image, shape (H, W, C)."""
        return read_image(self.path(index), self.channels, self.allow_16bit)

    def target(self, index: int) -> Target:
        """Ground truth in original pixels; the arrays are the caller's own."""
        rows = self.table.objects(index)
        if self.info.task == "classification":
            return {"labels": self.table.labels[rows][0].copy()}
        if self.info.task == "segmentation":
            return {"label_map": self._label_map(index)}
        target: Target = {"labels": self.table.labels[rows].copy()}
        if self.table.keypoints.shape[1]:
            target["keypoints"] = self.table.keypoints[rows].copy()
        if self.table.boxes is not None:
            target["boxes"] = self.table.boxes[rows].copy()
            target["area"] = self.table.area[rows].copy()
            target["iscrowd"] = self.table.iscrowd[rows].copy()
        if "difficult" in self.table.extras:
            target["difficult"] = self.table.extras["difficult"][rows].astype(bool)
        if self.masks:
            target["masks"] = self.object_masks(index)
        return target

    def _label_map(self, index: int) -> NDArray[np.uint8]:
        """Objects painted from the largest to the smallest over background 0."""
        rows = self.table.objects(index)
        masks, labels, areas = self.object_masks(index), self.table.labels[rows], self.table.area[rows]
        label_map = np.zeros(self._size(index), np.uint8)
        for position in np.argsort(-areas, kind="stable"):
            label_map[masks[position] > 0] = labels[position] + 1 if labels[position] >= 0 else IGNORE_LABEL
        return label_map

    def object_masks(self, index: int) -> NDArray[np.uint8]:
        """One mask an object of image ``index``, (N, H, W) of 0 and 1; of an object without outline, its box.

        Raises:
            DataError: If an outline is malformed.
        """
        assert self.table.outlines is not None, "the reader gave no outlines"
        height, width = self._size(index)
        rows = range(*self.table.objects(index).indices(len(self.table.labels)))
        masks = np.zeros((len(rows), height, width), np.uint8)
        position = 0
        try:
            for position, row in enumerate(rows):
                if self.table.boxes is not None and self.table.outlines.is_empty(row):
                    x1, y1, x2, y2 = self.table.boxes[row].astype(np.float64)
                    ring = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
                    masks[position] = mask_of_rings([ring], [False], height, width)
                else:
                    masks[position] = self.table.outlines.mask(row, height, width)
        except ValueError as error:
            raise DataError(
                f"{self.annotation_path(index)}: the outline of object {position} of {self.table.path(index)} "
                f"is malformed ({error}). Correct it, set bad_labels to 'drop', or write a corrected copy "
                "(saccade check DATA --repair OUT)."
            ) from error
        return masks

    def _size(self, index: int) -> tuple[int, int]:
        """(height, width) as annotated, or of the image itself."""
        height, width = self.table.sizes[index].tolist()
        if not (height and width):
            height, width = self.pixels(index).shape[:2]
        return height, width

    def read(self, index: int) -> Sample:
        """Image ``index`` and its ground truth."""
        image = self.pixels(index)
        info = ImageInfo(
            int(self.image_ids[index]), self.path(index), Geometry.identity((image.shape[0], image.shape[1]))
        )
        return Sample(image, self.target(index), info)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the objects' labels, where class names are those of points, or begin with background."""
        if self.info.task == "keypoints":
            return self.info.object_names or ("object",)
        painted = self.info.task == "segmentation" and type(self).target is TableDataset.target
        return self.info.class_names[1:] if painted else self.info.class_names

    @property
    def fills_outlines(self) -> bool:
        """Whether the ground truth is painted from outlines, so that a malformed one stops the reading."""
        painted = self.info.task == "segmentation" or self.masks
        return painted and self.table.outlines is not None and type(self)._label_map is TableDataset._label_map

    @property
    def rectangles(self) -> int:
        """How many objects have their box for a mask, as they have no outline."""
        outlines = self.table.outlines
        if not self.fills_outlines or outlines is None or self.table.boxes is None:
            return 0
        return int((~outlines.has_rings() & ~outlines.has_runs()).sum())

    def with_table(
        self,
        table: AnnotationTable,
        repairs: dict[str, int] | None = None,
        left_out: Sequence[tuple[str, str]] = (),
    ) -> TableDataset:
        """The same data set over another table; this one is not changed.

        Args:
            table: The other table.
            repairs: What was changed, by kind; that of this data set if not given.
            left_out: Place and reason of what the other table lacks, added to that of this data set.
        """
        clone = copy.copy(self)
        clone.table = table
        clone.repairs = dict(self.repairs if repairs is None else repairs)
        clone.left_out = [*self.left_out, *left_out]
        return clone
