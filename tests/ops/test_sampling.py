"""Hard negative mining against a slow version and against the choice of torchvision's SSD."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.ops.sampling import hard_negatives, sample_balanced, sample_rows


def slow_choice(losses: list[float], positive: list[bool], ratio: float) -> list[bool]:
    negatives = [anchor for anchor, own in enumerate(positive) if not own]
    hardest = sorted(negatives, key=lambda anchor: (-losses[anchor], anchor))
    chosen = hardest[: math.ceil(ratio * sum(positive))]
    return [anchor in chosen for anchor in range(len(losses))]


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_equal_to_the_slow_version(ratio: float) -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 30)))
        losses = rng.integers(0, 6, shape).astype(np.float32)  # many of them are equal
        positive = rng.random(shape) < rng.choice([0.0, 0.1, 0.4, 1.0])
        found = hard_negatives(torch.from_numpy(losses), torch.from_numpy(positive), ratio)
        assert found.tolist() == [
            slow_choice(*image, ratio) for image in zip(losses.tolist(), positive.tolist(), strict=True)
        ]


def torchvisions_choice(losses: Tensor, positive: Tensor) -> Tensor:
    """As SSD.compute_loss has it: ranks by sorting twice."""
    masked = losses.masked_fill(positive, -float("inf"))
    _, order = masked.sort(1, descending=True)
    return order.sort(1)[1] < 3 * positive.sum(1, keepdim=True)


def test_equal_to_torchvisions_choice() -> None:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(4, 8732, generator=generator)
    positive = torch.rand(4, 8732, generator=generator) < torch.tensor([[0.0], [0.001], [0.01], [0.2]])
    assert torch.equal(hard_negatives(losses, positive), torchvisions_choice(losses, positive))


def test_positives_are_never_chosen_even_where_negatives_run_out() -> None:
    # torchvision would count positives among the negatives here.
    positive = torch.tensor([[True, True, False, True]])
    assert hard_negatives(torch.ones(1, 4), positive).tolist() == [[False, False, True, False]]
    assert not hard_negatives(torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool)).any()
    assert not hard_negatives(torch.ones(1, 4), torch.zeros(1, 4, dtype=torch.bool)).any()


@pytest.mark.parametrize(("positives", "negatives"), [(0, 90), (90, 0), (3, 90), (50, 40), (40, 3), (0, 0)])
def test_sampled_rows_are_as_many_as_asked_and_none_twice(positives: int, negatives: int) -> None:
    positive, negative = torch.zeros(2, 4, 100, dtype=torch.bool)
    for image in range(4):
        order = torch.randperm(100)
        positive[image, order[:positives]] = True
        negative[image, order[positives : positives + negatives]] = True
    rows, valid = sample_rows(positive, negative, 32, 0.25)
    assert rows.shape == (4, 32)
    chosen = sample_balanced(positive, negative, 32, 0.25)
    wanted = min(positives, 8) + min(negatives, 32 - min(positives, 8))
    for image in range(4):
        own = rows[image][valid[image]]
        assert len(own.unique()) == len(own) == wanted == int(chosen[image].sum())
        kinds = positive[image, own]
        assert int(kinds.sum()) == min(positives, 8) == int((chosen & positive)[image].sum())
        assert not kinds[int(kinds.sum()) :].any()  # positives come first
        assert (positive | negative)[image, own].all()


def test_every_row_is_as_likely_as_another() -> None:
    positive = torch.zeros(4000, 12, dtype=torch.bool)
    positive[:, :6] = True
    rows, valid = sample_rows(positive, ~positive, 4, 0.5, torch.Generator().manual_seed(0))
    assert valid.all()
    counts = torch.bincount(rows.flatten(), minlength=12)
    assert (counts.double() / 4000 - 1 / 3).abs().max() < 0.03


def test_a_seeded_generator_chooses_the_same_again() -> None:
    positive = torch.rand(3, 50) < 0.5
    first, second = (sample_rows(positive, ~positive, 10, 0.5, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first[0], second[0])


def test_fewer_rows_than_asked() -> None:
    positive = torch.tensor([[True, False]])
    rows, valid = sample_rows(positive, ~positive, 512, 0.25)
    assert rows.tolist() == [[0, 1]]
    assert valid.all()
