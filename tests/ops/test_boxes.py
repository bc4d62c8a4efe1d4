"""Box formats, area and clipping against torchvision."""

from __future__ import annotations

import pytest
import torch
import torchvision

from saccade.ops import boxes as ops

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
