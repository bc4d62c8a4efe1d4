"""Non-maximum suppression of a whole batch, with fixed sizes, so that it runs inside an exported graph."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor

__all__ = ["batched_nms_fixed"]

# Steps of the lattice to which an image's boxes are rounded, for the decision alone: 1/205 pixel for boxes that span
# 640 pixels.
_LATTICE = 2.0**17


def batched_nms_fixed(
    boxes_xyxy: Tensor,
    scores: Tensor,
    labels: Tensor,
    iou_threshold: float,
    score_threshold: float,
    pre_nms: int,
    max_detections: int,
) -> dict[str, Tensor]:
    """Greedy suppression per image and class, by one call for the whole batch.

    The best ``pre_nms`` boxes of each image are laid out on a grid of cells, one column a class and one row an image,
    so that boxes of different classes or images cannot meet, and go through ``torchvision.ops.nms`` together. What it
    keeps (a number that depends on the data) becomes a mask of fixed size, and a second top-k gives the answer.

    Precision: shifting floats rounds them by an amount that grows with the shift, and the answer for an image would
    depend on its place in the batch. So boxes are first rounded to whole steps of a lattice over the extent of their
    own image. Whole numbers below 2^24 are exact in float32: with at most 127 classes and 127 images the decision
    depends on nothing but the image itself; beyond that it loses a bit each time either number doubles. Boxes that are
    returned are the given ones, not rounded.

    Args:
        boxes_xyxy: (B, N, 4), float, pixels.
        scores: (B, N), 0..1.
        labels: (B, N), int64, 0..C-1.
        iou_threshold: Overlap above which the lower score of the same class is dropped.
        score_threshold: Rows at or below it are padding: they are never returned and never drop another.
        pre_nms: Rows an image that enter the suppression, by score.
        max_detections: Rows an image that may leave it.

    Returns:
        ``boxes`` (B, K, 4), ``scores`` (B, K), ``labels`` (B, K) int64 and ``count`` (B,) int64 with K =
        min(max_detections, pre_nms, N): valid rows first, by falling score, the rest zero.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]]])
        >>> scores, labels = torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2).long()
        >>> batched_nms_fixed(boxes, scores, labels, 0.5, 0.1, 100, 10)["count"].tolist()
        [1]
    """
    pre_nms = min(pre_nms, scores.shape[1])
    scores, order = scores.topk(pre_nms, dim=1)
    boxes_xyxy = boxes_xyxy.gather(1, order[..., None].expand(-1, -1, 4))
    labels = labels.gather(1, order)
    valid = scores > score_threshold

    laid_out = _lay_out(boxes_xyxy, labels, valid).flatten(0, 1)
    ranks = torch.where(valid, scores, -1.0).flatten()
    if torch.compiler.is_compiling() or type(scores) is not Tensor:
        keep = torchvision.ops.nms(laid_out, ranks, iou_threshold)
    else:
        # Outside of a graph the number of rows may follow the data, and padding need not be compared with anything.
        rows = valid.flatten().nonzero().squeeze(1)
        keep = rows[torchvision.ops.nms(laid_out[rows], ranks[rows], iou_threshold)]
    kept = torch.zeros_like(scores).flatten().scatter(0, keep, 1.0).view_as(scores) > 0.5
    kept = kept & valid

    ranked, order = torch.where(kept, scores, -1.0).topk(min(max_detections, pre_nms), dim=1)
    found = kept.gather(1, order)
    return {
        "boxes": torch.where(found[..., None], boxes_xyxy.gather(1, order[..., None].expand(-1, -1, 4)), 0.0),
        "scores": torch.where(found, ranked, 0.0),
        "labels": torch.where(found, labels.gather(1, order), 0),
        "count": found.sum(dim=1),
    }


def _lay_out(boxes_xyxy: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Boxes (B, K, 4) in whole lattice steps, each in its cell of the grid; padding lies in one heap outside of it."""
    real = torch.where(valid[..., None], boxes_xyxy, 0.0).float()
    low = real.amin(dim=(1, 2), keepdim=True)
    extent = (real.amax(dim=(1, 2), keepdim=True) - low).clamp(min=1.0)
    lattice = ((real - low) * (_LATTICE / extent)).round()
    column = labels.to(lattice.dtype)
    row = torch.arange(labels.shape[0], dtype=lattice.dtype, device=labels.device)[:, None].expand_as(column)
    shifted = lattice + torch.stack((column, row, column, row), dim=-1) * _LATTICE
    # One padding row suppresses all others at once, so that padding costs next to nothing. Its cell (-1, -1) holds no
    # real box.
    padding = torch.tensor([-1.0, -1.0, -0.5, -0.5], device=labels.device) * _LATTICE
    return torch.where(valid[..., None], shifted, padding)
