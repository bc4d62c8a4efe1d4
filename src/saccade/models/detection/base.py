"""Base of detectors: suppression settings in one record, targets as boxes and labels, and what can be learnt at all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.models.base import Model, Targets
from saccade.ops.nms import NmsSettings
from saccade.structures.batch import pad_targets

__all__ = ["Assignment", "Detector", "match_one_to_one", "unpack_targets"]


@dataclass(frozen=True)
class Assignment:
    """Which anchors, or anchor points, a detector assigns to which objects of a batch.

    Args:
        regions_xyxy: (A, 4), pixels of the canvas: anchors, or the grid cells of anchor points.
        levels: (A,) int64: level of the pyramid that each belongs to.
        level_names: One a level, such as ``("P3 /8", "P4 /16")``.
        owners: (B, A) int64: row of the object that each is positive for, ``NEGATIVE`` or ``IGNORED``
            (:mod:`saccade.ops.matching`).

    Example:
        >>> assignment = Assignment(torch.zeros(4, 4), torch.tensor([0, 0, 0, 1]), ("P3 /8", "P4 /16"),
        ...                         torch.tensor([[1, -1, -2, 1]]))
        >>> int((assignment.owners[0] >= 0).sum())
        2
    """

    regions_xyxy: Tensor
    levels: Tensor
    level_names: tuple[str, ...]
    owners: Tensor


class Detector(Model):
    """Base of networks that find objects as boxes with a class; background is none of the classes.

    Args:
        num_classes: Classes without background.
        nms: Settings of suppression.

    Attributes:
        nms: Settings of suppression, which decoding follows: ``model.nms = replace(model.nms, score_threshold=0.3)``.
        positive_iou: Overlap from which on an anchor is positive for an object; None for detectors without anchors.

    Example:
        >>> model = saccade.create_model("yolox_nano", num_classes=3)
        >>> model.nms.max_detections
        100
        >>> model.assignable(torch.tensor([[8.0, 8.0, 40.0, 40.0]]), size=(64, 64))
        tensor([True])
    """

    task = "detection"
    target_names: tuple[str, ...] = ("boxes", "labels")
    decoded_keys: tuple[str, ...] = ("boxes", "scores", "labels", "count")
    positive_iou: float | None = None

    def __init__(self, num_classes: int, nms: NmsSettings) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.nms = nms

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Which objects of an image could have a positive at all: an anchor, or an anchor point of their own.

        The checker of a data set, and the best possible recall, ask for it; nothing in training does.

        Args:
            boxes_xyxy: Objects of one image, (N, 4), pixels of the canvas.
            size: Canvas (height, width).

        Returns:
            (N,) bool.
        """
        raise NotImplementedError

    def anchors(self, size: tuple[int, int]) -> Tensor | None:
        """Anchors of a canvas, (A, 4), pixels; None for detectors without anchors.

        The checker of a data set asks how well they fit its objects.

        Args:
            size: Canvas (height, width).
        """
        return None

    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Which anchors, or anchor points, are positive for which object, as the loss has it in this state.

        Args:
            images: As ``forward`` takes them; what a network predicts for them decides where the paper says so.
            targets: Ground truth, padded or not.
        """
        raise NotImplementedError


def unpack_targets(targets: Targets) -> tuple[Tensor, Tensor]:
    """Boxes and labels of a batch for assignment; objects that do not train have label -1.

    Those are crowds (COCO: one box around many objects), objects marked difficult (PASCAL VOC) and padding.

    Args:
        targets: ``boxes`` and ``labels``, and ``iscrowd`` and ``difficult`` where the data has them; padded or not.

    Returns:
        Boxes (B, M, 4) float32, pixels of the canvas, and labels (B, M) int64.

    Example:
        >>> boxes, labels = unpack_targets(
        ...     [{"boxes": torch.rand(2, 4), "labels": torch.tensor([5, 7]), "iscrowd": torch.tensor([False, True])}]
        ... )
        >>> labels
        tensor([[ 5, -1, -1, -1, -1, -1, -1, -1]])
    """
    padded = pad_targets(targets)
    labels = padded["labels"]
    for name in ("iscrowd", "difficult"):
        if name in padded:
            labels = labels.masked_fill(padded[name].bool(), -1)
    return padded["boxes"].float(), labels


def match_one_to_one(candidates: Tensor) -> Tensor:
    """Which objects get a candidate of their own when as many as possible do (maximum bipartite matching).

    Args:
        candidates: (N, A) bool: candidate (an anchor point) a may be positive for object n.

    Returns:
        (N,) bool.

    Example:
        >>> match_one_to_one(torch.tensor([[True, False], [True, False], [True, True]]))
        tensor([ True, False,  True])
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    partner = maximum_bipartite_matching(csr_array(candidates.cpu().numpy()), perm_type="column")
    return torch.from_numpy(partner >= 0)
