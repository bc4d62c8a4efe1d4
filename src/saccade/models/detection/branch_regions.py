"""Which regions a branch for objects looks at: those of objects in training, boxes that were found at test.

Both are of different number in each image. Only what is there goes through a branch, as one list; graphs of fixed shape
take every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saccade.models.base import Decoded
from saccade.models.detection.roi_branches import Pooling, RoiSample

__all__ = ["FoundRegions", "ObjectRegions", "found_regions", "object_regions"]


class ObjectRegions(NamedTuple):
    """Regions of objects of a batch: result of :func:`object_regions`."""

    features: Tensor  # (P, C, m, m)
    boxes_xyxy: Tensor  # (P, 4), pixels of the canvas
    image: Tensor  # (P,) int64
    row: Tensor  # (P,) int64, of the object among those of its image


class FoundRegions(NamedTuple):
    """Boxes that were found, pooled: result of :func:`found_regions`."""

    features: Tensor  # (P, C, m, m)
    boxes_xyxy: Tensor  # (P, 4), pixels of the canvas
    labels: Tensor  # (P,) int64
    valid: Tensor  # (B, K) bool: boxes that are none of the padding

    def spread(self, values: Tensor) -> Tensor:
        """What was predicted for each region, (P, ...), in its row of (B, K, ...); zero elsewhere."""
        B, K = self.valid.shape
        if _fixed(values):
            rows = values.view(B, K, *values.shape[1:])
            return torch.where(self.valid.view(B, K, *[1] * (values.ndim - 1)), rows, 0.0)
        whole = values.new_zeros(B, K, *values.shape[1:])
        whole[self.valid] = values
        return whole


def object_regions(pooling: Pooling, maps: Sequence[Tensor], sample: RoiSample) -> ObjectRegions:
    """Pool the regions of a sample that show an object.

    Args:
        pooling: Part of a branch.
        maps: Feature maps (B, C, H, W), fine to coarse.
        sample: What the box branch looked at.

    Example:
        >>> from saccade.ops.roi import roi_align
        >>> sample = RoiSample(torch.zeros(1, 3, 4), torch.tensor([[5, -1, -2]]))
        >>> regions = object_regions(lambda maps, boxes: roi_align(maps, boxes, (8,), 14), [torch.zeros(1, 4, 8, 8)],
        ...                          sample)
        >>> regions.features.shape, regions.row.tolist()
        (torch.Size([1, 4, 14, 14]), [5])
    """
    most = max(int(sample.positive.sum(dim=1).max()), 1)  # they come first
    positive = sample.positive[:, :most]
    image, place = positive.nonzero(as_tuple=True)
    features = pooling(maps, sample.boxes_xyxy[:, :most])[image, place]
    return ObjectRegions(features, sample.boxes_xyxy[image, place], image, sample.owners[image, place])


def found_regions(pooling: Pooling, maps: Sequence[Tensor], decoded: Decoded) -> FoundRegions:
    """Pool the boxes that were found.

    Args:
        pooling: Part of a branch.
        maps: Feature maps (B, C, H, W), fine to coarse.
        decoded: ``boxes``, ``labels`` and ``count``.

    Example:
        >>> from saccade.ops.roi import roi_align
        >>> decoded = {"boxes": torch.zeros(1, 3, 4), "labels": torch.zeros(1, 3).long(), "count": torch.tensor([2])}
        >>> regions = found_regions(lambda maps, boxes: roi_align(maps, boxes, (8,), 14), [torch.zeros(1, 4, 8, 8)],
        ...                         decoded)
        >>> regions.features.shape, regions.spread(torch.ones(2, 17)).shape
        (torch.Size([2, 4, 14, 14]), torch.Size([1, 3, 17]))
    """
    boxes, labels, count = decoded["boxes"], decoded["labels"], decoded["count"]
    valid = torch.arange(boxes.shape[1], device=boxes.device) < count[:, None]
    if _fixed(boxes):
        return FoundRegions(pooling(maps, boxes).flatten(0, 1), boxes.flatten(0, 1), labels.flatten(), valid)
    most = max(int(count.max()), 1)
    features = pooling(maps, boxes[:, :most])[valid[:, :most]]
    return FoundRegions(features, boxes[valid], labels[valid], valid)


def _fixed(values: Tensor) -> bool:
    """Whether shapes may not follow from values: in graphs, and where there are no values."""
    return torch.compiler.is_compiling() or values.is_meta
