"""Every class of a data set in four orientations, each a class of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import Sample, Target

__all__ = ["RotatedClasses"]

_TURNS = 4


class RotatedClasses:
    """Data set with four times the classes and images: each also turned by 90, 180 and 270 degrees, as new classes.

    The augmentation of few-shot learning on Omniglot (Santoro et al. 2016; Snell et al. 2017, section 3.1): a turned
    character is another character. Image ``i`` turned by ``k`` quarters counter-clockwise is number ``4 i + k``.

    Args:
        dataset: Images with one class each.

    Raises:
        ConfigError: If it is not read for classification.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> digits = DigitScenes("classification", "train", count=3, size=(32, 32))
        >>> turned = RotatedClasses(digits)
        >>> len(turned), turned.info.class_names[:5], turned.target(5)["labels"] - 4 * digits.target(1)["labels"]
        (12, ('0', '0 turned 90', '0 turned 180', '0 turned 270', '1'), np.int64(1))
        >>> np.array_equal(turned.read(5).image, np.rot90(digits.read(1).image))
        True
    """

    def __init__(self, dataset: VisionDataset) -> None:
        if dataset.info.task != "classification":
            raise ConfigError(
                f"data.rotate_classes needs images with one class each; '{dataset.info.name}' is read for "
                f"{dataset.info.task}. Set it to false."
            )
        names = tuple(
            f"{name} turned {90 * turn}" if turn else name for name in dataset.info.class_names for turn in range(4)
        )
        self.info = replace(dataset.info, class_names=names, category_ids=())
        self._dataset = dataset

    def __len__(self) -> int:
        return _TURNS * len(self._dataset)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """Number of each image, shape (M,), int64."""
        return np.arange(len(self))

    def path(self, index: int) -> str:
        """File of image ``index``, in whatever orientation."""
        return self._dataset.path(index // _TURNS)

    def target(self, index: int) -> Target:
        """``labels`` () int64: four times the class, plus the quarter turns."""
        return self._turned(self._dataset.target(index // _TURNS), index % _TURNS)

    def read(self, index: int) -> Sample:
        """Image ``index``, turned, and its class."""
        sample, turn = self._dataset.read(index // _TURNS), index % _TURNS
        image = np.ascontiguousarray(np.rot90(sample.image, turn))
        info = replace(sample.info, image_id=index, geometry=Geometry.identity(image.shape[:2]))
        return Sample(image, self._turned(sample.target, turn), info, inputs=dict(sample.inputs))

    def _turned(self, target: Target, turn: int) -> Target:
        return {**target, "labels": np.int64(_TURNS * int(target["labels"]) + turn)}
