"""Matching of anchors to objects by overlap, for a whole batch at once.

Letters: B images, M objects an image (padded), A anchors.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from saccade.ops.iou import pairwise_iou

__all__ = ["IGNORED", "NEGATIVE", "Forced", "IouMatches", "match_by_iou"]

NEGATIVE = -1  # owner of an anchor that is background
IGNORED = -2  # owner of an anchor that takes no part in the loss

Forced = Literal["none", "ties", "best"]

_PAIRS = 2**23  # overlaps held at a time: 32 MiB, and a few times as much while they are computed


class IouMatches(NamedTuple):
    """Which object each anchor is positive for: result of :func:`match_by_iou`.

    Example:
        >>> matches = IouMatches(torch.tensor([[0, -1, -2]]), torch.tensor([[0.7, 0.1, 0.45]]))
        >>> (matches.owners >= 0).tolist()
        [[True, False, False]]
    """

    owners: Tensor  # (B, A) int64: row of the object, NEGATIVE or IGNORED
    iou: Tensor  # (B, A) largest overlap with any object; 0 without objects


@torch.no_grad()
def match_by_iou(
    boxes_xyxy: Tensor,
    valid: Tensor,
    anchors_xyxy: Tensor,
    positive: float,
    negative: float | None = None,
    forced: Forced = "none",
) -> IouMatches:
    """Assign anchors to the object that they overlap most.

    An anchor is positive for that object from an overlap of ``positive`` on, background below ``negative``, and ignored
    between. Of objects with the same overlap the first counts.

    Args:
        boxes_xyxy: Ground truth boxes, (B, M, 4), pixels.
        valid: (B, M) bool; false for rows that are not targets.
        anchors_xyxy: (A, 4), or (B, A, 4) where each image has its own (proposals); pixels.
        positive: Smallest IoU of a positive, 0..1.
        negative: IoU below which an anchor is background; ``positive`` if not given, so that none is ignored.
        forced: What an object gets that no anchor overlaps enough. ``none``: nothing. ``ties``: the anchors that
            overlap it most, all that tie, are positive for the object that *they* overlap most (Ren et al. 2015, Faster
            R-CNN, section 3.1.2, as torchvision reads it). ``best``: one anchor, the first that overlaps it most, is
            its own, whatever else that overlaps (Liu et al. 2016, SSD, section 2.2); where two objects have the same,
            the later takes it. An object that overlaps no anchor gets none.

    Returns:
        Owners and overlaps.

    Example:
        >>> anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 0.0, 12.0, 8.0], [40.0, 40.0, 48.0, 48.0]])
        >>> boxes, valid = torch.tensor([[[0.0, 0.0, 9.0, 8.0]]]), torch.tensor([[True]])
        >>> match_by_iou(boxes, valid, anchors, positive=0.5, negative=0.4).owners.tolist()
        [[0, -2, -1]]
        >>> match_by_iou(boxes, valid, anchors, positive=0.9, forced="best").owners.tolist()
        [[0, -1, -1]]
    """
    B, M = valid.shape
    A = anchors_xyxy.shape[-2]
    negative = positive if negative is None else negative
    if not M or not A:
        return IouMatches(valid.new_full((B, A), NEGATIVE, dtype=torch.int64), boxes_xyxy.new_zeros(B, A))
    iou, nearest = boxes_xyxy.new_full((B, A), -1.0), valid.new_zeros((B, A), dtype=torch.int64)
    kept = valid.new_zeros(B, A)  # anchors that tie for the best of an object ("ties")
    own = valid.new_full((B, A), NEGATIVE, dtype=torch.int64)  # of the object whose best they are ("best")
    step = max(1, _PAIRS // (B * A))
    for first in range(0, M, step):  # in one go but for thousands of objects, whose (B, M, A) would take gigabytes
        overlaps = pairwise_iou(boxes_xyxy[:, first : first + step], anchors_xyxy)
        overlaps.masked_fill_(~valid[:, first : first + step, None], -1.0)
        largest, row = overlaps.max(dim=1)
        nearest = torch.where(largest > iou, row + first, nearest)  # of equal overlaps the first object's stays
        iou = torch.maximum(iou, largest)
        if forced == "ties":
            highest = overlaps.amax(dim=2, keepdim=True)
            highest = highest.where(highest > 0, torch.inf)  # no anchor is the best of an object that touches none
            kept |= (overlaps == highest).any(dim=1)
        elif forced == "best":
            highest, best = overlaps.max(dim=2)  # (B, step)
            rows = torch.arange(first, first + highest.shape[1], device=best.device)
            own.scatter_reduce_(1, best, torch.where(highest > 0, rows, NEGATIVE), "amax")
    owners = torch.where(iou < negative, NEGATIVE, torch.where(iou < positive, IGNORED, nearest))
    owners = torch.where(kept, nearest, owners)
    owners = torch.where(own >= 0, own, owners)
    return IouMatches(owners, iou.clamp_(min=0))
