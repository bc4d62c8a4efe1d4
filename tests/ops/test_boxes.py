"""Box formats against torchvision, coding against its inverse."""

from __future__ import annotations

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from saccade.ops import boxes as ops
from saccade.ops.anchors import grid_points

BOXES = torch.tensor([[[3.0, 4.0, 10.0, 24.0], [0.0, 0.0, 1.0, 1.0]], [[-5.0, 2.5, 30.25, 7.0], [8.0, 8.0, 8.0, 12.0]]])


@pytest.mark.parametrize(
    ("convert", "source", "target"),
    [
        (ops.cxcywh_to_xyxy, "cxcywh", "xyxy"),
        (ops.xyxy_to_cxcywh, "xyxy", "cxcywh"),
        (ops.xywh_to_xyxy, "xywh", "xyxy"),
        (ops.xyxy_to_xywh, "xyxy", "xywh"),
    ],
)
def test_formats_equal_torchvision(convert, source, target) -> None:
    torch.testing.assert_close(convert(BOXES), torchvision.ops.box_convert(BOXES, source, target))


def test_area_of_an_inverted_box_is_zero() -> None:
    assert ops.box_area(BOXES).tolist() == [[140.0, 1.0], [35.25 * 4.5, 0.0]]
    assert ops.box_area(torch.tensor([5.0, 5.0, 3.0, 3.0])) == 0


def test_clip_equals_torchvision() -> None:
    torch.testing.assert_close(ops.clip_boxes(BOXES, (10, 20)), torchvision.ops.clip_boxes_to_image(BOXES, (10, 20)))


@given(st.integers(0, 2**31 - 1))
def test_encode_is_the_inverse_of_decode(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points, strides = grid_points([torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 3, 4)], (8, 16))
    raw = torch.randn(2, len(points), 4, generator=generator)
    decoded = ops.decode_points(raw, points, strides)
    assert (decoded[..., 2:] > decoded[..., :2]).all()
    torch.testing.assert_close(ops.encode_points(decoded, points, strides), raw, rtol=1e-4, atol=1e-4)


def test_an_empty_box_has_a_finite_code() -> None:
    code = ops.encode_points(torch.tensor([[5.0, 5.0, 5.0, 9.0]]), torch.zeros(1, 2), torch.tensor([8.0]))
    assert torch.isfinite(code).all()
