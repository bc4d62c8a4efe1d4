"""Box coding against its inverse."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.ops.anchors import grid_points
from saccade.ops.box_coding import decode_points, encode_points


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
