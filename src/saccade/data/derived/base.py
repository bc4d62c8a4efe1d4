"""Base of data sets that are made of another one, image for image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saccade.structures.dataset import DatasetInfo, VisionDataset, draw
from saccade.structures.sample import Sample, Target

__all__ = ["DerivedDataset", "image_ids_of"]


class DerivedDataset:
    """Base of data sets made of another one, image for image: what a subclass does not change is the other's.

    A subclass says by :meth:`source` which image that is, by :meth:`changed_target` what becomes of the ground truth,
    and by :meth:`changed` what becomes of an image with it, whether it is read or drawn for training.

    Args:
        dataset: The other data set.
        info: Description of the new one; the other's if not given.

    Attributes:
        repairs: What was repaired in the other data set, by kind.
        left_out: What was left out of it, with the reason.
        channels: Of its images as they are decoded.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> class Dark(DerivedDataset):
        ...     def changed(self, sample, index):
        ...         return replace(sample, image=sample.image // 4)
        >>> scenes = DigitScenes("detection", "val", count=2, size=(64, 64))
        >>> dark = Dark(scenes)
        >>> len(dark), dark.path(1), np.array_equal(dark.read(1).image, scenes.read(1).image // 4)
        (2, 'digit_scenes/val/00001', True)
    """

    def __init__(self, dataset: VisionDataset, info: DatasetInfo | None = None) -> None:
        self.dataset = dataset
        self.info = dataset.info if info is None else info
        self.repairs: dict[str, int] = dict(getattr(dataset, "repairs", {}))
        self.left_out: list[tuple[str, str]] = list(getattr(dataset, "left_out", ()))
        self.channels: int = getattr(dataset, "channels", 3)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """Number of each image, shape (M,), int64."""
        return image_ids_of(self.dataset)

    def path(self, index: int) -> str:
        """File of image ``index``."""
        return self.dataset.path(self.source(index))

    def annotation_path(self, index: int) -> str:
        """File that holds the ground truth of image ``index``, for messages."""
        return str(getattr(self.dataset, "annotation_path", self.dataset.path)(self.source(index)))

    def target(self, index: int) -> Target:
        """The ground truth in original pixels."""
        return self.changed_target(self.dataset.target(self.source(index)), index)

    def read(self, index: int) -> Sample:
        """Image and ground truth of ``index``."""
        return self.changed(self.dataset.read(self.source(index)), index)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """The same for training (:func:`saccade.structures.dataset.draw`)."""
        return self.changed(draw(self.dataset, self.source(index), rng), index)

    def source(self, index: int) -> int:
        """Image of the other data set that ``index`` shows: the same one."""
        return index

    def changed_target(self, target: Target, index: int) -> Target:
        """Ground truth of ``index``, made of the other's: the same."""
        return target

    def changed(self, sample: Sample, index: int) -> Sample:
        """Image and ground truth of ``index``, made of the other's: the same image with its ground truth changed."""
        return replace(sample, target=self.changed_target(sample.target, index))


def image_ids_of(dataset: VisionDataset) -> NDArray[np.int64]:
    """Number of each image, (M,): the data set's own, else its position.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> image_ids_of(DigitScenes("detection", "val", count=3))
        array([0, 1, 2])
    """
    ids = getattr(dataset, "image_ids", None)
    return np.arange(len(dataset)) if ids is None else np.asarray(ids, np.int64)
