"""Images without ground truth: they teach what is background, and may be too many."""

from __future__ import annotations

import numpy as np

from saccade.data.derived.combine import subset
from saccade.data.notices import say_once
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.kinds import IGNORE_LABEL
from saccade.structures.sample import Target

__all__ = ["background_label", "drop_empty", "is_empty"]


def drop_empty(dataset: VisionDataset, keep: float, seed: int = 0) -> VisionDataset:
    """Leave out images without ground truth: without objects or labelled points, or with nothing but background.

    Label maps are all read once for it. Ground truth of other kinds (classes, other images) is never empty.

    Args:
        dataset: Any data set; it stays as it is.
        keep: Share of these images that is kept, drawn from ``seed``.
        seed: Of that draw.

    Raises:
        ConfigError: If ``keep`` is no share.
        DataError: If no image is left.

    Example:
        >>> from saccade.data.derived.in_memory import MemoryDataset
        >>> info = DatasetInfo("cells", "detection", ("cell",))
        >>> some, none = {"boxes": [[4.0, 4, 20, 20]], "labels": [0]}, {"boxes": np.zeros((0, 4)), "labels": []}
        >>> data = MemoryDataset(info, [np.zeros((32, 32, 3), np.uint8)] * 2, [some, none])
        >>> len(data), len(drop_empty(data, 0.0))
        (2, 1)
    """
    if not 0 <= keep <= 1:
        raise ConfigError(f"data.keep_empty is a share, 0 to 1; got {keep}.")
    if keep == 1:
        return dataset
    background = background_label(dataset.info)
    empty = np.array([is_empty(dataset.target(index), background) for index in range(len(dataset))])
    dropped = empty & (np.random.default_rng(seed).random(len(empty)) >= keep)
    if not dropped.any():
        return dataset
    if dropped.all():
        raise DataError(
            f"{dataset.info.name}: no image of split '{dataset.info.split}' holds any ground truth. Raise "
            "data.keep_empty."
        )
    say_once(
        f"{dataset.info.name}: {int(dropped.sum())} of {len(dataset)} training images without ground truth are left "
        f"out (data.keep_empty {keep:g})"
    )
    return subset(dataset, np.flatnonzero(~dropped).tolist())


def background_label(info: DatasetInfo) -> int:
    """Class of label maps that is no ground truth: a class 'background', or the first where there is but one.

    Example:
        >>> background_label(DatasetInfo("pets", "segmentation", ("Background", "cat")))
        0
    """
    names = info.class_names
    return 0 if len(names) == 1 or (names and names[0].lower() == "background") else IGNORE_LABEL


def is_empty(target: Target, background: int) -> bool:
    """Whether there is nothing to learn but background.

    Args:
        target: Of an image or a part of one.
        background: See :func:`background_label`.

    Example:
        >>> is_empty({"boxes": np.zeros((0, 4))}, IGNORE_LABEL), is_empty({"labels": np.array(3)}, IGNORE_LABEL)
        (True, False)
    """
    if "keypoints" in target:
        return not (target["keypoints"][..., 2] > 0).any()
    if "boxes" in target:
        return not len(target["boxes"])
    return "label_map" in target and bool(np.isin(target["label_map"], (background, IGNORE_LABEL)).all())
