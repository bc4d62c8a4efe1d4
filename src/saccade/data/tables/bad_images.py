"""The policy for images that cannot be read: they stop a run when it comes to them, or are left out beforehand."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np

from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError

__all__ = ["BadImages", "apply_image_policy"]

BadImages = Literal["error", "drop"]


def apply_image_policy(dataset: TableDataset, policy: BadImages) -> TableDataset:
    """Leave out the images of a split that cannot be read, with their labels.

    Every image, and every label map in a file of its own, is decoded once to find out, in threads.

    Args:
        dataset: Data set as read; it is not changed.
        policy: ``error`` leaves it as it is, so that reading such an image raises; ``drop`` leaves them out, counts
            them in ``repairs`` and lists them in ``left_out``.

    Raises:
        DataError: If none can be read.

    Example:
        >>> from PIL import Image
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> from saccade.structures.dataset import DatasetInfo
        >>> Image.new("RGB", (60, 40)).save("a.png")
        >>> _ = Path("b.png").write_bytes(b"damaged")
        >>> builder = TableBuilder(["cat"])
        >>> for name in ("a.png", "b.png"):
        ...     builder.add_image(name)
        ...     builder.add_object("cat", (30, 5, 40, 35))
        >>> data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), Path(), builder.build())
        >>> mended = apply_image_policy(data, "drop")
        >>> len(mended), mended.repairs
        (1, {'dropped unreadable images': 1})
    """
    if policy == "error" or not len(dataset):
        return dataset
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        errors = list(pool.map(lambda index: _reading_error(dataset, index), range(len(dataset))))
    kept = np.flatnonzero([not error for error in errors])
    # A reader that needs an image's size for its labels has met such images already.
    unread = [fault for fault in dataset.table.faults if fault.code.startswith("image.")]
    left_out = [(fault.where, fault.message) for fault in unread]
    left_out += [(dataset.path(index), error) for index, error in enumerate(errors) if error]
    if not left_out:
        return dataset
    if not len(kept):
        raise DataError(f"{dataset.root}: none of its {len(dataset)} images can be read. The first: {left_out[0][1]}")
    counts = dataset.repairs | {"dropped unreadable images": len(left_out)}
    others = tuple(fault for fault in dataset.table.faults if fault not in unread)
    return dataset.with_table(replace(dataset.table.select_images(kept), faults=others), counts, left_out)


def _reading_error(dataset: TableDataset, index: int) -> str:
    """Why an image, or its label map, cannot be read; empty if it can."""
    try:
        dataset.pixels(index)
        if type(dataset).target is not TableDataset.target:
            dataset.target(index)
    except DataError as error:
        return " ".join(str(error).split())
    return ""
