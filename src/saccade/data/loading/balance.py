"""Class-balanced sampling: how often each image is drawn, so that rare classes are seen as often as common ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset

__all__ = ["balanced_weights"]


def balanced_weights(dataset: VisionDataset) -> NDArray[np.float64]:
    """Weight of each image: the sum over its labels of one over how many labels of that class there are.

    Every class that occurs then has the same share of the weights. An image without labels has the weight of the
    lightest image that has some, so that it is still drawn.

    Args:
        dataset: Images with labels: one an image, or one an object.

    Returns:
        (N,), above 0.

    Raises:
        ConfigError: If the ground truth has no labels.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> weights = balanced_weights(DigitScenes("classification", "train", count=30))
        >>> weights.shape, round(float(weights.sum()), 6) <= 10
        ((30,), True)
    """
    labels: list[NDArray[np.int64]] = []
    for index in range(len(dataset)):
        found = dataset.target(index).get("labels")
        if found is None:
            raise ConfigError(
                f"data.sampler 'balanced' needs labels of images or objects; '{dataset.info.name}' is read for "
                f"{dataset.info.task}. Use 'shuffle'."
            )
        own = np.atleast_1d(np.asarray(found, np.int64))
        labels.append(own[own >= 0])
    counts = np.bincount(np.concatenate(labels), minlength=1) if labels else np.ones(1)
    weights = np.array([float((1 / counts[own]).sum()) for own in labels])
    if not weights.any():
        return np.ones(len(labels))
    return np.where(weights > 0, weights, weights[weights > 0].min())
