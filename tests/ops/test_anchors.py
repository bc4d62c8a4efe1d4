"""Anchor points: order, sharing, and that no mode of torch leaves its tensors in the shared copy."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from saccade.ops.anchors import grid_points


def feature_maps(height: int, width: int) -> list[torch.Tensor]:
    return [torch.zeros(2, 3, height, width), torch.zeros(2, 3, height // 2, width // 2)]


def test_points_go_row_by_row_and_level_by_level() -> None:
    points, strides = grid_points(feature_maps(2, 4), (8, 16))
    assert points.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [0, 1], [1, 1], [2, 1], [3, 1], [0, 0], [1, 0]]
    assert strides.tolist() == [8.0] * 8 + [16.0] * 2


def test_one_copy_a_shape() -> None:
    assert grid_points(feature_maps(6, 4), (8, 16))[0] is grid_points(feature_maps(6, 4), (8, 16))[0]
    assert len(grid_points(feature_maps(4, 4), (8, 16))[0]) == 20


def test_a_copy_made_in_inference_mode_serves_training() -> None:
    with torch.inference_mode():
        grid_points(feature_maps(10, 14), (8, 16))
    points, _ = grid_points(feature_maps(10, 14), (8, 16))
    weight = torch.ones(len(points), 2, requires_grad=True)
    (weight * points).sum().backward()
    assert torch.equal(weight.grad, points)


def test_fake_tensors_are_not_shared() -> None:
    with FakeTensorMode():
        grid_points(feature_maps(12, 18), (8, 16))
    assert grid_points(feature_maps(12, 18), (8, 16))[0].sum() > 0


def test_inside_a_compiled_graph() -> None:
    compiled = torch.compile(lambda levels: grid_points(levels, (8, 16))[0] * 2, fullgraph=True, backend="eager")
    assert torch.equal(compiled(feature_maps(4, 6)), grid_points(feature_maps(4, 6), (8, 16))[0] * 2)
