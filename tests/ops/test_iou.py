"""Overlaps against torchvision, and what must hold for any boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from saccade.ops.iou import IouKind, aligned_iou, pairwise_iou

KINDS: tuple[IouKind, ...] = ("iou", "giou", "diou", "ciou")


def random_boxes(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * 80
    return torch.cat((corner, corner + 1 + torch.rand(*shape, 2, generator=generator) * 60), dim=-1)


def test_pairwise_equals_torchvision_image_by_image() -> None:
    first, second = random_boxes(0, 3, 20), random_boxes(1, 3, 30)
    theirs: dict[IouKind, Callable[..., torch.Tensor]] = {
        "iou": torchvision.ops.box_iou,
        "giou": torchvision.ops.generalized_box_iou,
        "diou": torchvision.ops.distance_box_iou,
        "ciou": torchvision.ops.complete_box_iou,
    }
    for kind, function in theirs.items():
        expected = torch.stack([function(a, b) for a, b in zip(first, second, strict=True)])
        torch.testing.assert_close(pairwise_iou(first, second, kind), expected)


def plain(a: Sequence[float], b: Sequence[float], kind: IouKind) -> float:
    """Overlap of two boxes by the papers' equations, in Python's floats."""
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    (aw, ah), (bw, bh) = ((box[2] - box[0], box[3] - box[1]) for box in (a, b))
    union = aw * ah + bw * bh - width * height
    iou = width * height / union
    hull_width, hull_height = (max(a[i + 2], b[i + 2]) - min(a[i], b[i]) for i in (0, 1))
    if kind == "giou":
        return iou - (hull_width * hull_height - union) / (hull_width * hull_height)
    rho2 = sum(((a[i] + a[i + 2]) / 2 - (b[i] + b[i + 2]) / 2) ** 2 for i in (0, 1))
    diou = iou - rho2 / (hull_width**2 + hull_height**2)
    v = 4 / math.pi**2 * (math.atan(bw / bh) - math.atan(aw / ah)) ** 2
    return {"iou": iou, "diou": diou, "ciou": diou - (v / (1 - iou + v) if v else 0) * v}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_float64_values_are_those_of_the_equations(kind: IouKind) -> None:
    first, second = random_boxes(5, 30).double(), random_boxes(6, 30).double()
    second[0] = first[0]
    expected = torch.tensor([[plain(a, b, kind) for b in second.tolist()] for a in first.tolist()], dtype=torch.float64)
    torch.testing.assert_close(pairwise_iou(first, second, kind), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(aligned_iou(first, second, kind), expected.diagonal(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["iou", "giou", "diou"])
def test_gradients_are_the_numeric_ones(kind: IouKind) -> None:
    first, second = (random_boxes(seed, 6).double().requires_grad_() for seed in (7, 8))
    assert torch.autograd.gradcheck(lambda a, b: pairwise_iou(a, b, kind), (first, second))
    assert torch.autograd.gradcheck(lambda a, b: aligned_iou(a, b, kind), (first, second))


def test_gradients_of_ciou_are_the_numeric_ones_with_alpha_held() -> None:
    # alpha is a weight, and no gradient passes through it: the numeric gradient is that of the sum with alpha fixed.
    first, second = random_boxes(7, 6).double().requires_grad_(), random_boxes(8, 6).double()
    aligned_iou(first, second, "ciou").sum().backward()

    def aspect(boxes: torch.Tensor) -> torch.Tensor:
        ratios = ((box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]) for box in (boxes, second))
        return 4 / math.pi**2 * torch.stack([ratio.atan() for ratio in ratios]).diff(dim=0)[0] ** 2

    v = aspect(first.detach())
    alpha = v / (1 - aligned_iou(first.detach(), second) + v)
    held = torch.autograd.functional.jacobian(
        lambda boxes: (aligned_iou(boxes, second, "diou") - alpha * aspect(boxes)).sum(), first.detach()
    )
    torch.testing.assert_close(first.grad, held)


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
    for kind in ("iou", "giou", "diou"):
        assert torch.equal(aligned_iou(first, second, kind), pairwise_iou(first, second, kind).diagonal())
    # The arc tangent of a processor's vectors may differ from that of its scalars in the last bit.
    torch.testing.assert_close(aligned_iou(first, second, "ciou"), pairwise_iou(first, second, "ciou").diagonal())


@pytest.mark.parametrize("side", [1e-6, 0.002, 1.0, 5000.0])
@pytest.mark.parametrize("corner", [0.0, 0.5])
def test_equal_boxes_of_any_size_overlap_by_exactly_one(side: float, corner: float) -> None:
    box = torch.tensor([[corner, corner, corner + side, corner + 2 * side]])
    assert [pairwise_iou(box, box, kind).item() for kind in KINDS] == [1, 1, 1, 1]
    assert [aligned_iou(box, box, kind).item() for kind in KINDS] == [1, 1, 1, 1]


@given(st.integers(0, 2**31 - 1), st.integers(-20, 20))
def test_the_unit_of_coordinates_does_not_matter(seed: int, exponent: int) -> None:
    first, second, scale = random_boxes(seed, 16), random_boxes(seed + 1, 16), 2.0**exponent
    assert torch.equal(pairwise_iou(first * scale, second * scale), pairwise_iou(first, second))
    assert torch.equal(pairwise_iou(first * scale, second * scale, "giou"), pairwise_iou(first, second, "giou"))
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
    leaf = some.clone().requires_grad_()
    pairs = pairwise_iou(leaf, some, kind)
    pairs.sum().backward()
    assert torch.isfinite(pairs).all()
    assert torch.isfinite(leaf.grad).all()
