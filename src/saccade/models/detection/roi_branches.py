"""Interfaces of what works on regions: branches that find boxes, and branches that add to boxes that were found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.models.base import Decoded, Outputs
from saccade.ops.matching import IGNORED, match_by_iou
from saccade.ops.nms import NmsSettings
from saccade.ops.sampling import sample_rows
from saccade.structures.class_rows import ClassRows

__all__ = [
    "FPN_SAMPLING",
    "BoxBranch",
    "ObjectBranch",
    "RegionSampling",
    "RoiSample",
    "loss_generator",
    "sample_regions",
]

# Feature maps and boxes (B, R, 4) to regions (B, R, C, m, m).
Pooling = Callable[[Sequence[Tensor], Tensor], Tensor]


class RoiSample(NamedTuple):
    """Regions of a batch that training looks at; those of an object come first in each image.

    Example:
        >>> sample = RoiSample(torch.zeros(1, 3, 4), torch.tensor([[5, -1, -2]]))
        >>> sample.positive.tolist()
        [[True, False, False]]
    """

    boxes_xyxy: Tensor  # (B, S, 4), pixels of the canvas; no gradient
    owners: Tensor  # (B, S) int64: row of the object, NEGATIVE (background) or IGNORED (padding)

    @property
    def positive(self) -> Tensor:
        """Which of them show an object, (B, S) bool."""
        return self.owners >= 0


@dataclass(frozen=True)
class RegionSampling:
    """How regions are chosen for training (Girshick 2015, Fast R-CNN, section 2.3, "Mini-batch sampling").

    Args:
        count: Regions an image (Fast R-CNN: 64 of each of two images; FPN: 512).
        share: Largest share of regions with an object.
        positive: Overlap from which on a region shows an object.
        background: Overlap from which on a region without an object counts (Fast R-CNN: 0.1).

    Example:
        >>> RegionSampling(count=128, background=0.1).positives
        32
    """

    count: int = 512
    share: float = 0.25
    positive: float = 0.5
    background: float = 0.0

    @property
    def positives(self) -> int:
        """Regions with an object an image, at most."""
        return int(self.count * self.share)


FPN_SAMPLING = RegionSampling()


def loss_generator(module: nn.Module, device: torch.device) -> torch.Generator | None:
    """Source of chance of a loss: torch's own in training; in eval mode one with a fixed seed, so that it repeats.

    Example:
        >>> loss_generator(torch.nn.Identity(), torch.device("cpu")) is None
        True
    """
    return None if module.training else torch.Generator(device).manual_seed(0)


@torch.no_grad()
def sample_regions(
    proposals_xyxy: Tensor,
    valid: Tensor,
    boxes_xyxy: Tensor,
    real: Tensor,
    sampling: RegionSampling,
    generator: torch.Generator | None = None,
) -> RoiSample:
    """Choose regions for training, at random and within the shares.

    Args:
        proposals_xyxy: (B, R, 4), pixels of the canvas.
        valid: (B, R) bool; false for padding.
        boxes_xyxy: Ground truth boxes, (B, M, 4).
        real: (B, M) bool; false for rows that are not targets.
        sampling: How many, and of which overlaps.
        generator: Of :func:`loss_generator`.

    Returns:
        K = min(count, R) regions an image.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0]]])
        >>> proposals = torch.tensor([[[30.0, 30.0, 40.0, 40.0], [1.0, 0.0, 10.0, 10.0]]])
        >>> real = torch.ones(1, 2).bool()
        >>> sample_regions(proposals, real, boxes, real[:, :1], RegionSampling(count=4)).owners.tolist()
        [[0, -1]]
    """
    owners, iou = match_by_iou(boxes_xyxy, real, proposals_xyxy, sampling.positive)
    positive = (owners >= 0) & valid
    negative = (owners < 0) & valid & (iou >= sampling.background)
    rows, chosen = sample_rows(positive, negative, sampling.count, sampling.share, generator)
    owners = torch.where(chosen, owners.gather(1, rows), IGNORED)
    return RoiSample(proposals_xyxy.gather(1, rows[..., None].expand(-1, -1, 4)), owners)


class BoxBranch(nn.Module):
    """Base of branches that classify proposals and move them.

    Attributes:
        class_rows: As of a model; names are relative to the branch.
    """

    class_rows: Mapping[str, ClassRows] = {}

    def forward(self, maps: Sequence[Tensor], proposals_xyxy: Tensor) -> dict[str, Tensor]:
        """Raw outputs for proposals.

        Args:
            maps: Feature maps (B, C, H, W), fine to coarse.
            proposals_xyxy: (B, R, 4), pixels of the canvas; rows of zeros are padding.
        """
        raise NotImplementedError

    def loss(
        self,
        maps: Sequence[Tensor],
        proposals_xyxy: Tensor,
        valid: Tensor,
        boxes_xyxy: Tensor,
        labels: Tensor,
    ) -> tuple[dict[str, Tensor], RoiSample]:
        """Loss terms, and the regions that they looked at.

        Args:
            maps: As ``forward`` takes them.
            proposals_xyxy: (B, R, 4), pixels of the canvas.
            valid: (B, R) bool; false for padding.
            boxes_xyxy: Ground truth boxes, (B, M, 4).
            labels: (B, M) int64, -1 for rows that are not targets.
        """
        raise NotImplementedError

    def decode(self, outputs: Outputs, nms: NmsSettings) -> Decoded:
        """Boxes, scores, labels and count after suppression, from ``forward``'s outputs and ``canvas``."""
        raise NotImplementedError


class ObjectBranch(nn.Module):
    """Base of branches that predict more of boxes that were found: masks, keypoints.

    Attributes:
        target_names: Kinds of ground truth that ``loss`` reads besides boxes and labels.
        decoded_keys: What ``predict`` adds.
        class_rows: As of a model; names are relative to the branch.
    """

    target_names: tuple[str, ...] = ()
    decoded_keys: tuple[str, ...] = ()
    class_rows: Mapping[str, ClassRows] = {}

    def loss(self, maps: Sequence[Tensor], sample: RoiSample, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms for the regions of objects.

        Args:
            maps: Feature maps (B, C, H, W), fine to coarse.
            sample: What the box branch looked at.
            targets: Ground truth, padded.
        """
        raise NotImplementedError

    def predict(self, maps: Sequence[Tensor], decoded: Decoded) -> Decoded:
        """What it adds to final boxes (B, K, 4), with leading dimensions B and K."""
        raise NotImplementedError
