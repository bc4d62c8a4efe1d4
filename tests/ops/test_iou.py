"""Overlaps against torchvision, and what must hold for any boxes."""

from __future__ import annotations

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from saccade.ops.iou import IouKind, aligned_iou, pairwise_giou, pairwise_iou

KINDS: tuple[IouKind, ...] = ("iou", "giou", "diou", "ciou")


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
    assert ((iou >= 0) & (iou <= 1)).all()
    assert ((giou >= -1) & (giou <= iou + 1e-6)).all()


@given(st.integers(0, 2**31 - 1), st.floats(1e-6, 1.0))
def test_pairwise_and_aligned_are_the_same_number(seed: int, scale: float) -> None:
    first, second = random_boxes(seed, 16) * scale, random_boxes(seed + 1, 16) * scale
    assert torch.equal(aligned_iou(first, second), pairwise_iou(first, second).diagonal())
    assert torch.equal(aligned_iou(first, second, "giou"), pairwise_giou(first, second).diagonal())


@pytest.mark.parametrize("side", [1e-6, 0.002, 1.0, 5000.0])
@pytest.mark.parametrize("corner", [0.0, 0.5])
def test_equal_boxes_of_any_size_overlap_by_exactly_one(side: float, corner: float) -> None:
    box = torch.tensor([[corner, corner, corner + side, corner + 2 * side]])
    assert pairwise_iou(box, box).item() == pairwise_giou(box, box).item() == 1
    assert [aligned_iou(box, box, kind).item() for kind in KINDS] == [1, 1, 1, 1]


@given(st.integers(0, 2**31 - 1), st.integers(-20, 20))
def test_the_unit_of_coordinates_does_not_matter(seed: int, exponent: int) -> None:
    first, second, scale = random_boxes(seed, 16), random_boxes(seed + 1, 16), 2.0**exponent
    assert torch.equal(pairwise_iou(first * scale, second * scale), pairwise_iou(first, second))
    assert torch.equal(pairwise_giou(first * scale, second * scale), pairwise_giou(first, second))
    for kind in KINDS:
        torch.testing.assert_close(aligned_iou(first * scale, second * scale, kind), aligned_iou(first, second, kind))


def test_empty_boxes_overlap_nothing() -> None:
    point = torch.tensor([[4.0, 4.0, 4.0, 4.0]])
    assert pairwise_iou(point, point).item() == aligned_iou(point, point).item() == 0
    assert pairwise_iou(point, torch.zeros(0, 4)).shape == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_boxes_have_finite_values_and_gradients(kind: IouKind) -> None:
    some = torch.tensor(
        [
            [4.0, 4.0, 4.0, 4.0],  # a point
            [4.0, 0.0, 4.0, 100.0],  # a vertical line
            [0.0, 4.0, 100.0, 4.0],  # a horizontal line
            [0.0, 0.0, 1e-20, 1e-20],  # its area underflows
            [0.0, 0.0, 1e-13, 1e4],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 8.0, 8.0],
        ]
    )
    first = some.repeat_interleave(len(some), 0).requires_grad_()
    second = some.repeat(len(some), 1).requires_grad_()
    value = aligned_iou(first, second, kind)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(first.grad).all()
    assert torch.isfinite(second.grad).all()
    if kind in ("iou", "giou"):
        leaf = some.clone().requires_grad_()
        (pairwise_iou if kind == "iou" else pairwise_giou)(leaf, some).sum().backward()
        assert torch.isfinite(leaf.grad).all()
