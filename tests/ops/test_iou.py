"""Overlaps against torchvision, and what must hold for any boxes."""

from __future__ import annotations

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from saccade.ops.iou import aligned_iou, pairwise_giou, pairwise_iou


def random_boxes(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * 80
    return torch.cat((corner, corner + 1 + torch.rand(*shape, 2, generator=generator) * 60), dim=-1)


def test_pairwise_equals_torchvision_image_by_image() -> None:
    first, second = random_boxes(0, 3, 20), random_boxes(1, 3, 30)
    for ours, theirs in ((pairwise_iou, torchvision.ops.box_iou), (pairwise_giou, torchvision.ops.generalized_box_iou)):
        expected = torch.stack([theirs(a, b) for a, b in zip(first, second, strict=True)])
        torch.testing.assert_close(ours(first, second), expected)


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("giou", torchvision.ops.generalized_box_iou_loss),
        ("diou", torchvision.ops.distance_box_iou_loss),
        ("ciou", torchvision.ops.complete_box_iou_loss),
    ],
)
def test_aligned_values_and_gradients_equal_torchvision(kind, loss) -> None:
    target = random_boxes(3, 200)
    ours, theirs = random_boxes(2, 200).requires_grad_(), random_boxes(2, 200).requires_grad_()
    value, expected = 1 - aligned_iou(ours, target, kind), loss(theirs, target)
    torch.testing.assert_close(value, expected)
    value.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 2**31 - 1))
def test_symmetry_and_ranges(seed: int) -> None:
    first, second = random_boxes(seed, 16), random_boxes(seed + 1, 16)
    iou, giou = aligned_iou(first, second), aligned_iou(first, second, "giou")
    torch.testing.assert_close(iou, aligned_iou(second, first))
    torch.testing.assert_close(iou, pairwise_iou(first, second).diagonal(), rtol=1e-5, atol=1e-6)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert ((giou >= -1) & (giou <= iou + 1e-6)).all()
    for kind in ("iou", "giou", "diou", "ciou"):
        torch.testing.assert_close(aligned_iou(first, first, kind), torch.ones(16))


def test_empty_boxes_overlap_nothing() -> None:
    point = torch.tensor([[4.0, 4.0, 4.0, 4.0]])
    assert pairwise_iou(point, point).item() == 0
    assert pairwise_iou(point, torch.zeros(0, 4)).shape == (1, 0)
    assert all(torch.isfinite(aligned_iou(point, point, kind)).all() for kind in ("iou", "giou", "diou", "ciou"))
