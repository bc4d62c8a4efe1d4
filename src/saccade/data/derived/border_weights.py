"""Label maps with U-Net's weight of every pixel beside them; what takes time is kept on disk.

The weights are made once for each label map and travel through all augmentation as ``weight_map``, as the paper has
it: "we pre-compute the weight map for each ground truth segmentation".
"""

from __future__ import annotations

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.base import DerivedDataset
from saccade.errors import ConfigError, SaccadeError
from saccade.ops.border_weights import border_weights, class_balance, label_cells
from saccade.structures.dataset import VisionDataset
from saccade.structures.files import atomic_write
from saccade.structures.kinds import IGNORE_LABEL
from saccade.structures.sample import Target

__all__ = ["BorderWeighted", "cached_border_weights"]

logger = logging.getLogger("saccade")

_VERSION = "border weights of saccade, 1"


class BorderWeighted(DerivedDataset):
    """Data set with a ``weight_map`` beside every label map (Ronneberger et al. 2015, U-Net, equation 2).

    A pixel weighs what its class weighs, so that all classes of the data set count alike, and more in the gap between
    two cells (:func:`saccade.ops.border_weights.border_weights`). Cells are the connected parts of every class but
    class 0. Unlabelled pixels (255) weigh nothing.

    Args:
        dataset: Data set with label maps; all are read once for the weights of classes.
        weight: w0, what the narrowest gap weighs more.
        sigma: How wide a gap may be, pixels: at ``d1 + d2 = 2 sigma`` its weight is 0.14 w0.
        balance: Weigh classes by their frequency; otherwise each weighs 1.
        folder: Keeps the weights of gaps, a file for each label map, by its content; nothing is kept if not given.

    Raises:
        ConfigError: If a setting is out of range, or the data set has no label maps.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> data = BorderWeighted(DigitScenes("segmentation", "train", count=4), folder=Path("weights"))
        >>> weights = data.read(0).target["weight_map"]
        >>> weights.shape, str(weights.dtype), bool(weights.min() > 0)
        ((256, 256), 'float32', True)
    """

    def __init__(
        self,
        dataset: VisionDataset,
        weight: float = 10.0,
        sigma: float = 5.0,
        balance: bool = True,
        folder: Path | None = None,
    ) -> None:
        if not 0 <= weight <= 1e6:
            raise ConfigError(f"data.border.weight is what a gap weighs more, 0 to 1,000,000; got {weight}.")
        if not 0 < sigma <= 1e3:
            raise ConfigError(f"data.border.sigma is a number of pixels above 0, up to 1,000; got {sigma}.")
        if len(dataset) and "label_map" not in dataset.target(0):
            raise ConfigError(
                f"data.border weighs the pixels of label maps, and data set '{dataset.info.name}' has none. Set "
                "data.border.weight to 0."
            )
        super().__init__(dataset)
        self.weight, self.sigma, self.folder = weight, sigma, folder
        self.class_weights = np.ones(IGNORE_LABEL + 1, np.float32)
        if balance:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                counts = sum(pool.map(self._count, range(len(dataset))), np.zeros(IGNORE_LABEL, np.int64))
            self.class_weights[:IGNORE_LABEL] = class_balance(counts)
        self.class_weights[IGNORE_LABEL] = 0

    def _count(self, index: int) -> NDArray[np.int64]:
        label_map = self.dataset.target(index)["label_map"]
        return np.bincount(label_map.ravel(), minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL]

    def changed_target(self, target: Target, index: int) -> Target:
        """The same ground truth with its weights."""
        label_map = target["label_map"]
        gaps = cached_border_weights(label_map, self.weight, self.sigma, self.folder)
        known = label_map != IGNORE_LABEL
        return {**target, "weight_map": self.class_weights[label_map] + gaps * known}


def cached_border_weights(
    label_map: NDArray[Any], weight: float = 10.0, sigma: float = 5.0, folder: Path | None = None
) -> NDArray[np.float32]:
    """Weights of the gaps between the cells of a label map, from the folder if they were computed before.

    A file is found by the content of the label map and the settings, wherever the label map came from. A damaged one
    is made anew; where none can be written, the log tells so and the weights are computed each time.

    Args:
        label_map: (H, W).
        weight: w0.
        sigma: Pixels.
        folder: Where files are; none are read or written if not given.

    Example:
        >>> labels = np.array([[1, 1, 0, 1]], np.uint8)
        >>> first = cached_border_weights(labels, folder=Path("weights"))
        >>> again = cached_border_weights(labels, folder=Path("weights"))
        >>> np.array_equal(first, again), len(list(Path("weights").iterdir()))
        (True, 1)
    """
    if folder is None:
        return border_weights(label_cells(label_map), weight, sigma)
    path = folder / f"{_key(label_map, weight, sigma)}.npz"
    kept = _read(path, label_map.shape)
    if kept is not None:
        return kept
    weights = border_weights(label_cells(label_map), weight, sigma)
    try:
        atomic_write(path, lambda file: np.savez_compressed(file, weights=weights), durable=False)
    except SaccadeError as error:
        logger.warning("weights of gaps between cells are computed each time: %s", error)
    return weights


def _key(label_map: NDArray[Any], weight: float, sigma: float) -> str:
    about = f"{_VERSION} {label_map.shape} {label_map.dtype} {float(weight)!r} {float(sigma)!r}"
    hashed = hashlib.blake2b(about.encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(label_map).data)
    return hashed.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            weights: NDArray[np.float32] = file["weights"]
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged archive raises many kinds
        logger.warning("%s: the file is damaged (%s); its weights are computed anew.", path, error)
        return None
    return weights if weights.shape == shape and weights.dtype == np.float32 else None
