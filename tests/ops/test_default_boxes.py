"""Default boxes of SSD against torchvision's generator."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from saccade.ops.anchors import default_boxes, default_shapes

SSD300 = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))


def theirs(generator: DefaultBoxGenerator, size: tuple[int, int], maps: list[torch.Tensor]) -> torch.Tensor:
    images = ImageList(torch.zeros(1, 3, *size), [size])
    return generator(images, maps)[0]


def maps_of(*grids: tuple[int, int]) -> list[torch.Tensor]:
    return [torch.zeros(1, 1, *grid) for grid in grids]


def test_boxes_of_ssd300_are_those_of_torchvision() -> None:
    scales = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    maps = maps_of(*((side, side) for side in (38, 19, 10, 5, 3, 1)))
    expected = theirs(DefaultBoxGenerator(SSD300, scales=scales, steps=[8, 16, 32, 64, 100, 300]), (300, 300), maps)
    # The strides of 100 and 300 are the canvas divided by the grid.
    found = default_boxes(
        torch.zeros(1, 3, 300, 300), maps, default_shapes(scales, SSD300), (8, 16, 32, 64, None, None)
    )
    assert found.shape == (8732, 4)  # section 3.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found[:, 2:] - found[:, :2]).max() <= 300.01  # 0.87 sqrt(2) is cut off at the canvas


@pytest.mark.parametrize("size", [(320, 320), (256, 320)])
def test_boxes_without_steps_are_those_of_torchvision(size: tuple[int, int]) -> None:
    ratios = ((2, 3),) * 6
    generator = DefaultBoxGenerator(ratios, min_ratio=0.2, max_ratio=0.95)
    maps = maps_of(*((-(-size[0] // stride), -(-size[1] // stride)) for stride in (16, 32, 64, 128, 256, 512)))
    found = default_boxes(torch.zeros(1, 3, *size), maps, default_shapes(generator.scales, ratios), (None,) * 6)
    torch.testing.assert_close(found, theirs(generator, size, maps), rtol=0, atol=1e-4)


def test_eager_calls_share_one_tensor_and_compiled_graphs_compute_their_own() -> None:
    images, maps, shapes = torch.zeros(1, 3, 64, 64), maps_of((8, 8)), default_shapes((0.2, 0.5), ((2,),))
    with torch.inference_mode():
        first = default_boxes(images, maps, shapes, (8,))
    assert default_boxes(images, maps, shapes, (8,)) is first
    assert not first.is_inference()
    compiled = torch.compile(lambda images: default_boxes(images, maps, shapes, (8,)), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), first)
