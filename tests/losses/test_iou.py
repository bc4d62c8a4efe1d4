"""Box losses: values, agreement with torchvision, gradients of boxes that do not touch."""

from __future__ import annotations

import pytest
import torch
import torchvision

from saccade.losses.iou import iou_loss, squared_iou_loss

TARGET = torch.tensor([[10.0, 10.0, 20.0, 20.0]])
DISJOINT = torch.tensor([[40.0, 10.0, 50.0, 20.0]])
SHIFTED = torch.tensor([[15.0, 10.0, 25.0, 20.0]])  # a third of the union


def test_values() -> None:
    assert iou_loss(SHIFTED, TARGET).item() == pytest.approx(2 / 3)
    assert squared_iou_loss(SHIFTED, TARGET).item() == pytest.approx(8 / 9)
    assert squared_iou_loss(TARGET, TARGET).item() == pytest.approx(0, abs=0)
    assert iou_loss(DISJOINT, TARGET, "giou").item() == pytest.approx(
        torchvision.ops.generalized_box_iou_loss(DISJOINT, TARGET).item()
    )


@pytest.mark.parametrize(("kind", "moves"), [("iou", False), ("giou", True), ("diou", True), ("ciou", True)])
def test_only_plain_iou_cannot_move_disjoint_boxes(kind, moves: bool) -> None:
    boxes = DISJOINT.clone().requires_grad_()
    iou_loss(boxes, TARGET, kind).sum().backward()
    assert bool(boxes.grad.abs().sum() > 0) is moves
