"""Loss of YOLOv5: CIoU, objectness and classes, each a mean, summed over the levels.

Written from public descriptions of release 6.1. Where YOLOv3 sums over an image, YOLOv5 takes means: of the boxes and
classes over the positives of a level, of the objectness over all cells of a level, which the levels' weights balance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.detection.yolo_cells import CellMatches
from saccade.ops.box_coding import decode_cells
from saccade.ops.iou import aligned_iou

__all__ = ["YOLOv5Gains", "yolov5_loss"]

_NOMINAL_BATCH = 64  # by which the authors' rates, 0.01 for SGD, are to be understood
_LEVELS, _CLASSES, _SIDE = 3, 80, 640  # for which the gains were chosen


@dataclass(frozen=True)
class YOLOv5Gains:
    """Weights of the terms of :func:`yolov5_loss`.

    Args:
        box: Of the boxes.
        objectness: Of the objectness.
        classes: Of the classes.
        balance: Of the objectness of each level, fine to coarse.

    Raises:
        ConfigError: If one is negative.

    Example:
        >>> YOLOv5Gains(balance=(4.0, 1.0, 0.4)).scaled(num_classes=20, size=(320, 320))
        YOLOv5Gains(box=0.05, objectness=0.25, classes=0.125, balance=(4.0, 1.0, 0.4))
    """

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.5
    balance: tuple[float, ...] = (4.0, 1.0, 0.4)

    def __post_init__(self) -> None:
        if min(self.box, self.objectness, self.classes, *self.balance) < 0:
            raise ConfigError(f"gains of the loss are factors of at least 0; got {self}.")

    def scaled(self, num_classes: int, size: tuple[int, int]) -> YOLOv5Gains:
        """The same for another number of classes and levels, and another canvas (height, width).

        A canvas of half the side has a quarter of the cells, among which the positives are four times as frequent.
        """
        levels = _LEVELS / len(self.balance)
        return YOLOv5Gains(
            self.box * levels,
            self.objectness * levels * size[0] * size[1] / _SIDE**2,
            self.classes * levels * num_classes / _CLASSES,
            self.balance,
        )


def yolov5_loss(
    outputs: Outputs,
    matches: CellMatches,
    boxes_xyxy: Tensor,
    labels: Tensor,
    gains: YOLOv5Gains,
) -> dict[str, Tensor]:
    """Loss terms of YOLOv5, times the nominal batch of 64.

    Args:
        outputs: Of ``AnchorYOLO.forward``, rows level by level.
        matches: Positive rows, and their objects; where a row occurs twice, both objects train it, and its objectness
            is the larger of its overlaps.
        boxes_xyxy: Objects, (B, M, 4), pixels.
        labels: (B, M) int64.
        gains: Weights of the terms, one ``balance`` a level.

    Returns:
        ``box``, ``objectness`` and ``class``, scalars.

    Example:
        >>> from saccade.models.detection.yolo_cells import CellMatches
        >>> rows = {"points": torch.zeros(2, 2), "strides": torch.full((2,), 32.0), "xy_scales": torch.full((2,), 2.0)}
        >>> rows |= {"anchors": torch.full((2, 2), 16.0)}
        >>> rows |= {"boxes": torch.zeros(1, 2, 4), "objectness": torch.zeros(1, 2), "logits": torch.zeros(1, 2, 3)}
        >>> boxes, labels = torch.tensor([[[8.0, 8.0, 24.0, 24.0]]]), torch.tensor([[1]])
        >>> first = torch.zeros(1, dtype=torch.int64)
        >>> terms = yolov5_loss(rows, CellMatches(first, first, first), boxes, labels, YOLOv5Gains(balance=(1.0,)))
        >>> {name: round(float(value) / 64, 4) for name, value in terms.items()}  # ln 2 where nothing is known
        {'box': 0.0, 'objectness': 0.6931, 'class': 0.3466}
    """
    raw, objectness, logits = outputs["boxes"].float(), outputs["objectness"].float(), outputs["logits"].float()
    points, strides, anchors, scales = (outputs[name] for name in ("points", "strides", "anchors", "xy_scales"))
    image, row, target = matches
    rows = raw.shape[1]

    # Level of each row: strides rise where a new one begins.
    level = (strides[1:] > strides[:-1]).long().cumsum(0)
    level = torch.cat((level.new_zeros(1), level))
    balance = raw.new_tensor(gains.balance)
    sizes = torch.zeros_like(balance).index_add_(0, level, balance.new_ones(rows))  # rows a level
    own_level = level[row]
    positives = torch.zeros_like(balance).index_add_(0, own_level, balance.new_ones(len(row))).clamp(min=1)
    # A mean of each level, and these summed: every positive weighs one over the positives of its level.
    share = 1 / positives[own_level]

    own_boxes = boxes_xyxy[image, target]
    decoded = decode_cells(raw[image, row], points[row], strides[row], anchors[row], scales[row], "square")
    overlap = aligned_iou(decoded, own_boxes, "ciou")
    box = ((1 - overlap) * share).sum()

    wanted = torch.zeros_like(objectness)
    wanted.view(-1).scatter_reduce_(0, image * rows + row, overlap.detach().clamp(min=0), "amax")
    each = F.binary_cross_entropy_with_logits(objectness, wanted, reduction="none")
    seen = (each.mean(dim=0) * (balance / sizes)[level]).sum()

    own_logits = logits[image, row]
    one_hot = torch.zeros_like(own_logits).scatter_(1, labels[image, target][:, None], 1.0)
    classes = F.binary_cross_entropy_with_logits(own_logits, one_hot, reduction="none").mean(dim=1)
    terms = {
        "box": gains.box * box,
        "objectness": gains.objectness * seen,
        "class": gains.classes * (classes * share).sum(),
    }
    return {name: _NOMINAL_BATCH * term for name, term in terms.items()}
