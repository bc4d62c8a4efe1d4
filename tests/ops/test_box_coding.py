"""Box coding against its inverse and against torchvision's coder."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from saccade.ops.anchors import grid_points
from saccade.ops.box_coding import (
    decode_anchors,
    decode_distances,
    decode_points,
    encode_anchors,
    encode_distances,
    encode_points,
)

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]


@given(st.integers(0, 2**31 - 1))
def test_encode_is_the_inverse_of_decode(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points, strides = grid_points([torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 3, 4)], (8, 16))
    raw = torch.randn(2, len(points), 4, generator=generator)
    decoded = decode_points(raw, points, strides)
    assert (decoded[..., 2:] > decoded[..., :2]).all()
    torch.testing.assert_close(encode_points(decoded, points, strides), raw, rtol=1e-4, atol=1e-4)


def test_an_empty_box_has_a_finite_code() -> None:
    code = encode_points(torch.tensor([[5.0, 5.0, 5.0, 9.0]]), torch.zeros(1, 2), torch.tensor([8.0]))
    assert torch.isfinite(code).all()


def random_boxes(seed: int, *shape: int) -> Tensor:
    """Sides of 1 to 200 pixels, anywhere in 640."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(*shape, 2, generator=generator) * 640
    return torch.cat((corners, corners + 1 + torch.rand(*shape, 2, generator=generator) * 199), dim=-1)


@given(st.integers(0, 2**31 - 2), st.sampled_from(WEIGHTS))
def test_codes_relative_to_anchors_are_inverse(seed: int, weights: tuple[float, float, float, float]) -> None:
    boxes, anchors = random_boxes(seed, 2, 30), random_boxes(seed + 1, 30)
    # Detectron's limit: a box is decoded at most 62.5 times as wide as its anchor.
    sides = boxes[..., 2:] - boxes[..., :2]
    boxes[..., 2:] = boxes[..., :2] + sides.minimum(60 * (anchors[:, 2:] - anchors[:, :2]))
    codes = encode_anchors(boxes, anchors, weights)
    torch.testing.assert_close(decode_anchors(codes, anchors, weights), boxes, rtol=1e-4, atol=1e-2)
    again = encode_anchors(decode_anchors(codes, anchors, weights), anchors, weights)
    torch.testing.assert_close(again, codes, rtol=1e-3, atol=5e-3)


@given(st.integers(0, 2**31 - 2))
def test_distances_are_inverse(seed: int) -> None:
    boxes, points = random_boxes(seed, 2, 30), random_boxes(seed + 1, 30)[:, :2]
    torch.testing.assert_close(decode_distances(encode_distances(boxes, points), points), boxes, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_equal_to_torchvisions_coder(weights: tuple[float, float, float, float]) -> None:
    coder = BoxCoder(weights)
    boxes, anchors = random_boxes(0, 50), random_boxes(1, 50)
    torch.testing.assert_close(encode_anchors(boxes, anchors, weights), coder.encode_single(boxes, anchors))
    codes = 4 * torch.randn(50, 4, generator=torch.Generator().manual_seed(2)) * torch.tensor(weights)
    assert (codes[:, 2:] / weights[2] > math.log(1000 / 16)).any()  # some are beyond the largest size
    torch.testing.assert_close(decode_anchors(codes, anchors, weights), coder.decode_single(codes, anchors))


def test_codes_of_empty_boxes_are_finite_and_large_codes_do_not_overflow() -> None:
    anchors = random_boxes(0, 3)
    assert torch.isfinite(encode_anchors(torch.tensor([[5.0, 5.0, 5.0, 9.0]]), anchors)).all()
    codes = torch.full((3, 4), 1e4, requires_grad=True)
    decoded = decode_anchors(codes, anchors)
    decoded.sum().backward()
    assert torch.isfinite(decoded).all()
    assert torch.isfinite(codes.grad).all()
