"""Samples stacked to batches: padded to the largest canvas for training, grouped by canvas for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.structures.batch import Batch, pad_targets
from saccade.structures.kinds import kind_of
from saccade.structures.sample import Sample, Target

__all__ = ["collate", "collate_by_canvas"]


def collate(samples: Sequence[Sample], pad_value: int | None = None) -> Batch:
    """Stack samples to a batch; canvases of unequal size are padded at the right and at the bottom to the largest.

    Args:
        samples: At least one.
        pad_value: Grey value of the padding; None refuses canvases of unequal size.

    Returns:
        The batch; its images are (B, C, H, W) in shape and channels-last in memory, which is how images are decoded.
        ``targets["image_size"]`` (B, 2) int64 holds the (height, width) of each canvas before it was padded.

    Raises:
        DataError: If the images differ in channels or type, or in size without ``pad_value``.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo
        >>> sizes = ((32, 64), (64, 32))
        >>> infos = [ImageInfo(0, "a.png", Geometry.identity(size)) for size in sizes]
        >>> samples = [Sample(np.zeros((*info.geometry.size, 3), np.uint8), {}, info) for info in infos]
        >>> batch = collate(samples, pad_value=114)
        >>> batch.images.shape, batch.targets["image_size"].tolist()
        (torch.Size([2, 3, 64, 64]), [[32, 64], [64, 32]])
    """
    sizes = [sample.size for sample in samples]
    shapes = {sample.image.shape for sample in samples}
    kinds = {(sample.image.shape[2], sample.image.dtype) for sample in samples}
    if len(kinds) > 1 or (len(shapes) > 1 and pad_value is None):
        raise DataError(
            f"images of different shapes {sorted(shapes)} in one batch, for example {samples[0].info.path}. "
            "Use a model whose resize rule is not 'none', set augment.crop, or take batch_size 1."
        )
    if len(shapes) > 1:
        assert pad_value is not None
        size = max(height for height, _ in sizes), max(width for _, width in sizes)
        samples = [_padded(sample, size, pad_value) for sample in samples]
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    originals = [sample.original for sample in samples if sample.original is not None]
    targets = pad_targets([sample.target for sample in samples])
    targets["image_size"] = torch.tensor(sizes, dtype=torch.int64)
    inputs = pad_targets([sample.inputs for sample in samples])
    return Batch(images, targets, [sample.info for sample in samples], originals, inputs)


def collate_by_canvas(samples: Sequence[Sample]) -> list[Batch]:
    """Stack samples to one batch for each canvas that occurs, in the order of their first samples.

    Nothing is padded, so what a network predicts for an image does not depend on the images beside it.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo
        >>> infos = [ImageInfo(0, "a.png", Geometry.identity(size)) for size in ((32, 64), (64, 32), (32, 64))]
        >>> samples = [Sample(np.zeros((*info.geometry.size, 3), np.uint8), {}, info) for info in infos]
        >>> [tuple(batch.images.shape) for batch in collate_by_canvas(samples)]
        [(2, 3, 32, 64), (1, 3, 64, 32)]
    """
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.image.shape, []).append(sample)
    return [collate(group) for group in groups.values()]


def _padded(sample: Sample, size: tuple[int, int], pad_value: int) -> Sample:
    image = _extend(sample.image, size, pad_value)
    target, inputs = dict(_extended(sample.target, size, pad_value)), dict(_extended(sample.inputs, size, pad_value))
    return Sample(image, target, sample.info, sample.original, inputs)


def _extended(values: Target, size: tuple[int, int], pad_value: int) -> Iterator[tuple[str, NDArray[Any]]]:
    for key, value in values.items():
        kind = kind_of(key)
        if kind.motion in ("map", "image"):
            yield key, _extend(value, size, kind.outside if kind.motion == "map" else pad_value)
        elif kind.motion == "masks" and "boxes" not in values:
            yield key, np.stack([_extend(mask, size, 0) for mask in value]) if len(value) else value
        else:
            yield key, value


def _extend(pixels: NDArray[Any], size: tuple[int, int], value: int) -> NDArray[Any]:
    extended = np.full((*size, *pixels.shape[2:]), value, pixels.dtype)
    extended[: pixels.shape[0], : pixels.shape[1]] = pixels
    return extended
