"""Anchors and anchor points: order, sharing, torchvision's numbers, and no mode of torch leaves its tensors behind."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from saccade.ops.anchors import AnchorSizes, canvas_size, cell_anchors, grid_anchors, grid_points


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


SIZES = tuple((side, side * 2 ** (1 / 3), side * 2 ** (2 / 3)) for side in (32, 64, 128, 256, 512))  # RetinaNet's
RATIOS = (0.5, 1.0, 2.0)


def pyramid(height: int, width: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    sides = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64, 128)]
    return torch.zeros(2, 3, height, width), [torch.zeros(2, 4, *side) for side in sides]


@pytest.mark.parametrize("size", [(128, 128), (256, 320), (97, 203), (64, 40)])
@pytest.mark.parametrize(("sizes", "ratios"), [(SIZES, RATIOS), (((16,), (32,), (64,), (128,), (256,)), (1.0,))])
def test_equal_to_torchvisions_anchors(size: tuple[int, int], sizes: AnchorSizes, ratios: tuple[float, ...]) -> None:
    images, maps = pyramid(*size)
    theirs = AnchorGenerator(sizes, (ratios,) * 5)(ImageList(images, [size] * 2), maps)
    assert torch.equal(grid_anchors(images, maps, sizes, ratios), theirs[0])
    for own, cell in zip(sizes, AnchorGenerator(sizes, (ratios,) * 5).cell_anchors, strict=True):
        assert torch.equal(cell_anchors(own, ratios), cell)


def test_anchors_of_a_shape_are_one_copy_that_serves_training() -> None:
    images, maps = pyramid(72, 104)
    with torch.inference_mode():
        grid_anchors(images, maps, SIZES, RATIOS)
    anchors = grid_anchors(images, maps, SIZES, RATIOS)
    assert anchors is grid_anchors(images, maps, SIZES, RATIOS)
    weight = torch.ones_like(anchors, requires_grad=True)
    (weight * anchors).sum().backward()
    assert torch.equal(weight.grad, anchors)


def test_fake_anchors_are_not_shared() -> None:
    with FakeTensorMode():
        grid_anchors(*pyramid(88, 136), SIZES, RATIOS)
    assert grid_anchors(*pyramid(88, 136), SIZES, RATIOS).abs().sum() > 0


def test_anchors_inside_a_compiled_graph() -> None:
    def boxes(images: torch.Tensor, maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return grid_anchors(images, maps, SIZES, RATIOS) * 2, canvas_size(images)

    compiled = torch.compile(boxes, fullgraph=True, backend="eager")
    anchors, size = compiled(*pyramid(64, 96))
    assert torch.equal(anchors, grid_anchors(*pyramid(64, 96), SIZES, RATIOS) * 2)
    assert size.tolist() == [64, 96]
