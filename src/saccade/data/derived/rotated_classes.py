"""Every class of a data set in four orientations, each a class of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.base import DerivedDataset
from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import Sample, Target

__all__ = ["RotatedClasses"]

_TURNS = 4


class RotatedClasses(DerivedDataset):
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
        super().__init__(dataset, replace(dataset.info, class_names=names, category_ids=()))

    def __len__(self) -> int:
        return _TURNS * len(self.dataset)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """Number of each image, shape (M,), int64."""
        return np.arange(len(self))

    def source(self, index: int) -> int:
        """The image, in whatever orientation."""
        return index // _TURNS

    def changed(self, sample: Sample, index: int) -> Sample:
        """The image turned, and its class."""
        image = np.ascontiguousarray(np.rot90(sample.image, index % _TURNS))
        info = replace(sample.info, image_id=index, geometry=Geometry.identity(image.shape[:2]))
        return Sample(image, self.changed_target(sample.target, index), info, inputs=dict(sample.inputs))

    def changed_target(self, target: Target, index: int) -> Target:
        """``labels`` () int64: four times the class, plus the quarter turns."""
        return {**target, "labels": np.int64(_TURNS * int(target["labels"]) + index % _TURNS)}
