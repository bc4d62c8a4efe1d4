"""Anchors fitted to the objects of a data set by the ratio of sides: YOLOv5's AutoAnchor.

An anchor fits an object if neither side is more than four times, or less than a quarter of, the object's
(:mod:`saccade.models.detection.yolo_assign_ratio`). The share of objects that some anchor fits is the best possible
recall. K-means under ``1 - IoU`` gives the first anchors; random mutations that raise the fitness make them better.
Written from public descriptions of the method.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.ops.kmeans_anchors import kmeans_anchors
from saccade.ops.shapes import RATIO_THRESHOLD, side_ratios

__all__ = ["AnchorFit", "best_possible_recall", "fit_anchors", "ratio_fitness"]

_CHANGED, _SPREAD, _RANGE = 0.9, 0.1, (0.3, 3.0)  # of a mutation: share of sides, deviation, limits of the factor
_SMALLEST = 2.0  # pixels


@dataclass(frozen=True)
class AnchorFit:
    """Result of :func:`fit_anchors`.

    Args:
        anchors: Width and height of each level, fine to coarse, pixels; those of before unless they were replaced.
        before: Best possible recall of the anchors of before.
        after: That of the fitted ones.
        replaced: Whether it rose.

    Example:
        >>> print(AnchorFit((((10.0, 13.0),), ((30.0, 61.0),)), before=0.91, after=0.99, replaced=True))
        best possible recall of the anchors 0.9100, of fitted ones 0.9900: 10,13 / 30,61
    """

    anchors: tuple[tuple[tuple[float, float], ...], ...]
    before: float
    after: float
    replaced: bool

    def __str__(self) -> str:
        if not self.replaced:
            found = "no others were tried" if self.before == 1 else f"fitted ones have {self.after:.4f}"
            return f"best possible recall of the anchors {self.before:.4f}; {found}"
        levels = " / ".join(" ".join(f"{width:g},{height:g}" for width, height in level) for level in self.anchors)
        return f"best possible recall of the anchors {self.before:.4f}, of fitted ones {self.after:.4f}: {levels}"


def best_possible_recall(sizes: Tensor, anchors: Tensor, threshold: float = RATIO_THRESHOLD) -> float:
    """Share of objects that at least one anchor fits.

    Args:
        sizes: Width and height of the objects, (N, 2), pixels.
        anchors: (K, 2), pixels.
        threshold: Factor that both sides must stay below.

    Example:
        >>> best_possible_recall(torch.tensor([[10.0, 10.0], [90.0, 10.0]]), torch.tensor([[20.0, 20.0]]))
        0.5
    """
    if not len(sizes):
        return 1.0
    return float((side_ratios(sizes, anchors).amin(dim=1) < threshold).float().mean())


def ratio_fitness(sizes: Tensor, anchors: Tensor, threshold: float = RATIO_THRESHOLD) -> float:
    """Mean over the objects of the ratio of sides to the best anchor, at most 1; 0 for objects that none fits.

    Args:
        sizes: Width and height of the objects, (N, 2), pixels.
        anchors: (K, 2), pixels.
        threshold: Factor that both sides must stay below.

    Example:
        >>> ratio_fitness(torch.tensor([[10.0, 10.0], [90.0, 10.0]]), torch.tensor([[20.0, 20.0]]))
        0.25
    """
    best = side_ratios(sizes, anchors).amin(dim=1)
    return float(((best < threshold) / best).mean())


def fit_anchors(
    sizes: Tensor,
    anchors: Sequence[Sequence[tuple[float, float]]],
    seed: int = 0,
    generations: int = 1000,
    threshold: float = RATIO_THRESHOLD,
) -> AnchorFit:
    """Fit anchors to objects: k-means, then mutations; kept only if the best possible recall rises.

    Args:
        sizes: Width and height of the objects on the network's canvas, (N, 2), pixels.
        anchors: Those of now, of each level, fine to coarse; as many a level are returned, by area.
        seed: Of k-means and mutations.
        generations: Mutations that are tried.
        threshold: Factor that both sides must stay below.

    Example:
        >>> sizes = torch.tensor([[130.0, 10.0], [110.0, 12.0], [8.0, 8.0], [9.0, 9.0]])
        >>> fit = fit_anchors(sizes, [[(10.0, 10.0)], [(30.0, 30.0)]])
        >>> fit.before, fit.after, fit.replaced
        (0.75, 1.0, True)
    """
    sizes = sizes[(sizes > 0).all(dim=1)].float()
    present = tuple(tuple((float(width), float(height)) for width, height in level) for level in anchors)
    own = torch.tensor(list(itertools.chain(*present)))
    before = best_possible_recall(sizes, own, threshold)
    if before == 1 or len(sizes.unique(dim=0)) < len(own):
        return AnchorFit(present, before, before, replaced=False)
    found = _mutated(sizes, kmeans_anchors(sizes, len(own), seed), seed, generations, threshold)
    found = found[found.prod(dim=1).argsort()].round(decimals=1)
    after = best_possible_recall(sizes, found, threshold)
    if after <= before:
        return AnchorFit(present, before, after, replaced=False)
    rows = iter(found.tolist())
    fitted = tuple(tuple((width, height) for width, height in itertools.islice(rows, len(level))) for level in present)
    return AnchorFit(fitted, before, after, replaced=True)


def _mutated(sizes: Tensor, anchors: Tensor, seed: int, generations: int, threshold: float) -> Tensor:
    """The fittest of a row of random changes, each of the fittest before it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(normal: bool = False) -> Tensor:
        make = torch.randn if normal else torch.rand
        return make(anchors.shape, generator=generator)

    fitness = ratio_fitness(sizes, anchors, threshold)
    for _ in range(generations):
        strength = float(torch.rand((), generator=generator))
        factors = 1 + (draw() < _CHANGED) * draw(normal=True) * strength * _SPREAD
        changed = (anchors * factors.clamp(*_RANGE)).clamp(min=_SMALLEST)
        reached = ratio_fitness(sizes, changed, threshold)
        if reached > fitness:
            anchors, fitness = changed, reached
    return anchors
