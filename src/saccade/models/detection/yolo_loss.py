"""Loss of YOLOv3 and v4: box, objectness and classes, each a sum over an image.

Redmon and Farhadi 2018 (YOLOv3, arXiv 1804.02767), sections 2.1 and 2.2; Bochkovskiy et al. 2020 (YOLOv4, arXiv
2004.10934), section 3.4. The terms are sums over the rows of an image and means over the images, as in Darknet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError, did_you_mean
from saccade.losses.focal import sigmoid_focal_loss
from saccade.losses.iou import iou_loss
from saccade.models.base import Outputs
from saccade.models.detection.yolo_box_error import squared_box_error
from saccade.models.detection.yolo_cells import CellMatches, largest_overlap
from saccade.ops.box_coding import SizeCoding, decode_cells
from saccade.ops.iou import aligned_iou

__all__ = ["YoloBoxLoss", "YoloLoss", "YoloObjectness", "yolo_loss"]

YoloBoxLoss = Literal["mse", "iou", "giou", "diou", "ciou"]
YoloObjectness = Literal["one", "iou"]


@dataclass(frozen=True)
class YoloLoss:
    """Settings of :func:`yolo_loss`.

    Args:
        box: Loss of the boxes: ``mse``, squared errors of centre and logarithmic sides, which weigh small boxes up to
            twice as much as large ones; or one minus an overlap.
        objectness: What a positive row's objectness should be: 1 (the paper), or the IoU of its box with the object.
        ignore: Rows that are not positive count as neither when their box overlaps an object more than this.
        focal_gamma: Focal loss of the objectness with this exponent, alpha 0.25; None for cross entropy.
        label_smoothing: Class targets are this half away from 0 and 1.
        box_gain: Factor on the box term.
        objectness_gain: Factor on the objectness term.
        class_gain: Factor on the class term.

    Raises:
        ConfigError: If a value is none of these, or out of its range.

    Example:
        >>> YoloLoss(box="ciou", box_gain=0.07).objectness
        'one'
    """

    box: YoloBoxLoss = "mse"
    objectness: YoloObjectness = "one"
    ignore: float = 0.5
    focal_gamma: float | None = None
    label_smoothing: float = 0.0
    box_gain: float = 1.0
    objectness_gain: float = 1.0
    class_gain: float = 1.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("box_loss", self.box, get_args(YoloBoxLoss)),
            ("objectness", self.objectness, get_args(YoloObjectness)),
        ):
            if value not in known:
                raise ConfigError(f"{name} is '{value}'.{did_you_mean(str(value), known)}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it must lie in [0, 1).")
        if not 0 <= self.ignore <= 1:
            raise ConfigError(f"ignore is {self.ignore}; it is an IoU and must lie between 0 and 1.")


def yolo_loss(
    outputs: Outputs,
    matches: CellMatches,
    boxes_xyxy: Tensor,
    labels: Tensor,
    settings: YoloLoss,
    size: SizeCoding = "exp",
) -> dict[str, Tensor]:
    """Loss terms of YOLOv3 and v4.

    Args:
        outputs: Of ``AnchorYOLO.forward``.
        matches: Positive rows, and their objects; where a row occurs twice, both objects train it.
        boxes_xyxy: Objects, (B, M, 4), pixels.
        labels: (B, M) int64, negative for rows that are not targets.
        settings: Kinds and weights.
        size: Coding of the sides.

    Returns:
        ``box``, ``objectness`` and ``class``, scalars.

    Example:
        >>> from saccade.models.detection.yolo_cells import CellMatches
        >>> rows = {"points": torch.zeros(2, 2), "strides": torch.full((2,), 32.0), "xy_scales": torch.ones(2)}
        >>> rows |= {"anchors": torch.full((2, 2), 16.0), "canvas": torch.tensor([32.0, 32.0])}
        >>> rows |= {"boxes": torch.zeros(1, 2, 4), "objectness": torch.zeros(1, 2), "logits": torch.zeros(1, 2, 3)}
        >>> boxes, labels = torch.tensor([[[8.0, 8.0, 24.0, 24.0]]]), torch.tensor([[1]])
        >>> first = torch.zeros(1, dtype=torch.int64)
        >>> yolo_loss(rows, CellMatches(first, first, first), boxes, labels, YoloLoss())
        {'box': tensor(0.), 'objectness': tensor(0.6931), 'class': tensor(2.0794)}
    """
    raw, objectness, logits = outputs["boxes"].float(), outputs["objectness"].float(), outputs["logits"].float()
    points, strides, anchors, scales = (outputs[name] for name in ("points", "strides", "anchors", "xy_scales"))
    images = raw.shape[0]
    image, row, target = matches

    own_raw, own_boxes = raw[image, row], boxes_xyxy[image, target]
    cells = points[row], strides[row], anchors[row]
    decoded = decode_cells(own_raw, *cells, scales[row], size)
    if settings.box == "mse":
        box = squared_box_error(own_raw, own_boxes, cells, outputs["canvas"], scales[row], size)
    else:
        box = iou_loss(decoded, own_boxes, settings.box).sum()

    with torch.no_grad():
        everything = decode_cells(raw.detach(), points, strides, anchors, scales, size)
        neither = largest_overlap(everything, boxes_xyxy, labels >= 0) > settings.ignore
        neither[image, row] = False
        wanted = torch.zeros_like(objectness)
        of_positive = aligned_iou(decoded, own_boxes) if settings.objectness == "iou" else decoded.new_ones(len(row))
        wanted.view(-1).scatter_reduce_(0, image * wanted.shape[1] + row, of_positive, "amax")
    if settings.focal_gamma is None:
        losses = F.binary_cross_entropy_with_logits(objectness, wanted, reduction="none")
    else:
        losses = sigmoid_focal_loss(objectness, wanted, gamma=settings.focal_gamma)

    classes = torch.full_like(logits[image, row], settings.label_smoothing / 2)
    classes.scatter_(1, labels[image, target][:, None], 1 - settings.label_smoothing / 2)
    terms = {
        "box": settings.box_gain * box,
        "objectness": settings.objectness_gain * losses.masked_fill(neither, 0.0).sum(),
        "class": settings.class_gain * F.binary_cross_entropy_with_logits(logits[image, row], classes, reduction="sum"),
    }
    return {name: term / max(images, 1) for name, term in terms.items()}
