"""SimOTA: assignment of anchor points to objects (Ge et al. 2021, YOLOX, section 2.3).

Optimal transport assignment (OTA, arXiv 2103.14259) asks for the cheapest way to hand out points to objects; SimOTA
replaces its solver by a top-k. Each object takes its k cheapest anchor points, with its own k; a point that several
objects took goes to the one for which it is cheapest.

The whole batch is assigned at once, objects in portions where there are very many, so that memory stays bounded.
Letters: B images, M objects an image (padded), A anchor points, K of them that are
candidates in their image, C classes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from saccade.ops.iou import pairwise_iou

__all__ = ["CANDIDATES", "Candidates", "Matches", "Predictions", "candidate_regions", "simota"]

Candidates = Literal["box_or_center", "center"]
CANDIDATES: tuple[Candidates, ...] = ("box_or_center", "center")

_RADIUS = {"box_or_center": 2.5, "center": 1.5}  # strides
_TOP = 10  # points whose overlaps add up to k
_IOU_WEIGHT = 3.0  # lambda of equation 1
_PAIRS = 2**22  # pairs of an object and a point that are worked on at a time
_OUTSIDE = {"box_or_center": 1e5, "center": 1e6}


class Predictions(NamedTuple):
    """Predictions of every anchor point, in float32."""

    boxes_xyxy: Tensor  # (B, A, 4) decoded, pixels
    objectness: Tensor  # (B, A) logits
    logits: Tensor  # (B, A, C)


class Matches(NamedTuple):
    """P pairs of an anchor point and the object it is positive for, by image and point."""

    image: Tensor  # (P,) int64
    point: Tensor  # (P,) int64, 0..A-1
    target: Tensor  # (P,) int64, 0..M-1
    iou: Tensor  # (P,) overlap of the predicted box with the object


@torch.no_grad()
def simota(
    predictions: Predictions,
    centres: Tensor,
    strides: Tensor,
    boxes_xyxy: Tensor,
    labels: Tensor,
    candidates: Candidates = "box_or_center",
) -> Matches:
    """SimOTA: assign anchor points to objects.

    Candidates of an image are points inside any of its boxes or within 2.5 strides of the centre of one. The cost of a
    candidate for an object is ``BCE(class) - 3 log(IoU)``, plus 1e5 unless it lies both inside this object's box and
    near its centre. With ``candidates="center"`` they are the points within 1.5 strides of the centre of any box, and
    the cost has 1e6 added unless the point is near the centre of this one. An object takes as many points as its ten
    best overlaps add up to (rounded down, at least one).

    Args:
        predictions: Decoded boxes and raw scores of every anchor point.
        centres: (A, 2) middle of each point's grid cell, pixels.
        strides: (A,) pixels.
        boxes_xyxy: Ground truth boxes, (B, M, 4), pixels.
        labels: (B, M) int64; rows with a negative label are padding.
        candidates: Which points may be positive at all, see above.

    Returns:
        The pairs; a point occurs at most once an image.

    Example:
        >>> centres, strides = torch.tensor([[4.0, 4.0], [12.0, 4.0]]), torch.tensor([8.0, 8.0])
        >>> boxes, labels = torch.tensor([[[8.0, 0.0, 16.0, 8.0]]]), torch.tensor([[0]])
        >>> predicted = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]]])
        >>> predictions = Predictions(predicted, torch.zeros(1, 2), torch.zeros(1, 2, 1))
        >>> simota(predictions, centres, strides, boxes, labels).point.tolist()
        [1]
    """
    B, M = labels.shape
    valid = labels >= 0
    portion = max(1, _PAIRS // max(1, B * len(strides)))
    starts = range(0, M, portion)
    candidate = torch.zeros(B, len(strides), dtype=torch.bool, device=labels.device)
    for rows in (slice(start, start + portion) for start in starts):
        candidate |= candidate_regions(centres, strides, boxes_xyxy[:, rows], valid[:, rows], candidates)[0].any(dim=1)
    K = int(candidate.sum(dim=1).max()) if M else 0
    if K == 0:
        nothing = labels.new_empty(0)
        return Matches(nothing, nothing, nothing, predictions.boxes_xyxy.new_empty(0))

    # From here on only candidates: row b of `points` lists those of image b, filled up with point 0.
    image, point = candidate.nonzero(as_tuple=True)
    slot = candidate.cumsum(dim=1)[image, point] - 1
    points = labels.new_zeros(B, K)
    points[image, slot] = point
    real = torch.zeros(B, K, dtype=torch.bool, device=labels.device)
    real[image, slot] = True

    chosen = Predictions(
        predictions.boxes_xyxy.gather(1, points[..., None].expand(B, K, 4)),
        predictions.objectness.gather(1, points),
        predictions.logits.gather(1, points[..., None].expand(B, K, predictions.logits.shape[2])),
    )
    places = (centres[points][:, None], strides[points][:, None])  # (B, 1, K, 2) and (B, 1, K)
    class_cost = _ClassCost(chosen)
    top = min(_TOP, K)
    claims, owner = labels.new_zeros(2, B, K)  # how many objects take a point; the object, where that is one
    lowest, cheapest_for = chosen.objectness.new_full((B, K), torch.inf), labels.new_zeros(B, K)
    for start in starts:
        rows = slice(start, start + portion)
        boxes, own = boxes_xyxy[:, rows], valid[:, rows]
        pair = own[:, :, None] & real[:, None, :]  # (B, m, K)
        iou = pairwise_iou(boxes, chosen.boxes_xyxy) * pair
        cost = class_cost(labels[:, rows].clamp(min=0))  # equation 1 begins
        cost -= _IOU_WEIGHT * (iou + 1e-8).log_()
        cost += _OUTSIDE[candidates] * ~candidate_regions(*places, boxes, own, candidates)[1]
        cost.masked_fill_(~pair, torch.inf)

        # Dynamic k, then the k cheapest points of each object.
        k = iou.topk(top, dim=2).values.sum(dim=2).int().clamp(min=1)
        cheapest, slots = cost.topk(top, dim=2, largest=False)  # (B, m, top)
        taken = (torch.arange(top, device=k.device) < k[..., None]) & cheapest.isfinite()
        objects = torch.arange(start, start + taken.shape[1], device=labels.device)[:, None] * taken
        claims.scatter_add_(1, slots.flatten(1), taken.flatten(1).long())
        owner.scatter_add_(1, slots.flatten(1), objects.flatten(1))
        if portion < M:
            low, index = cost.min(dim=1)
            cheapest_for = torch.where(low < lowest, index + start, cheapest_for)
            lowest = torch.minimum(low, lowest)

    image, slot = (claims > 1).nonzero(as_tuple=True)
    owner[image, slot] = cheapest_for[image, slot] if portion < M else cost[image, :, slot].argmin(dim=1)
    image, slot = (claims > 0).nonzero(as_tuple=True)
    point, target = points[image, slot], owner[image, slot]
    iou = pairwise_iou(boxes_xyxy[image, target][:, None], predictions.boxes_xyxy[image, point][:, None])[:, 0, 0]
    return Matches(image, point, target, iou)


def candidate_regions(
    centres: Tensor,
    strides: Tensor,
    boxes_xyxy: Tensor,
    valid: Tensor,
    candidates: Candidates = "box_or_center",
) -> tuple[Tensor, Tensor]:
    """Whether anchor points are candidates for a box, which may be positive for it, and whether they are good ones.

    Args:
        centres: (A, 2) middle of each point's grid cell, pixels; (B, 1, A, 2) for points of each image's own.
        strides: (A,) pixels, or (B, 1, A).
        boxes_xyxy: Ground truth boxes, (B, M, 4), pixels.
        valid: (B, M) bool; false for padding, which has no candidates.
        candidates: ``box_or_center`` for points in the box or near its centre, of which the good ones are both;
            ``center`` for those near its centre, all of them good.

    Returns:
        Candidates and good candidates, (B, M, A) bool each.

    Example:
        >>> centres, strides = torch.tensor([[4.0, 4.0], [28.0, 4.0], [60.0, 4.0]]), torch.full((3,), 8.0)
        >>> box, valid = torch.tensor([[[0.0, 0.0, 64.0, 8.0]]]), torch.tensor([[True]])
        >>> [region.tolist() for region in candidate_regions(centres, strides, box, valid)]
        [[[[True, True, True]]], [[[False, True, False]]]]
        >>> candidate_regions(centres, strides, box, valid, "center")[0].tolist()
        [[[False, True, False]]]
    """
    middle = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    half = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]) / 2
    half = half.where(valid[..., None], -1.0)[..., None]  # no distance is below it
    radius = _RADIUS[candidates] * strides
    dx = (centres[..., 0] - middle[..., 0, None]).abs_()
    dy = (centres[..., 1] - middle[..., 1, None]).abs_()
    inside = (dx < half[..., 0, :]) & (dy < half[..., 1, :])
    central = (torch.maximum(dx, dy, out=dx) < radius) & valid[..., None]
    return (central, central) if candidates == "center" else (inside | central, inside & central)


class _ClassCost:
    """Binary cross-entropy between class scores and each object's one-hot label, summed over classes.

    With p the square root of class times objectness probability, the sum over classes is ``-sum_c log(1 - p_c)``, which
    the objects share, plus ``log(1 - p_g) - log(p_g)`` for the object's class g: no (B, M, K, C) is made. Logarithms
    stop at -100, as in ``F.binary_cross_entropy``.
    """

    def __init__(self, candidates: Predictions) -> None:
        p = (candidates.logits.sigmoid() * candidates.objectness.sigmoid()[..., None]).sqrt_()  # (B, K, C)
        self.p = p.transpose(1, 2).contiguous()  # (B, C, K): an object picks a whole row
        self.shared = torch.log1p(-self.p).clamp_(min=-100).sum(dim=1)

    def __call__(self, labels: Tensor) -> Tensor:
        """Labels (B, m) to costs (B, m, K)."""
        own = self.p[torch.arange(len(labels), device=labels.device)[:, None], labels]
        cost = torch.log1p(-own).clamp_(min=-100)
        cost -= own.log_().clamp_(min=-100)
        cost -= self.shared[:, None, :]
        return cost
