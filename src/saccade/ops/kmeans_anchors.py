"""Anchors by k-means on the boxes of a data set, with 1 - IoU as distance.

Redmon and Farhadi 2017 (YOLOv2, arXiv 1612.08242), section 2, "dimension clusters": with Euclidean distance large boxes
would decide everything. Boxes and anchors are compared with one centre, so that only their sides matter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.ops.shapes import shape_iou

__all__ = ["kmeans_anchors", "mean_best_iou"]


def kmeans_anchors(sizes: Tensor, k: int = 5, seed: int = 0, rounds: int = 300) -> Tensor:
    """Cluster the sides of boxes under ``1 - IoU`` into k anchors.

    The start is that of greedy k-means++ (Arthur and Vassilvitskii 2007). A cluster that loses all of its boxes begins
    again at the box that is farthest from its own anchor.

    Args:
        sizes: Width and height of boxes, (N, 2); boxes with a side that is 0, negative or no number are left out.
        k: How many anchors; 5 in the paper.
        seed: Of the start.
        rounds: At most so many; it ends as soon as no box changes its cluster.

    Returns:
        Width and height, (k, 2) float32, by rising area, in the unit of ``sizes``.

    Raises:
        ConfigError: If there are fewer than k different sizes.

    Example:
        >>> sizes = torch.tensor([[10.0, 10.0], [12.0, 10.0], [100.0, 40.0], [100.0, 44.0]])
        >>> kmeans_anchors(sizes, k=2).tolist()
        [[11.0, 10.0], [100.0, 42.0]]
    """
    if k < 1:
        raise ConfigError(f"k is {k}; there must be at least 1 anchor.")
    sizes = sizes.detach().cpu().float().reshape(-1, 2)
    sizes = sizes[(torch.isfinite(sizes) & (sizes > 0)).all(dim=1)]
    different = len(sizes.unique(dim=0))
    if different < k:
        raise ConfigError(f"{k} anchors cannot be made of boxes with {different} different sizes. Lower k.")
    generator = torch.Generator().manual_seed(seed)
    anchors = _start(sizes, k, generator)
    owners = torch.full((len(sizes),), -1)
    for _ in range(rounds):
        overlaps = shape_iou(sizes, anchors)
        best, nearest = overlaps.max(dim=1)
        nearest = _fill_empty(nearest, best, k)
        if torch.equal(nearest, owners):
            break
        owners = nearest
        counts = torch.zeros(k).index_add_(0, owners, torch.ones(len(sizes)))
        anchors = torch.zeros(k, 2).index_add_(0, owners, sizes) / counts[:, None]
    return anchors[anchors.prod(dim=1).argsort(stable=True)]


def mean_best_iou(sizes: Tensor, anchors: Tensor) -> float:
    """Mean IoU of boxes with the anchor most like each ("Avg IOU" of table 1 of YOLOv2).

    Args:
        sizes: Width and height of boxes, (N, 2).
        anchors: (K, 2).

    Returns:
        0..1; 1 where there is no box.

    Example:
        >>> mean_best_iou(torch.tensor([[10.0, 10.0], [20.0, 10.0]]), torch.tensor([[20.0, 10.0]]))
        0.75
    """
    if not len(sizes):
        return 1.0
    return float(shape_iou(sizes.float(), anchors.float()).amax(dim=1).mean())


def _start(sizes: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++: of a few boxes drawn by squared distance to the anchors so far, the one that helps most."""
    first = int(torch.randint(len(sizes), (), generator=generator))
    anchors = sizes[[first]]
    distances = _distances(sizes, anchors)[:, 0]
    while len(anchors) < k:
        # By cumulative sums: torch.multinomial stops at 2^24 boxes.
        sums = (distances.double() ** 2).cumsum(0)
        drawn = torch.rand(2 + int(math.log(k)), generator=generator, dtype=torch.float64) * sums[-1]
        tried = sizes[torch.searchsorted(sums, drawn, right=True).clamp(max=len(sizes) - 1)]
        left = torch.minimum(_distances(sizes, tried), distances[:, None])
        best = int((left**2).sum(dim=0).argmin())
        anchors, distances = torch.cat((anchors, tried[[best]])), left[:, best]
    return anchors


def _distances(sizes: Tensor, anchors: Tensor) -> Tensor:
    """1 - IoU, (N, K), and exactly 0 for equal sides, so that none is drawn twice."""
    equal = (sizes[:, None] == anchors).all(dim=2)
    return (1 - shape_iou(sizes, anchors)).clamp(min=1e-6).masked_fill(equal, 0.0)


def _fill_empty(nearest: Tensor, best: Tensor, k: int) -> Tensor:
    """Clusters of all boxes; one without any gets the box farthest from its anchor that leaves others behind."""
    counts = nearest.bincount(minlength=k)
    if bool((counts > 0).all()):
        return nearest
    nearest = nearest.clone()
    for place in best.argsort(stable=True).tolist():
        empty = (counts == 0).nonzero()
        if not len(empty):
            break
        if counts[nearest[place]] > 1:
            counts[nearest[place]] -= 1
            nearest[place] = empty[0, 0]
            counts[empty[0, 0]] += 1
    return nearest
