"""Region loss of YOLOv2 (Redmon and Farhadi 2017, arXiv 1612.08242, section 2).

Squared errors of box and objectness as in YOLOv1, cross entropy of a softmax over the classes. What the paper leaves
open follows the authors' configurations: ``rescore`` (the target of objectness is the IoU of the predicted box),
``bias_match`` (boxes that own no object learn their anchor while the first 12,800 images are seen), the scales, and
larger weights for smaller boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.detection.yolo_box_error import squared_box_error
from saccade.models.detection.yolo_cells import CellMatches, largest_overlap
from saccade.ops.box_coding import cell_offsets, decode_cells
from saccade.ops.iou import aligned_iou

__all__ = ["RegionLoss", "region_loss"]


@dataclass(frozen=True)
class RegionLoss:
    """Settings of :func:`region_loss`, with the values of the authors' configurations.

    Args:
        object_scale: Factor on the objectness of rows with an object.
        no_object_scale: Factor on the objectness of all others.
        class_scale: Factor on the classes.
        coordinate_scale: Factor on the boxes.
        prior_scale: Factor on the distance of all other boxes from their anchors, in the warm-up.
        ignore: Rows without an object count as neither when their box overlaps one more than this.

    Raises:
        ConfigError: If a factor is negative, or ``ignore`` no overlap.

    Example:
        >>> RegionLoss(ignore=0.5).object_scale
        5.0
    """

    object_scale: float = 5.0
    no_object_scale: float = 1.0
    class_scale: float = 1.0
    coordinate_scale: float = 1.0
    prior_scale: float = 0.01
    ignore: float = 0.6

    def __post_init__(self) -> None:
        scales = self.object_scale, self.no_object_scale, self.class_scale, self.coordinate_scale, self.prior_scale
        if min(scales) < 0:
            raise ConfigError(f"scales of the loss are factors of at least 0; got {self}.")
        if not 0 <= self.ignore <= 1:
            raise ConfigError(f"ignore is {self.ignore}; it is an IoU and must lie between 0 and 1.")


def region_loss(
    outputs: Outputs,
    matches: CellMatches,
    boxes_xyxy: Tensor,
    labels: Tensor,
    settings: RegionLoss,
    warming_up: Tensor | float = 0.0,
) -> dict[str, Tensor]:
    """Loss terms of YOLOv2, summed over the rows of an image and averaged over the images.

    Squared errors are halved, so that their derivative is the plain difference, as Darknet has it.

    Args:
        outputs: Of ``AnchorYOLO.forward``.
        matches: Positive rows, each with one object.
        boxes_xyxy: Objects, (B, M, 4), pixels.
        labels: (B, M) int64, negative for rows that are not targets.
        settings: Scales.
        warming_up: 1 as long as boxes without an object learn their anchors, else 0; a tensor needs no wait for its
            device.

    Returns:
        ``box``, ``objectness``, ``class`` and ``prior``, scalars.

    Example:
        >>> from saccade.models.detection.yolo_cells import CellMatches
        >>> rows = {"points": torch.zeros(2, 2), "strides": torch.full((2,), 32.0), "xy_scales": torch.ones(2)}
        >>> rows |= {"anchors": torch.full((2, 2), 16.0), "canvas": torch.tensor([32.0, 32.0])}
        >>> rows |= {"boxes": torch.zeros(1, 2, 4), "objectness": torch.zeros(1, 2), "logits": torch.zeros(1, 2, 3)}
        >>> boxes, labels = torch.tensor([[[8.0, 8.0, 24.0, 24.0]]]), torch.tensor([[1]])
        >>> first = torch.zeros(1, dtype=torch.int64)
        >>> region_loss(rows, CellMatches(first, first, first), boxes, labels, RegionLoss())
        {'box': tensor(0.), 'objectness': tensor(0.6250), 'class': tensor(1.0986), 'prior': tensor(0.)}
    """
    raw, objectness, logits = outputs["boxes"].float(), outputs["objectness"].float().sigmoid(), outputs["logits"]
    points, strides, anchors = outputs["points"], outputs["strides"], outputs["anchors"]
    image, row, target = matches
    own_raw, own_boxes = raw[image, row], boxes_xyxy[image, target]
    cells = points[row], strides[row], anchors[row]

    box = squared_box_error(own_raw, own_boxes, cells, outputs["canvas"])
    with torch.no_grad():
        overlap = aligned_iou(decode_cells(own_raw, *cells), own_boxes)
        everything = decode_cells(raw.detach(), points, strides, anchors)
        negative = largest_overlap(everything, boxes_xyxy, labels >= 0) <= settings.ignore
        free = torch.ones_like(negative)
        free[image, row] = False
    found = settings.object_scale * ((overlap - objectness[image, row]) ** 2).sum()
    nothing = settings.no_object_scale * (objectness**2 * (negative & free)).sum()

    middle = raw.new_tensor((0.5, 0.5, 0.0, 0.0))  # of the cell, and the sides of the anchor
    prior = (((cell_offsets(raw) - middle) ** 2).sum(dim=2) * free).sum() / 2

    terms = {
        "box": settings.coordinate_scale * box,
        "objectness": (found + nothing) / 2,
        "class": settings.class_scale
        * F.cross_entropy(logits[image, row].float(), labels[image, target], reduction="sum"),
        "prior": settings.prior_scale * prior * warming_up,
    }
    return {name: term / max(raw.shape[0], 1) for name, term in terms.items()}
