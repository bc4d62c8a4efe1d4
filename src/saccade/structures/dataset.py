"""Protocol of data sets: images with their ground truth, by index, and the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from saccade.structures.point_layout import PointLayout
from saccade.structures.sample import Sample, Target

__all__ = ["DatasetInfo", "DrawingDataset", "VisionDataset", "draw"]


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a data set for models, evaluators and drawings: task, classes and split.

    Args:
        name: Short name for tables.
        task: ``classification``, ``detection``, ``segmentation``, ``keypoints`` or ``translation``.
        class_names: Names of labels 0..N-1 (for keypoints: of the points). Background is not one of them.
        split: Name of the split.
        flip_pairs: Pairs of keypoints that a mirror exchanges.
        category_ids: The source's own ids of the classes, where it has them (COCO's have gaps).
        object_names: Names of the labels of objects with keypoints, as ``class_names`` names the points there.
        point_names: Names of the keypoints of objects where ``class_names`` names the objects (detection).
        skeleton: Pairs of keypoints that a limb joins.
        object_crops: How many times as large as an object's box the crops are that the images show; 0: whole images.

    Example:
        >>> info = DatasetInfo("pets", "classification", ("cat", "dog"), split="val")
        >>> len(info.class_names)
        2
    """

    name: str
    task: str
    class_names: tuple[str, ...]
    split: str = "train"
    flip_pairs: tuple[tuple[int, int], ...] = ()
    category_ids: tuple[int, ...] = field(default=())
    object_names: tuple[str, ...] = field(default=())
    point_names: tuple[str, ...] = field(default=())
    skeleton: tuple[tuple[int, int], ...] = field(default=())
    object_crops: float = 0.0

    @property
    def points(self) -> PointLayout:
        """Names, left and right pairs, and skeleton of the keypoints; empty where the data have none."""
        names = self.class_names if self.task == "keypoints" else self.point_names
        object_name = self.object_names[0] if len(self.object_names) == 1 else ""
        return PointLayout(names, self.flip_pairs, self.skeleton, object_name) if names else PointLayout()


@runtime_checkable
class VisionDataset(Protocol):
    """Protocol of data sets, which every reader implements: images with their ground truth, by index.

    Annotations live in a few arrays, so that loader workers share them.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> data: VisionDataset = DigitScenes("detection", "train")
        >>> len(data), data.info.task, data.read(0).image.shape
        (2000, 'detection', (256, 256, 3))
    """

    info: DatasetInfo

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample:
        """Decode image ``index`` (EXIF orientation applied) with its target in original pixels."""
        ...

    def target(self, index: int) -> Target:
        """Read the ground truth alone, in original pixels, without decoding the photograph."""
        ...

    def path(self, index: int) -> str:
        """File of image ``index`` for messages."""
        ...


@runtime_checkable
class DrawingDataset(VisionDataset, Protocol):
    """Protocol of data sets in which chance decides what goes with an image: another one of the other domain."""

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """Read image ``index`` for training, with what goes with it drawn anew."""
        ...


def draw(dataset: VisionDataset, index: int, rng: np.random.Generator) -> Sample:
    """Read an image for training: drawn anew where the data set does so, else as it is always read.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> draw(DigitScenes("detection", "train"), 0, np.random.default_rng(0)).image.shape
        (256, 256, 3)
    """
    return dataset.draw(index, rng) if isinstance(dataset, DrawingDataset) else dataset.read(index)
