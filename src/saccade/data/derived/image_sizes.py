"""Sizes of the images of a data set, from their headers where they are files."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.combine import ConcatDataset
from saccade.data.images.decode import upright_size
from saccade.data.tables.table_dataset import TableDataset
from saccade.structures.dataset import VisionDataset

__all__ = ["image_sizes"]


def image_sizes(dataset: VisionDataset, indices: Iterable[int] | None = None) -> NDArray[np.int64]:
    """Height and width of each image, as the data set reads it.

    Args:
        dataset: Any data set; where its images are no files of their own (tiles, generated scenes), they are read.
        indices: Which images; all if not given.

    Returns:
        (N, 2), int64.

    Raises:
        DataError: If a file is missing, or is no image.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> image_sizes(DigitScenes("detection", "val", size=(100, 200)), [0, 7]).tolist()
        [[100, 200], [100, 200]]
    """
    chosen = range(len(dataset)) if indices is None else indices
    return np.array([_size(dataset, int(index)) for index in chosen], np.int64).reshape(-1, 2)


def _size(dataset: VisionDataset, index: int) -> tuple[int, int]:
    if isinstance(dataset, ConcatDataset):
        part, inner = dataset.locate(index)
        return _size(part, inner)
    if isinstance(dataset, TableDataset) and (type(dataset).read, type(dataset).pixels) == (
        TableDataset.read,
        TableDataset.pixels,
    ):
        return upright_size(dataset.path(index))
    return dataset.read(index).size
