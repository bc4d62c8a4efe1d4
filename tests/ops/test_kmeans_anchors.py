"""K-means under 1 - IoU: against the rule in plain loops, seeds, clusters that run empty, bad input."""

from __future__ import annotations

import pytest
import torch

from saccade.errors import ConfigError
from saccade.ops import kmeans_anchors as module
from saccade.ops.kmeans_anchors import kmeans_anchors, mean_best_iou


def clusters(count: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    middles = torch.tensor([[10.0, 20.0], [60.0, 30.0], [40.0, 90.0], [200.0, 150.0], [100.0, 100.0]])
    noise = torch.rand(5, count, 2, generator=generator) * 0.2 + 0.9
    return (middles[:, None] * noise).flatten(0, 1)


def iou(first: list[float], second: list[float]) -> float:
    common = min(first[0], second[0]) * min(first[1], second[1])
    return common / (first[0] * first[1] + second[0] * second[1] - common)


def test_the_end_is_a_fixed_point_of_the_plain_rule() -> None:
    sizes = clusters()
    anchors = kmeans_anchors(sizes, k=5, seed=3).tolist()
    members: list[list[list[float]]] = [[] for _ in anchors]
    for size in sizes.tolist():
        overlaps = [iou(size, anchor) for anchor in anchors]
        members[overlaps.index(max(overlaps))].append(size)
    for anchor, own in zip(anchors, members, strict=True):
        mean = [sum(side) / len(own) for side in zip(*own, strict=True)]
        assert anchor == pytest.approx(mean, rel=1e-4)
    areas = [width * height for width, height in anchors]
    assert areas == sorted(areas)
    expected = sum(max(iou(size, anchor) for anchor in anchors) for size in sizes.tolist()) / len(sizes)
    assert mean_best_iou(sizes, torch.tensor(anchors)) == pytest.approx(expected, rel=1e-5)


def test_more_anchors_fit_better_and_seeds_repeat() -> None:
    sizes = clusters()
    fits = [mean_best_iou(sizes, kmeans_anchors(sizes, k)) for k in (1, 3, 5, 9)]
    assert fits == sorted(fits)
    assert fits[2] > 0.85 > fits[0]
    assert torch.equal(kmeans_anchors(sizes, 4, seed=7), kmeans_anchors(sizes, 4, seed=7))
    scaled = kmeans_anchors(sizes * 3, 5, seed=2)
    torch.testing.assert_close(scaled, kmeans_anchors(sizes, 5, seed=2) * 3)


def test_empty_clusters_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = clusters()
    # A start with two equal anchors: the second gets no box.
    monkeypatch.setattr(module, "_start", lambda sizes, k, generator: sizes[[0, 0, 100, 150, 200]])
    anchors = kmeans_anchors(sizes, 5)
    assert torch.isfinite(anchors).all()
    assert len(anchors.unique(dim=0)) == 5


def test_as_many_anchors_as_sizes_are_the_sizes() -> None:
    sizes = torch.tensor([[3.0, 9.0], [8.0, 8.0], [50.0, 2.0]]).repeat(4, 1)
    assert kmeans_anchors(sizes, 3).tolist() == [[3.0, 9.0], [8.0, 8.0], [50.0, 2.0]]


def test_bad_sizes_are_left_out_and_too_few_named() -> None:
    good = torch.tensor([[4.0, 4.0], [9.0, 9.0]])
    bad = torch.tensor([[0.0, 4.0], [float("nan"), 1.0], [-3.0, 2.0], [float("inf"), 2.0]])
    assert kmeans_anchors(torch.cat((bad, good)), 2).tolist() == [[4.0, 4.0], [9.0, 9.0]]
    with pytest.raises(ConfigError, match="5 anchors cannot be made of boxes with 2 different sizes"):
        kmeans_anchors(good)
    with pytest.raises(ConfigError, match="k is 0"):
        kmeans_anchors(good, k=0)
    assert mean_best_iou(torch.zeros(0, 2), good) == 1.0
