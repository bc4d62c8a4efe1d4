"""Box losses from overlap: one minus IoU or one of its descendants."""

from __future__ import annotations

from torch import Tensor

from saccade.ops.iou import IouKind, aligned_iou

__all__ = ["iou_loss", "squared_iou_loss"]


def iou_loss(boxes_xyxy: Tensor, targets_xyxy: Tensor, kind: IouKind = "iou") -> Tensor:
    """``1 - IoU`` of each pair, or of GIoU, DIoU, CIoU.

    Plain IoU cannot move boxes that do not touch: its gradient there is zero. The others can.

    Args:
        boxes_xyxy: Predictions, (..., 4), pixels.
        targets_xyxy: Ground truths, (..., 4), pixels.
        kind: Which overlap, see :func:`saccade.ops.iou.aligned_iou`.

    Returns:
        (...), not reduced.
    """
    return 1 - aligned_iou(boxes_xyxy, targets_xyxy, kind)


def squared_iou_loss(boxes_xyxy: Tensor, targets_xyxy: Tensor) -> Tensor:
    """``1 - IoU^2`` of each pair: the form of YOLOX's code, whose gradient grows with the overlap.

    Args:
        boxes_xyxy: Predictions, (..., 4), pixels.
        targets_xyxy: Ground truths, (..., 4), pixels.

    Returns:
        (...), not reduced, 0..1.
    """
    return 1 - aligned_iou(boxes_xyxy, targets_xyxy) ** 2
