"""Focal losses against their plain definitions in float64, torchvision, and at extreme logits."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor

from saccade.losses.focal import (
    balanced_cross_entropy,
    penalty_reduced_focal_loss,
    sigmoid_focal_loss,
    sparse_focal_loss,
)

BALANCES = [(0.25, 2.0), (0.75, 0.0), (None, 0.5), (0.5, 5.0)]


def plain(x: float, target: float, alpha: float | None, gamma: float) -> float:
    """Equation 5 of the paper for one value with a target of 0 or 1."""
    p = 1 / (1 + math.exp(-x))
    pt, weight = (p, alpha) if target == 1 else (1 - p, None if alpha is None else 1 - alpha)
    return (1.0 if weight is None else weight) * (1 - pt) ** gamma * -math.log(pt)


def anchors(rows: int, classes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels with negatives and ignored rows, and the same labels one-hot."""
    generator = torch.Generator().manual_seed(rows + classes)
    logits = torch.randn(rows, classes, generator=generator, dtype=dtype) * 3
    labels = torch.randint(-2, classes, (rows,), generator=generator)
    return logits, labels, (labels[:, None] == torch.arange(classes)).to(dtype)


@pytest.mark.parametrize(("alpha", "gamma"), BALANCES)
def test_values_are_those_of_the_definition(alpha: float | None, gamma: float) -> None:
    logits, labels, targets = anchors(40, 3)
    expected = torch.tensor(
        [[plain(x, t, alpha, gamma) for x, t in zip(*row, strict=True)] for row in zip(logits, targets, strict=True)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, alpha, gamma), expected)
    torch.testing.assert_close(sparse_focal_loss(logits, labels, alpha, gamma), expected[labels != -2].sum())
    if gamma == 0:
        torch.testing.assert_close(balanced_cross_entropy(logits, targets, alpha), expected)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.75, 0.0), (-1, 1.5)])
def test_elementwise_equals_torchvision_with_soft_targets_too(alpha: float, gamma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(100, 7, generator=generator)
    for targets in (torch.rand(100, 7, generator=generator), (torch.rand(100, 7, generator=generator) > 0.9).float()):
        ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        loss = sigmoid_focal_loss(ours, targets, None if alpha < 0 else alpha, gamma)
        expected = torchvision.ops.sigmoid_focal_loss(theirs, targets, alpha, gamma)
        torch.testing.assert_close(loss, expected)
        loss.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("alpha", "gamma"), BALANCES)
@pytest.mark.parametrize("classes", [1, 3])
def test_analytic_gradients_are_the_numeric_ones(alpha: float | None, gamma: float, classes: int) -> None:
    logits, labels, targets = anchors(12, classes)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sparse_focal_loss(x, labels, alpha, gamma), logits)
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, targets, alpha, gamma), logits)


@pytest.mark.parametrize("rows", [4, 3000])  # one chunk and several
def test_sparse_equals_one_hot_in_value_and_gradient(rows: int) -> None:
    logits, labels, targets = anchors(rows, 80, torch.float32)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = sparse_focal_loss(ours.view(2, rows // 2, 80), labels.view(2, rows // 2))
    expected = sigmoid_focal_loss(theirs, targets)[labels != -2].sum()
    torch.testing.assert_close(loss, expected)
    (loss / 7).backward()
    (expected / 7).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)
    assert not ours.grad[labels == -2].any()


@pytest.mark.parametrize("rows", [4, 3000])  # one chunk and several
def test_weights_are_factors_on_each_anchor(rows: int) -> None:
    logits, labels, targets = anchors(rows, 80)
    weights = torch.rand(rows, dtype=torch.float64)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = sparse_focal_loss(ours, labels, weights=weights)
    expected = (sigmoid_focal_loss(theirs, targets) * weights[:, None])[labels != -2].sum()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_sparse_without_anchors_without_positives_and_without_gradient() -> None:
    assert sparse_focal_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 0
    assert sparse_focal_loss(torch.randn(5, 3), torch.full((5,), -2)) == 0
    logits = torch.randn(5, 3, requires_grad=True)
    sparse_focal_loss(logits, torch.full((5,), -1)).backward()
    assert (logits.grad > 0).all()
    with torch.no_grad():
        assert not sparse_focal_loss(logits, torch.full((5,), -1)).requires_grad


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_have_finite_losses_and_gradients(gamma: float, dtype: torch.dtype) -> None:
    values = torch.tensor([-1e4, -200.0, -100.0, -30.0, 0.0, 30.0, 100.0, 200.0, 1e4], dtype=dtype)
    logits = values[:, None].repeat(1, 2).requires_grad_()
    for labels in (torch.full((9,), -1), torch.ones(9, dtype=torch.int64)):
        one_hot = (labels[:, None] == torch.arange(2)).float()
        for loss in (
            sparse_focal_loss(logits, labels, 0.25, gamma),
            sigmoid_focal_loss(logits, one_hot, 0.25, gamma).sum(),
            penalty_reduced_focal_loss(logits, one_hot, gamma),
        ):
            logits.grad = None
            loss.backward()
            assert loss.dtype is torch.float32
            assert torch.isfinite(loss)
            assert torch.isfinite(logits.grad).all()
            # What is surely right costs nothing and is left alone; what is surely wrong is pushed.
            wrong = logits.grad[-1, 0] > 0.5
            assert wrong
            assert logits.grad[0, 0] == 0


def test_bfloat16_logits_under_autocast_give_the_float32_value() -> None:
    logits, labels, targets = anchors(500, 8, torch.float32)
    logits = logits.bfloat16()
    expected = sparse_focal_loss(logits.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sparse_focal_loss(logits, labels), expected)
        kept = sigmoid_focal_loss(logits, targets)[labels != -2]
        torch.testing.assert_close(kept.sum(), expected)
        heat = penalty_reduced_focal_loss(logits, targets)
    torch.testing.assert_close(heat, penalty_reduced_focal_loss(logits.float(), targets), rtol=0, atol=0)


def test_penalty_reduced_equals_equation_1() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    targets = torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    targets[0, 1, 2, 3] = targets[1, 0, 0, 0] = 1.0
    expected = 0.0
    for x, y in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        expected -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
    assert penalty_reduced_focal_loss(logits, targets).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: penalty_reduced_focal_loss(x, targets), logits.requires_grad_())


def test_sparse_compiles_as_one_graph() -> None:
    logits, labels, _ = anchors(20, 4, torch.float32)
    compiled = torch.compile(sparse_focal_loss, fullgraph=True, backend="aot_eager")
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    compiled(ours, labels).backward()
    sparse_focal_loss(theirs, labels).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
