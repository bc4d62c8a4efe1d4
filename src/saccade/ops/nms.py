"""Non-maximum suppression of a whole batch, with fixed sizes, so that it runs inside an exported graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torchvision
from torch import Tensor

from saccade.errors import ConfigError, did_you_mean

__all__ = ["NmsSettings", "batched_nms", "batched_nms_indices"]

# Steps of the lattice to which an image's boxes are rounded, for the decision alone: 1/205 pixel for boxes that span
# 640 pixels.
_LATTICE = 2.0**17

NmsKind = Literal["nms"]


@dataclass(frozen=True)
class NmsSettings:
    """Settings of non-maximum suppression, one record for a detector's whole decoding.

    Args:
        iou: Overlap above which the lower score of the same class is dropped, 0..1.
        score_threshold: Rows at or below it are padding: they are never returned and never drop another.
        pre_nms: Rows an image that enter the suppression, by score.
        max_detections: Rows an image that may leave it.
        kind: ``nms``: greedy suppression.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> from dataclasses import replace
        >>> replace(NmsSettings(iou=0.65), score_threshold=0.3)  # doctest: +ELLIPSIS
        NmsSettings(iou=0.65, score_threshold=0.3, ...)
    """

    iou: float = 0.5
    score_threshold: float = 0.01
    pre_nms: int = 1000
    max_detections: int = 100
    kind: NmsKind = "nms"

    def __post_init__(self) -> None:
        for name in ("iou", "score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"nms.{name} is {getattr(self, name)}; it must lie between 0 and 1.")
        for name in ("pre_nms", "max_detections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"nms.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.kind not in get_args(NmsKind):
            raise ConfigError(f"nms.kind is '{self.kind}'.{did_you_mean(str(self.kind), get_args(NmsKind))}")


def batched_nms(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, settings: NmsSettings) -> dict[str, Tensor]:
    """Greedy suppression per image and class, by one call for the whole batch.

    Args:
        boxes_xyxy: (B, N, 4), float, pixels.
        scores: (B, N), 0..1.
        labels: (B, N), int64, 0..C-1.
        settings: Thresholds and sizes.

    Returns:
        ``boxes`` (B, K, 4), ``scores`` (B, K), ``labels`` (B, K) int64 and ``count`` (B,) int64 with K =
        min(max_detections, pre_nms, N): valid rows first, by falling score, the rest zero.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]]])
        >>> scores, labels = torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2).long()
        >>> batched_nms(boxes, scores, labels, NmsSettings(iou=0.5))["count"].tolist()
        [1]
    """
    indices, count = batched_nms_indices(boxes_xyxy, scores, labels, settings)
    found = torch.arange(indices.shape[1], device=indices.device) < count[:, None]
    return {
        "boxes": torch.where(found[..., None], boxes_xyxy.gather(1, indices[..., None].expand(-1, -1, 4)), 0.0),
        "scores": torch.where(found, scores.gather(1, indices), 0.0),
        "labels": torch.where(found, labels.gather(1, indices), 0),
        "count": count,
    }


def batched_nms_indices(
    boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, settings: NmsSettings
) -> tuple[Tensor, Tensor]:
    """Rows that suppression keeps, for detectors with more of a box than its class: masks, keypoints, features.

    The best ``pre_nms`` boxes of each image are laid out on a grid of cells, one column a class and one row an image,
    so that boxes of different classes or images cannot meet, and go through ``torchvision.ops.nms`` together. What it
    keeps (a number that depends on the data) becomes a mask of fixed size, and a second top-k gives the result.

    Precision: shifting floats rounds them by an amount that grows with the shift, and the result for an image would
    depend on its position in the batch. So boxes are first rounded to whole steps of a lattice over the extent of their
    own image. Whole numbers below 2^24 are exact in float32: with at most 127 classes and 127 images the decision
    depends on nothing but the image itself; beyond that it loses a bit each time either number doubles.

    Args:
        boxes_xyxy: (B, N, 4), float, pixels.
        scores: (B, N), 0..1.
        labels: (B, N), int64, 0..C-1.
        settings: Thresholds and sizes.

    Returns:
        Indices (B, K) int64 of kept rows by falling score, then of any others, and how many are kept, (B,) int64, with
        K = min(max_detections, pre_nms, N).

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]]])
        >>> scores, labels = torch.tensor([[0.8, 0.9, 0.7]]), torch.zeros(1, 3).long()
        >>> indices, count = batched_nms_indices(boxes, scores, labels, NmsSettings(iou=0.5))
        >>> indices[0, : count[0]].tolist()
        [1, 2]
    """
    pre_nms = min(settings.pre_nms, scores.shape[1])
    scores, rows = scores.topk(pre_nms, dim=1)
    boxes_xyxy = boxes_xyxy.gather(1, rows[..., None].expand(-1, -1, 4))
    labels = labels.gather(1, rows)
    valid = scores > settings.score_threshold

    laid_out = _lay_out(boxes_xyxy, labels, valid).flatten(0, 1)
    ranks = torch.where(valid, scores, -1.0).flatten()
    if torch.compiler.is_compiling() or type(scores) is not Tensor:
        # A graph of torch.export takes the number of kept rows for two at least; two more boxes, which nothing
        # overlaps and which are worth least, make that true.
        apart = torch.tensor([[-3.0, -3.0, -2.5, -2.5], [-5.0, -5.0, -4.5, -4.5]], device=ranks.device) * _LATTICE
        keep = torchvision.ops.nms(
            torch.cat((laid_out, apart)), torch.cat((ranks, ranks.new_full((2,), -2.0))), settings.iou
        )
    else:
        # Outside of a graph the number of rows may follow the data, and padding need not be compared with anything.
        real = valid.flatten().nonzero().squeeze(1)
        keep = real[torchvision.ops.nms(laid_out[real], ranks[real], settings.iou)]
    flat = scores.new_zeros(scores.shape[0] * scores.shape[1] + 2).scatter(0, keep, 1.0)
    kept = (flat[:-2].view_as(scores) > 0.5) & valid

    order = torch.where(kept, scores, -1.0).topk(min(settings.max_detections, pre_nms), dim=1).indices
    return rows.gather(1, order), kept.gather(1, order).sum(dim=1)


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
