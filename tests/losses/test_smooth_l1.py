"""Losses of box codes against their equations."""

from __future__ import annotations

import math

import pytest
import torch

from saccade.losses.smooth_l1 import balanced_l1_loss, l1_loss, smooth_l1_loss

DIFFERENCES = torch.tensor([0.0, 1e-3, 0.05, 0.11, 0.5, 0.999, 1.0, 1.5, 40.0], dtype=torch.float64)


@pytest.mark.parametrize("beta", [1.0, 1 / 9, 0.0])
def test_smooth_l1_equals_the_equation(beta: float) -> None:
    expected = [x * x / 2 / beta if x < beta else x - beta / 2 for x in DIFFERENCES.tolist()]
    targets = torch.full_like(DIFFERENCES, 0.25)
    for sign in (1, -1):
        found = smooth_l1_loss(targets + sign * DIFFERENCES, targets, beta)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    if beta == 0:
        torch.testing.assert_close(l1_loss(targets, targets + DIFFERENCES), DIFFERENCES)


def test_balanced_l1_equals_equation_10() -> None:
    alpha, gamma = 0.5, 1.5
    b = math.exp(gamma / alpha) - 1
    assert alpha * math.log(b + 1) == pytest.approx(gamma)  # equation 11: both pieces have one slope where they meet
    expected = [
        alpha / b * (b * x + 1) * math.log(b * x + 1) - alpha * x if x < 1 else gamma * x + gamma / b - alpha
        for x in DIFFERENCES.tolist()
    ]
    found = balanced_l1_loss(torch.zeros_like(DIFFERENCES), DIFFERENCES)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_slopes_of_balanced_l1_are_those_of_equation_9(beta: float) -> None:
    alpha, gamma = 0.5, 1.5
    b = math.exp(gamma / alpha) - 1
    leaf = DIFFERENCES.clone().requires_grad_()
    balanced_l1_loss(leaf, torch.zeros_like(leaf), beta).sum().backward()
    expected = [alpha * math.log(b * x / beta + 1) if x < beta else gamma for x in DIFFERENCES.tolist()]
    torch.testing.assert_close(leaf.grad, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("loss", [l1_loss, smooth_l1_loss, balanced_l1_loss])
def test_gradients_are_the_numeric_ones_and_finite_far_off(loss) -> None:
    targets = torch.zeros(6, dtype=torch.float64)
    predictions = torch.tensor([0.3, -0.7, 2.0, -3.0, 0.01, 9.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), predictions)
    far = torch.tensor([0.0, 1e30, -1e30], requires_grad=True)
    loss(far, torch.zeros(3)).sum().backward()
    assert torch.isfinite(far.grad).all()
