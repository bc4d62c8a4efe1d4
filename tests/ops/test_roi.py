"""RoIAlign and RoIPool against plain float64 loops, values and gradients; the pyramid's rule of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torchvision
from torch import Tensor

from saccade.errors import ConfigError
from saccade.ops import roi
from saccade.ops.roi import pyramid_levels, roi_align, roi_pool

CANVAS = (60, 76)


def slow_align(feature: Tensor, box: Sequence[float], stride: float, size: int, samples: int, aligned: bool) -> Tensor:
    """One box of one map (C, H, W), cell by cell and sample by sample."""
    C = len(feature)
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (value / stride - shift for value in box)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    rows = samples or max(math.ceil(height / size), 0)
    columns = samples or max(math.ceil(width / size), 0)
    cells = []
    for i in range(size):
        for j in range(size):
            total = feature.new_zeros(C)
            for a in range(rows):
                for b in range(columns):
                    y = y1 + height / size * (i + (a + 0.5) / rows)
                    x = x1 + width / size * (j + (b + 0.5) / columns)
                    total = total + bilinear(feature, y, x)
            cells.append(total / max(rows * columns, 1))
    return torch.stack(cells, dim=1).view(C, size, size)


def bilinear(feature: Tensor, y: float, x: float) -> Tensor:
    C, H, W = feature.shape
    if y < -1 or y > H or x < -1 or x > W:
        return feature.new_zeros(C)
    y, x = min(max(y, 0.0), H - 1.0), min(max(x, 0.0), W - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, H - 1), min(left + 1, W - 1)
    v, u = y - top, x - left
    upper = (1 - u) * feature[:, top, left] + u * feature[:, top, right]
    lower = (1 - u) * feature[:, bottom, left] + u * feature[:, bottom, right]
    return (1 - v) * upper + v * lower


def slow_pool(feature: Tensor, box: Sequence[float], stride: float, size: int) -> Tensor:
    C, H, W = feature.shape

    def nearest(value: float) -> int:  # halves away from zero, as C's round
        return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)

    x1, y1, x2, y2 = (nearest(value / stride) for value in box)
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    pooled = feature.new_zeros(C, size, size)
    for i in range(size):
        for j in range(size):
            top = min(max(math.floor(i * height / size) + y1, 0), H)
            bottom = min(max(math.ceil((i + 1) * height / size) + y1, 0), H)
            left = min(max(math.floor(j * width / size) + x1, 0), W)
            right = min(max(math.ceil((j + 1) * width / size) + x1, 0), W)
            if bottom > top and right > left:
                pooled[:, i, j] = feature[:, top:bottom, left:right].amax(dim=(1, 2))
    return pooled


def random_boxes(batch: int, count: int, seed: int = 0) -> Tensor:
    """Inside of the canvas, on its border, without area, and beyond it."""
    generator = torch.Generator().manual_seed(seed)
    height, width = CANVAS
    low = torch.rand(batch, count, 2, generator=generator) * torch.tensor([width, height]) * 0.8
    side = torch.rand(batch, count, 2, generator=generator) ** 2 * 50
    boxes = torch.cat((low, low + side), dim=2)
    boxes[:, 0] = torch.tensor([0.0, 0.0, width, height])
    boxes[:, 1] = 0.0
    boxes[:, 2] = torch.tensor([-9.0, -7.0, width + 30.0, 20.0])
    boxes[:, 3] = torch.tensor([30.0, 20.0, 30.0, 20.0])
    return boxes


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 2, 3])
def test_roi_align_equals_plain_loops(samples: int, aligned: bool) -> None:
    torch.manual_seed(0)
    stride, size = 4, 3
    feature = torch.randn(2, 5, 15, 19, dtype=torch.float64).float().requires_grad_()
    boxes = random_boxes(2, 12)
    found = roi_align([feature], boxes, (stride,), size, samples, aligned)
    weight = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weight).sum(), feature)

    exact = feature.detach().double().requires_grad_()
    expected = torch.stack(
        [
            torch.stack(
                [slow_align(exact[image], box.tolist(), stride, size, samples, aligned) for box in boxes[image]]
            )
            for image in range(2)
        ]
    )
    (wanted,) = torch.autograd.grad((expected * weight.double()).sum(), exact)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(gradient.double(), wanted, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("stride", [1, 4])
def test_roi_pool_equals_plain_loops(stride: int) -> None:
    torch.manual_seed(0)
    feature = torch.randn(2, 4, CANVAS[0] // stride, CANVAS[1] // stride).requires_grad_()
    boxes = random_boxes(2, 12, seed=1)
    found = roi_pool(feature, boxes, stride, 3)
    weight = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weight).sum(), feature)
    exact = feature.detach().double().requires_grad_()
    expected = torch.stack(
        [torch.stack([slow_pool(exact[image], box.tolist(), stride, 3) for box in boxes[image]]) for image in range(2)]
    )
    (wanted,) = torch.autograd.grad((expected * weight.double()).sum(), exact)
    torch.testing.assert_close(found.double(), expected)
    torch.testing.assert_close(gradient.double(), wanted, atol=1e-5, rtol=1e-5)


def pyramid(channels: int = 6) -> tuple[list[Tensor], tuple[int, ...]]:
    torch.manual_seed(1)
    strides = (4, 8, 16, 32)
    return [torch.randn(2, channels, 256 // s, 320 // s).requires_grad_() for s in strides], strides


def wide_boxes() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    low = torch.rand(2, 40, 2, generator=generator) * 100
    boxes = torch.cat((low, low + 1 + torch.rand(2, 40, 2, generator=generator) * 300), dim=2)
    return torch.minimum(boxes, torch.tensor([320.0, 256.0, 320.0, 256.0]))


@pytest.mark.parametrize("samples", [0, 2])
def test_pyramid_equals_torchvision(samples: int) -> None:
    maps, strides = pyramid()
    boxes = wide_boxes()
    pooler = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, samples)
    expected = pooler({str(n): level for n, level in enumerate(maps)}, list(boxes), [(256, 320)] * 2)
    found = roi_align(maps, boxes, strides, 7, samples)
    assert len(pyramid_levels(boxes, 4).unique()) >= 3
    torch.testing.assert_close(found.flatten(0, 1), expected, atol=1e-4, rtol=1e-4)
    weight = torch.randn_like(found)
    ours = torch.autograd.grad((found * weight).sum(), maps)
    theirs = torch.autograd.grad((expected * weight.flatten(0, 1)).sum(), maps)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_graphs_for_other_runtimes_give_the_same(samples: int, aligned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of boxes at the border, and of those that count as a step wide and so reach beyond it."""
    maps, strides = pyramid()
    boxes = wide_boxes()
    boxes[:, :6, 2:] = torch.tensor([320.0, 256.0])
    boxes[:, :6, :2] = boxes[:, :6, 2:] - torch.tensor([[0.3, 0.3], [3.5, 2.0], [1, 90], [90, 1], [0, 0], [200, 200]])
    expected = roi_align(maps, boxes, strides, 5, samples, aligned)
    assert len(pyramid_levels(boxes, 4).unique()) >= 3
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found = roi_align(maps, boxes, strides, 5, samples, aligned)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_roi_align_is_one_graph_and_takes_bf16() -> None:
    maps, strides = pyramid()
    maps = [level.detach() for level in maps]
    boxes = wide_boxes()
    expected = roi_align(maps, boxes, strides, 4)
    compiled = torch.compile(lambda m, b: roi.roi_align(m, b, strides, 4), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(maps, boxes), expected)
    half = roi_align([level.bfloat16() for level in maps], boxes, strides, 4)
    torch.testing.assert_close(half.float(), expected, atol=0.06, rtol=0.05)


def test_no_boxes_give_nothing() -> None:
    maps, strides = pyramid()
    assert roi_align(maps, torch.zeros(2, 0, 4), strides, 7).shape == (2, 0, 6, 7, 7)
    assert roi_pool(maps[0], torch.zeros(2, 0, 4), 4, 7).shape == (2, 0, 6, 7, 7)


def test_levels_are_those_of_the_equation() -> None:
    sides = torch.tensor([1.0, 55.9, 56.0, 111.9, 112.0, 223.9, 224.0, 447.0, 448.0, 2000.0])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=1)
    expected = [min(max(math.floor(4 + math.log2(side / 224)), 2), 5) - 2 for side in sides.tolist()]
    assert pyramid_levels(boxes, 4).tolist() == expected
    assert pyramid_levels(torch.zeros(1, 4), 4).tolist() == [0]


def test_strides_and_maps_are_as_many() -> None:
    with pytest.raises(ConfigError, match="1 maps and 2 strides"):
        roi_align([torch.zeros(1, 1, 4, 4)], torch.zeros(1, 1, 4), (4, 8), 7)
