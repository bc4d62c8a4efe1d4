"""Suppression of duplicate boxes for a whole batch, with fixed sizes, so that it runs inside an exported graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.ops.iou import pairwise_iou
from saccade.ops.nms_settings import NmsKind, NmsSettings
from saccade.ops.operators import suppress_apart, torchvision_operators

__all__ = ["Kept", "NmsKind", "NmsSettings", "batched_nms", "batched_nms_indices"]

# Steps of the lattice to which an image's boxes are rounded, for the decision alone: 1/205 pixel for boxes that span
# 640 pixels.
_LATTICE = 2.0**17


@dataclass(frozen=True)
class Kept:
    """What suppression leaves of each image: result of :func:`batched_nms_indices`.

    Example:
        >>> kept = batched_nms_indices(torch.zeros(1, 3, 4), torch.rand(1, 3), torch.zeros(1, 3).long(), NmsSettings())
        >>> kept.rows.shape, kept.boxes_xyxy.shape
        (torch.Size([1, 3]), torch.Size([1, 3, 4]))
    """

    rows: Tensor  # (B, K) int64, of the given boxes: those that are kept by falling score, then any others
    count: Tensor  # (B,) int64, how many are kept
    scores: Tensor  # (B, K); lower than the given ones where the kind lowers scores
    boxes_xyxy: Tensor  # (B, K, 4); other than the given ones where the kind fuses boxes


def batched_nms(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, settings: NmsSettings) -> dict[str, Tensor]:
    """Suppression of duplicates per image and class, for the whole batch at once.

    Args:
        boxes_xyxy: (B, N, 4), float, pixels.
        scores: (B, N), 0..1.
        labels: (B, N), int64, 0..C-1.
        settings: Kind, thresholds and sizes.

    Returns:
        ``boxes`` (B, K, 4), ``scores`` (B, K), ``labels`` (B, K) int64 and ``count`` (B,) int64 with K =
        min(max_detections, pre_nms, N): valid rows first, by falling score, the rest zero.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]]])
        >>> scores, labels = torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2).long()
        >>> batched_nms(boxes, scores, labels, NmsSettings(iou=0.5))["count"].tolist()
        [1]
        >>> batched_nms(boxes, scores, labels, NmsSettings(iou=0.5, kind="soft"))["scores"]
        tensor([[0.9000, 0.1455]])
    """
    kept = batched_nms_indices(boxes_xyxy, scores, labels, settings)
    found = torch.arange(kept.rows.shape[1], device=kept.rows.device) < kept.count[:, None]
    return {
        "boxes": torch.where(found[..., None], kept.boxes_xyxy, 0.0),
        "scores": torch.where(found, kept.scores, 0.0),
        "labels": torch.where(found, labels.gather(1, kept.rows), 0),
        "count": kept.count,
    }


def batched_nms_indices(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, settings: NmsSettings) -> Kept:
    """Rows that suppression keeps, for detectors with more of a box than its class: masks, keypoints, features.

    Where boxes are fused (``wbf``), the row is that of the box with the highest score of each cluster.

    Args:
        boxes_xyxy: (B, N, 4), float, pixels.
        scores: (B, N), 0..1.
        labels: (B, N), int64, 0..C-1.
        settings: Kind, thresholds and sizes.

    Returns:
        Rows, how many of them are kept, their scores and boxes, with K = min(max_detections, pre_nms, N).

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]]])
        >>> scores, labels = torch.tensor([[0.8, 0.9, 0.7]]), torch.zeros(1, 3).long()
        >>> kept = batched_nms_indices(boxes, scores, labels, NmsSettings(iou=0.5))
        >>> kept.rows[0, : kept.count[0]].tolist()
        [1, 2]
    """
    pre_nms = min(settings.pre_nms, scores.shape[1])
    limit = min(settings.max_detections, pre_nms)
    if not limit:
        return Kept(labels, labels.new_zeros(len(labels)), scores, boxes_xyxy)
    scores, rows = scores.topk(pre_nms, dim=1)
    boxes_xyxy = _take(boxes_xyxy, rows)
    labels = torch.zeros_like(rows) if settings.class_agnostic else labels.gather(1, rows)
    valid = scores > settings.score_threshold
    if settings.kind in ("soft", "soft_gaussian", "diou"):
        order, values = _pick(boxes_xyxy, torch.where(valid, scores, 0.0), labels, limit, settings)
        kept = values > settings.score_threshold
    else:
        keep = valid
        if settings.kind != "none":
            keep = _first_kept(boxes_xyxy, scores, labels, valid, settings.iou, limit)
        # They lie by falling score already; ranks, unlike scores, are never equal.
        ranks = torch.arange(keep.shape[1], 0, -1, dtype=torch.float32, device=keep.device)
        order = torch.where(keep, ranks, ranks - keep.shape[1]).topk(limit, dim=1).indices
        values, kept = scores.gather(1, order), keep.gather(1, order)
    chosen = _take(boxes_xyxy, order)
    if settings.kind == "wbf":
        chosen = _fuse(chosen, order, kept, boxes_xyxy, torch.where(valid, scores, 0.0), labels, settings.iou)
    return Kept(rows.gather(1, order), kept.sum(dim=1), values, chosen)


def _take(boxes_xyxy: Tensor, rows: Tensor) -> Tensor:
    return boxes_xyxy.gather(1, rows[..., None].expand(-1, -1, 4))


def _in_graph(values: Tensor) -> bool:
    return torch.compiler.is_compiling() or type(values) is not Tensor


def _first_kept(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, valid: Tensor, iou: float, limit: int) -> Tensor:
    """Which rows, by falling score, greedy suppression keeps, (B, N) bool; rows behind the first ``limit`` may lack.

    Whether a box is kept depends on those with higher scores alone. So outside of a graph on a CPU one and a half times
    as many boxes as are asked for go first, then three times as many of images where too few of these are kept.
    """
    if scores.is_meta:  # only shapes are asked for
        return valid
    laid_out = _lay_out(boxes_xyxy, labels, valid)
    N, few = scores.shape[1], limit + limit // 2
    if few >= N or _in_graph(scores) or not scores.is_cpu:
        return _greedy(laid_out, scores, labels, valid, iou)
    keep, short = torch.zeros_like(valid), torch.arange(len(valid))
    while len(short):
        boxes, ranks, classes, real = (values[short, :few] for values in (laid_out, scores, labels, valid))
        keep[short, :few] = _greedy(boxes, ranks, classes, real, iou)
        more = valid[short, few] if few < N else torch.zeros_like(short, dtype=torch.bool)
        short = short[more & (keep[short].sum(1) < limit)]
        few = min(3 * few, N)
    return keep


def _greedy(laid_out: Tensor, scores: Tensor, labels: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Which rows greedy suppression keeps, (B, N) bool.

    The boxes, as :func:`_lay_out` gives them, go through ``torchvision.ops.nms`` together; outside of a graph on a CPU
    cell by cell. What it keeps (a number that depends on the data) becomes a mask of fixed size.
    """
    laid_out = laid_out.flatten(0, 1)
    ranks = torch.where(valid, scores, -1.0).flatten()
    if _in_graph(scores):
        # A graph of torch.export takes the number of kept rows for two at least; two more boxes, which nothing
        # overlaps and which are worth least, make that true.
        apart = torch.tensor([[-3.0, -3.0, -2.5, -2.5], [-5.0, -5.0, -4.5, -4.5]], device=ranks.device) * _LATTICE
        ranks = torch.cat((ranks, ranks.new_full((2,), -2.0)))
        keep = torchvision_operators().nms(torch.cat((laid_out, apart)), ranks, iou)
    else:
        # Outside of a graph the number of rows may follow the data, and padding need not be compared with anything.
        real = valid.flatten().nonzero().squeeze(1)
        cells = labels + torch.arange(len(labels), device=labels.device)[:, None] * (labels.amax() + 1)
        keep = real[suppress_apart(laid_out[real], ranks[real], cells.flatten()[real], iou)]
    flat = scores.new_zeros(scores.shape[0] * scores.shape[1] + 2).scatter(0, keep, 1.0)
    return (flat[:-2].view_as(scores) > 0.5) & valid


def _pick(
    boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, limit: int, settings: NmsSettings
) -> tuple[Tensor, Tensor]:
    """Pick the highest score of each image, lower the scores of the boxes that it overlaps, and pick again.

    Returns the rows by falling score and these scores, (B, K) each; a row that is picked scores 0 from then on.
    """
    graph = _in_graph(scores)
    B, N = scores.shape
    square, starts = scores, labels
    if graph:
        # In a graph a pick looks up one row of a matrix, which is few operations. Outside of one that row is computed
        # when it is asked for, which takes no memory for the square of the boxes.
        factors = _factors(boxes_xyxy, labels, boxes_xyxy, labels, settings)
        square = torch.where(torch.eye(N, dtype=torch.bool, device=scores.device), 0.0, factors).flatten(0, 1)
        starts = torch.arange(B, dtype=torch.int64, device=scores.device) * N
    picks: list[Tensor] = []
    values: list[Tensor] = []
    for _ in range(limit):
        value, pick = scores.max(dim=1)
        if not graph and scores.is_cpu and value.max() <= settings.score_threshold:
            break
        if graph:
            scores = scores * square.index_select(0, pick + starts)
        else:
            row = pick[:, None]
            factors = _factors(_take(boxes_xyxy, row), labels.gather(1, row), boxes_xyxy, labels, settings)
            scores = (scores * factors[:, 0]).scatter_(1, row, 0.0)
        picks.append(pick)
        values.append(value)
    if not picks:
        return labels.new_zeros(B, limit), scores.new_zeros(B, limit)
    rest = (0, limit - len(picks))
    return F.pad(torch.stack(picks, dim=1), rest), F.pad(torch.stack(values, dim=1), rest)


def _factors(
    picked_xyxy: Tensor, picked_labels: Tensor, boxes_xyxy: Tensor, labels: Tensor, settings: NmsSettings
) -> Tensor:
    """What the scores of boxes (B, N) are multiplied by when boxes (B, P) are picked, (B, P, N)."""
    overlap = pairwise_iou(picked_xyxy, boxes_xyxy, "diou" if settings.kind == "diou" else "iou")
    if settings.kind == "diou" and settings.diou_beta != 1:
        iou = pairwise_iou(picked_xyxy, boxes_xyxy)
        overlap = iou - (iou - overlap).clamp(min=0) ** settings.diou_beta
    if settings.kind == "soft_gaussian":
        factors = (-(overlap**2) / settings.sigma).exp()
    elif settings.kind == "soft":
        factors = torch.where(overlap > settings.iou, 1 - overlap, 1.0)
    else:
        factors = torch.where(overlap > settings.iou, 0.0, 1.0)
    return torch.where(picked_labels[..., :, None] == labels[..., None, :], factors, 1.0)


def _fuse(
    chosen_xyxy: Tensor, order: Tensor, kept: Tensor, boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, iou: float
) -> Tensor:
    """Mean of each kept box and those that it dropped, weighted by score, (B, K, 4)."""
    K, N = order.shape[1], scores.shape[1]
    joins = (pairwise_iou(chosen_xyxy, boxes_xyxy) > iou) & kept[..., None]
    joins = joins & (labels.gather(1, order)[..., None] == labels[:, None])
    # A box was dropped by the first that overlaps it; a kept one joins itself alone, whatever rounding says.
    ranks = torch.arange(K, device=order.device)[:, None]
    joins = joins & (torch.where(joins, ranks, K).amin(dim=1, keepdim=True) == ranks)
    own = (order[..., None] == torch.arange(N, device=order.device)) & kept[..., None]
    joins = (joins & ~own.any(dim=1, keepdim=True)) | own
    weights = joins * scores[:, None]
    fused = weights @ boxes_xyxy / weights.sum(dim=2, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.where(kept[..., None], fused, chosen_xyxy)


def _lay_out(boxes_xyxy: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Boxes (B, K, 4) in whole lattice steps, each in its cell of the grid; padding lies in one heap outside of it.

    The grid has a column a class and a row an image, so that boxes of different classes or images cannot meet.

    Precision: shifting floats rounds them by an amount that grows with the shift, and the result for an image would
    depend on its position in the batch. So boxes are first rounded to whole steps of a lattice over the extent of their
    own image. Whole numbers below 2^24 are exact in float32: with at most 127 classes and 127 images the decision
    depends on nothing but the image itself; beyond that it loses a bit each time either number doubles.
    """
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
