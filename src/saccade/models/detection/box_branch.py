r"""Box branch of Fast and Faster R-CNN: pool each proposal, classify it, and move it.

    maps, proposals (B, R, 4) --- pooling --- (B R, C, P, P) --- head --- logits (B, R, 1 + classes)
                                                                     \--- codes (B, R, 4 (1 + classes))

Paper: Ross Girshick, "Fast R-CNN", ICCV 2015, arXiv 1504.08083. What differs over a feature pyramid (512 regions, one
level a box) is in Lin et al., arXiv 1612.03144, section 4.2.

Differences from the paper: a mean of boxes' losses over all sampled regions of the batch, as published networks were
trained; there the same with two images of 64 regions each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.roi_heads.box import BoxPredictor
from saccade.losses.smooth_l1 import smooth_l1_loss
from saccade.models.base import Decoded, Outputs
from saccade.models.detection.roi_branches import (
    FPN_SAMPLING,
    BoxBranch,
    Pooling,
    RegionSampling,
    RoiSample,
    loss_generator,
    sample_regions,
)
from saccade.ops.box_coding import decode_anchors, encode_anchors
from saccade.ops.matching import NEGATIVE
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.class_rows import ClassRows

__all__ = ["CODE_WEIGHTS", "SingleBoxBranch", "box_branch_loss", "decode_regions"]

# Inverse of the deviations to which the codes are normalised (section 2.3: "zero mean and unit variance").
CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_SMALLEST = 1e-2  # pixels: a side of a box that is worth a prediction


class SingleBoxBranch(BoxBranch):
    """One head over pooled regions.

    Args:
        pooling: Feature maps and boxes (B, R, 4) to regions (B, R, C, P, P).
        head: Regions (N, C, P, P) to features (N, ``head.out_channels``).
        predictor: Features to logits and codes; its codes are class-wise.
        sampling: How regions are chosen for training.
        smooth_l1_beta: Of the box loss: difference, in units of the codes, at which the square ends.

    Example:
        >>> from saccade.blocks.roi_heads.box import TwoLayerHead
        >>> from saccade.ops.roi import roi_align
        >>> branch = SingleBoxBranch(lambda maps, boxes: roi_align(maps, boxes, (8,), size=3), TwoLayerHead(4, 3, 16),
        ...                          BoxPredictor(16, num_classes=2))
        >>> outputs = branch([torch.zeros(1, 4, 8, 8)], torch.zeros(1, 5, 4))
        >>> outputs["roi_logits"].shape, outputs["roi_codes"].shape
        (torch.Size([1, 5, 3]), torch.Size([1, 5, 12]))
    """

    def __init__(
        self,
        pooling: Pooling,
        head: nn.Module,
        predictor: BoxPredictor,
        sampling: RegionSampling = FPN_SAMPLING,
        smooth_l1_beta: float = 1 / 9,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.head = head
        self.predictor = predictor
        self.sampling = sampling
        self.smooth_l1_beta = smooth_l1_beta
        scores, codes = ClassRows(fixed=1), ClassRows(fixed=4, per_class=4)  # background comes first
        self.class_rows = {
            **dict.fromkeys(("predictor.cls_score.weight", "predictor.cls_score.bias"), scores),
            **dict.fromkeys(("predictor.bbox_pred.weight", "predictor.bbox_pred.bias"), codes),
        }

    def forward(self, maps: Sequence[Tensor], proposals_xyxy: Tensor) -> dict[str, Tensor]:
        """``proposals`` (B, R, 4), ``roi_logits`` (B, R, 1 + classes) and ``roi_codes`` (B, R, 4 (1 + classes))."""
        B, R = proposals_xyxy.shape[:2]
        regions = self.pooling(maps, proposals_xyxy)
        logits, codes = self.predictor(self.head(regions.flatten(0, 1)))
        return {"proposals": proposals_xyxy, "roi_logits": logits.view(B, R, -1), "roi_codes": codes.view(B, R, -1)}

    def loss(
        self,
        maps: Sequence[Tensor],
        proposals_xyxy: Tensor,
        valid: Tensor,
        boxes_xyxy: Tensor,
        labels: Tensor,
    ) -> tuple[dict[str, Tensor], RoiSample]:
        """Terms ``classification`` and ``box``; see :func:`box_branch_loss`."""
        generator = loss_generator(self, proposals_xyxy.device)
        sample = sample_regions(proposals_xyxy, valid, boxes_xyxy, labels >= 0, self.sampling, generator)
        outputs = self(maps, sample.boxes_xyxy)
        return box_branch_loss(outputs, sample, boxes_xyxy, labels, CODE_WEIGHTS, self.smooth_l1_beta), sample

    def decode(self, outputs: Outputs, nms: NmsSettings) -> Decoded:
        """Boxes of each class by their own codes, clipped to the canvas, and suppressed class by class."""
        return decode_regions(outputs, CODE_WEIGHTS, nms)


def box_branch_loss(
    outputs: Outputs,
    sample: RoiSample,
    boxes_xyxy: Tensor,
    labels: Tensor,
    code_weights: tuple[float, float, float, float],
    smooth_l1_beta: float = 1.0,
) -> dict[str, Tensor]:
    """Multi-task loss of regions (Girshick 2015, equations 1 to 3), a mean over all sampled regions of the batch.

    Args:
        outputs: ``roi_logits`` (B, S, 1 + classes), and ``roi_codes`` (B, S, 4 (1 + classes)), or (B, S, 4) for one box
            whatever the class.
        sample: The regions.
        boxes_xyxy: Ground truth boxes, (B, M, 4).
        labels: (B, M) int64.
        code_weights: Of the codes.
        smooth_l1_beta: 1 is the paper's.

    Returns:
        ``classification`` and ``box``, scalars.

    Example:
        >>> outputs = {"roi_logits": torch.zeros(1, 2, 4), "roi_codes": torch.zeros(1, 2, 16)}
        >>> boxes, labels = torch.tensor([[[0.0, 0.0, 8.0, 8.0]]]), torch.tensor([[2]])
        >>> sample = RoiSample(boxes.repeat(1, 2, 1), torch.tensor([[0, -1]]))
        >>> terms = box_branch_loss(outputs, sample, boxes, labels, (10.0, 10.0, 5.0, 5.0))
        >>> round(terms["classification"].item(), 4), terms["box"].item()  # log 4; the region is the box
        (1.3863, 0.0)
    """
    logits, codes, owners = outputs["roi_logits"].float(), outputs["roi_codes"].float(), sample.owners
    positive = sample.positive
    classes = torch.where(positive, labels.gather(1, owners.clamp(min=0)) + 1, 0)  # 0 is background
    # Regions of padding are none; their logits stay in the graph with weight 0.
    used = (owners >= NEGATIVE).to(logits.dtype)
    count = used.sum().clamp(min=1)
    entropy = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
    image, row = positive.nonzero(as_tuple=True)
    wanted = encode_anchors(boxes_xyxy[image, owners[image, row]], sample.boxes_xyxy[image, row], code_weights)
    codes = codes.unflatten(2, (-1, 4))
    found = codes[image, row, classes[image, row] if codes.shape[2] > 1 else 0]
    return {
        "classification": (entropy * used.flatten()).sum() / count,
        "box": smooth_l1_loss(found, wanted, smooth_l1_beta).sum() / count,
    }


def decode_regions(outputs: Outputs, code_weights: tuple[float, float, float, float], nms: NmsSettings) -> Decoded:
    """Detections from class-wise codes, or from one box a region.

    Args:
        outputs: ``proposals`` (B, R, 4), ``canvas`` (2,), ``roi_codes``, and ``roi_logits`` or, where several heads
            were averaged, ``roi_scores`` (B, R, 1 + classes).
        code_weights: Of the codes.
        nms: Settings of suppression; a region may show several classes.

    Example:
        >>> proposals = torch.tensor([[[4.0, 4.0, 20.0, 20.0], [0.0, 0.0, 0.0, 0.0]]])
        >>> outputs = {"proposals": proposals, "canvas": torch.tensor([32.0, 32.0]), "roi_codes": torch.zeros(1, 2, 12),
        ...            "roi_logits": torch.tensor([[[0.0, 5.0, 0.0], [0.0, 9.0, 0.0]]])}
        >>> decoded = decode_regions(outputs, (10.0, 10.0, 5.0, 5.0), NmsSettings(score_threshold=0.05))
        >>> decoded["count"].tolist(), decoded["boxes"][0, 0].tolist(), decoded["labels"][0, 0].item()
        ([1], [4.0, 4.0, 20.0, 20.0], 0)
    """
    proposals, codes = outputs["proposals"], outputs["roi_codes"]
    scores = outputs["roi_scores"] if "roi_scores" in outputs else outputs["roi_logits"].softmax(dim=2)
    C = scores.shape[2] - 1
    sides = proposals[..., 2:] - proposals[..., :2]
    real = (sides > 0).all(dim=2)  # rows of padding have no area
    scores = torch.where(real[..., None], scores[..., 1:], 0.0).flatten(1)
    # Rows of padding, so that the shape is the same for any number of proposals, which exported graphs leave open.
    values, pairs = F.pad(scores, (0, nms.pre_nms)).topk(nms.pre_nms, dim=1)
    pairs = pairs.clamp(max=scores.shape[1] - 1)
    row, labels = pairs.div(C, rounding_mode="floor"), pairs % C
    codes = codes.unflatten(2, (-1, 4))
    boxes_of = codes.shape[2]
    which = row * boxes_of + labels + 1 if boxes_of > 1 else row
    chosen = codes.flatten(1, 2).gather(1, which[..., None].expand(-1, -1, 4))
    boxes = decode_anchors(chosen, proposals.gather(1, row[..., None].expand(-1, -1, 4)), code_weights)
    canvas = outputs["canvas"].flip(0).repeat(2)  # width, height, width, height
    boxes = torch.minimum(boxes.clamp(min=0), canvas)
    large = (boxes[..., 2:] - boxes[..., :2] >= _SMALLEST).all(dim=2)
    return batched_nms(boxes, torch.where(large, values, 0.0), labels, nms)
