"""IoU losses of box regression: one minus IoU, GIoU, DIoU or CIoU."""

from __future__ import annotations

from torch import Tensor

from saccade.ops.iou import IouKind, aligned_iou

__all__ = ["iou_loss", "squared_iou_loss"]


def iou_loss(boxes_xyxy: Tensor, targets_xyxy: Tensor, kind: IouKind = "iou") -> Tensor:
    """IoU loss of each predicted box: one minus IoU, GIoU, DIoU or CIoU with its target.

    The gradient of plain IoU is zero for boxes that do not touch, so it cannot move them. The others can.

    Args:
        boxes_xyxy: Predictions, (..., 4), pixels.
        targets_xyxy: (..., 4), pixels.
        kind: Which overlap, see :func:`saccade.ops.iou.aligned_iou`.

    Returns:
        (...), not reduced.

    Example:
        >>> boxes, targets = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])
        >>> iou_loss(boxes, targets), iou_loss(boxes, targets, "diou")
        (tensor([0.6667]), tensor([0.7436]))
    """
    return 1 - aligned_iou(boxes_xyxy, targets_xyxy, kind)


def squared_iou_loss(boxes_xyxy: Tensor, targets_xyxy: Tensor) -> Tensor:
    """Squared IoU loss of each predicted box, ``1 - IoU^2``: the form in YOLOX's code.

    Its gradient grows with the overlap.

    Args:
        boxes_xyxy: Predictions, (..., 4), pixels.
        targets_xyxy: (..., 4), pixels.

    Returns:
        (...), not reduced, 0..1.

    Example:
        >>> squared_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
        tensor([0.8889])
    """
    return 1 - aligned_iou(boxes_xyxy, targets_xyxy) ** 2
