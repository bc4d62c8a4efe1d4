"""Samples of one canvas stacked to a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from saccade.errors import DataError
from saccade.structures.batch import Batch, pad_targets
from saccade.structures.sample import Sample

__all__ = ["collate"]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size.

    Args:
        samples: At least one.

    Returns:
        The batch; its images are (B, C, H, W) in shape and channels-last in memory, which is how images are decoded.

    Raises:
        DataError: If the images differ in shape.
    """
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        raise DataError(
            f"images of different shapes {sorted(shapes)} in one batch, for example {samples[0].info.path}. "
            "Use a model whose resize rule is not 'none', set augment.crop, or take batch_size 1."
        )
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    originals = [sample.original for sample in samples if sample.original is not None]
    return Batch(
        images, pad_targets([sample.target for sample in samples]), [sample.info for sample in samples], originals
    )
