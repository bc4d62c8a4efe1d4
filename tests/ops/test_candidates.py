"""The best pairs of an anchor and a class against a full sort."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saccade.ops.candidates import top_candidates, top_pairs

SHAPES = [(2, 50, 7, 20), (1, 30, 1, 10), (3, 12, 4, 12), (2, 9, 5, 100), (1, 1, 3, 1), (2, 40, 80, 1)]


def assert_equal_to_a_full_sort(found: tuple[Tensor, Tensor, Tensor], scores: Tensor, k: int) -> None:
    values, anchors, labels = found
    B, A, C = scores.shape
    count = min(k, A)
    assert values.shape == anchors.shape == labels.shape == (B, count)
    assert torch.equal(values, scores.flatten(1).sort(dim=1, descending=True).values[:, :count])
    pairs = anchors * C + labels
    assert torch.equal(scores.flatten(1).gather(1, pairs), values)  # they are the scores of these pairs ...
    assert all(len(set(image)) == count for image in pairs.tolist())  # ... of which none occurs twice


@pytest.mark.parametrize(("B", "A", "C", "k"), SHAPES)
def test_pairs(B: int, A: int, C: int, k: int) -> None:
    scores = torch.randn(B, A, C, generator=torch.Generator().manual_seed(A))
    found = top_pairs(scores, k)
    assert_equal_to_a_full_sort(found, scores, k)
    order = scores.flatten(1).argsort(dim=1, descending=True)[:, : min(k, A)]
    assert torch.equal(found[1] * C + found[2], order)


@pytest.mark.parametrize(("B", "A", "C", "k"), SHAPES)
def test_pairs_whose_scores_tie(B: int, A: int, C: int, k: int) -> None:
    scores = torch.randint(0, 4, (B, A, C), generator=torch.Generator().manual_seed(A)).float()
    assert_equal_to_a_full_sort(top_pairs(scores, k), scores, k)
    assert_equal_to_a_full_sort(top_pairs(torch.zeros(B, A, C), k), torch.zeros(B, A, C), k)


@pytest.mark.parametrize(("B", "A", "C", "k"), SHAPES)
@pytest.mark.parametrize("spread", [1.0, 30.0])  # at 30 many probabilities are exactly 1
def test_candidates(B: int, A: int, C: int, k: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(A)
    logits = spread * torch.randn(B, A, C, generator=generator)
    quality = torch.rand(B, A, generator=generator).round(decimals=1)
    assert_equal_to_a_full_sort(top_candidates(logits, k), logits.sigmoid(), k)
    assert_equal_to_a_full_sort(top_candidates(logits, k, quality), logits.sigmoid() * quality[..., None], k)


def test_no_anchors() -> None:
    for found in (top_pairs(torch.zeros(2, 0, 3), 5), top_candidates(torch.zeros(2, 0, 3), 5, torch.zeros(2, 0))):
        assert [tuple(tensor.shape) for tensor in found] == [(2, 0)] * 3
