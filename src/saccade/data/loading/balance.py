"""Class-balanced sampling: how often each image is drawn, so that images of rare classes are seen more often."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset
from saccade.structures.kinds import IGNORE_LABEL

__all__ = ["balanced_weights"]

_POWERS = {"sqrt": 0.5, "full": 1.0}


def balanced_weights(
    dataset: VisionDataset,
    balance: Literal["sqrt", "full"] = "full",
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> NDArray[np.float64]:
    """Weight of each image: the repeat factor of its rarest class (Gupta et al. 2019, LVIS).

    With f(c) the number of images that show class c, the factor of the class is f(most common) / f(c), of which
    ``sqrt`` takes the root, as the paper does; its threshold is the most common class here. Where each image has one
    class, ``full`` draws all classes equally often. An image without any counts as one of the most common class.

    Args:
        dataset: Images with labels, one an image or one an object, or label maps, which are read once.
        balance: How far.
        progress: Wraps the indices of the images, to show a bar.

    Returns:
        (N,), at least 1.

    Raises:
        ConfigError: If the ground truth has no classes.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> weights = balanced_weights(DigitScenes("classification", "train", count=30), "sqrt")
        >>> weights.shape, float(weights.min())
        ((30,), 1.0)
    """
    shown = [_classes(dataset, index) for index in progress(range(len(dataset)))]
    images = np.bincount(np.concatenate([*shown, np.zeros(0, np.int64)]))
    most = images.max(initial=1)
    return np.array([(most / images[own].min(initial=most)) ** _POWERS[balance] for own in shown])


def _classes(dataset: VisionDataset, index: int) -> NDArray[np.int64]:
    """Classes that an image shows, each once."""
    target = dataset.target(index)
    if "labels" in target:
        labels = np.unique(np.atleast_1d(np.asarray(target["labels"], np.int64)))
        return labels[labels >= 0]
    if "label_map" in target:
        labels = np.unique(np.asarray(target["label_map"])).astype(np.int64)
        return labels[labels != IGNORE_LABEL]
    raise ConfigError(
        f"data.balance needs labels of images or objects, or label maps; '{dataset.info.name}' is read for "
        f"{dataset.info.task}. Use 'none'."
    )
