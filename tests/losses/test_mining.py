"""Losses of hard examples against a slow, obvious choice."""

from __future__ import annotations

import pytest
import torch

from saccade.losses.mining import hard_negative_loss, ohem_loss


@pytest.mark.parametrize("ratio", [0.5, 3.0, 100.0])
def test_hard_negatives_are_the_largest_of_each_image(ratio: float) -> None:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(5, 60, generator=generator, dtype=torch.float64).requires_grad_()
    positive = torch.rand(5, 60, generator=generator) > torch.tensor([0.95, 0.8, 2.0, -1.0, 0.5])[:, None]
    expected, chosen = 0.0, torch.zeros(5, 60)
    for image in range(5):
        rows = positive[image].nonzero().flatten().tolist()
        others = [row for row in range(60) if row not in rows]
        others.sort(key=lambda row: -losses[image, row].item())
        # "At most ratio for each positive": half a negative is one.
        for row in rows + others[: -int(-ratio * len(rows) // 1)]:
            expected += losses[image, row].item()
            chosen[image, row] = 1
    loss = hard_negative_loss(losses, positive, ratio)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert torch.equal(losses.grad.float(), chosen)
    assert not chosen[2].any()  # an image without positives


def test_ohem_takes_the_largest_of_each_image() -> None:
    losses = torch.rand(3, 20, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = ohem_loss(losses, 4)
    loss.backward()
    expected = sum(sum(sorted(row.tolist(), reverse=True)[:4]) for row in losses)
    assert loss.item() == pytest.approx(expected)
    assert losses.grad.sum(1).tolist() == [4, 4, 4]
    assert ohem_loss(losses, 100).item() == pytest.approx(losses.sum().item())
    assert ohem_loss(losses[:, :0], 100) == 0
