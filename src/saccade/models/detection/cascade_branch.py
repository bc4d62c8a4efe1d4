r"""Box branch of Cascade R-CNN: three heads in a row, each trained for better boxes than the one before.

    proposals --- pooling --- head 1 (IoU 0.5) --- boxes --- pooling --- head 2 (0.6) --- boxes --- pooling --- head 3
    (B, R, 4)                    \--- scores                    \--- scores                                   (0.7)
                                                                            scores (B, R, 1 + classes), boxes ---/

The score of a box is the mean of what the three heads give it.

Paper: Zhaowei Cai, Nuno Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", CVPR 2018, arXiv
1712.00726. A head is best for proposals of about the overlap that its positives were chosen by (section 3.2, the
mismatch of quality), and one head at 0.7 finds too few positives among raw proposals. Boxes that a head has moved
overlap their objects more, so that the next head finds as many positives at a higher threshold (section 4.2).

Differences from the paper: each head scores its own boxes, as in Detectron2 and mmdetection, and the mean of the three
is taken; the paper lets all three score the boxes of the last stage, which costs two more passes of a head. Between the
heads boxes are limited to the extent of the finest feature map, which is the canvas rounded up to its stride. Terms
of the loss are weighted 1, 0.5 and 0.25, as the published networks were trained. No gradient passes from a head to the
boxes of the one before. Further branches learn from the regions of the first stage, of which most are positive early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from saccade.blocks.roi_heads.box import BoxPredictor, TwoLayerHead
from saccade.models.base import Decoded, Outputs
from saccade.models.detection.box_branch import box_branch_loss, decode_regions
from saccade.models.detection.roi_branches import (
    FPN_SAMPLING,
    BoxBranch,
    Pooling,
    RegionSampling,
    RoiSample,
    loss_generator,
    sample_regions,
)
from saccade.ops.box_coding import decode_anchors
from saccade.ops.matching import NEGATIVE
from saccade.ops.nms import NmsSettings
from saccade.structures.class_rows import ClassRows

__all__ = ["CASCADE_STAGES", "CascadeBranch", "CascadeStage"]


@dataclass(frozen=True)
class CascadeStage:
    """Settings of one stage of a cascade.

    Args:
        iou: Overlap from which on a region shows an object.
        code_weights: Inverse of the deviations to which its codes are normalised, which shrink from stage to stage
            (section 3.1).
        weight: Of its terms in the loss.

    Example:
        >>> [1 / weight for weight in CASCADE_STAGES[1].code_weights]
        [0.05, 0.05, 0.1, 0.1]
    """

    iou: float
    code_weights: tuple[float, float, float, float]
    weight: float


CASCADE_STAGES = (
    CascadeStage(0.5, (10.0, 10.0, 5.0, 5.0), 1.0),
    CascadeStage(0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
    CascadeStage(0.7, (30.0, 30.0, 15.0, 15.0), 0.25),
)


class _StageHead(nn.Module):
    """Layers of one stage."""

    def __init__(self, channels: int, size: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.head = TwoLayerHead(channels, size, hidden)
        self.predictor = BoxPredictor(hidden, num_classes, class_wise=False)

    def forward(self, regions: Tensor) -> dict[str, Tensor]:
        """Regions (B, R, C, P, P) to ``roi_logits`` (B, R, 1 + classes) and ``roi_codes`` (B, R, 4)."""
        B, R = regions.shape[:2]
        logits, codes = self.predictor(self.head(regions.flatten(0, 1)))
        return {"roi_logits": logits.view(B, R, -1), "roi_codes": codes.view(B, R, -1)}


class CascadeBranch(BoxBranch):
    """Heads in a row, each over regions pooled from the boxes of the one before.

    Args:
        pooling: Feature maps and boxes (B, R, 4) to regions (B, R, C, P, P).
        channels: C of the regions.
        size: P.
        hidden: Units of the two layers of each head.
        num_classes: Classes without background.
        finest_stride: Pixels of the canvas for each step of the first feature map.
        stages: One a head.
        sampling: How regions are chosen for training; each stage has its own overlap.

    Example:
        >>> from saccade.ops.roi import roi_align
        >>> branch = CascadeBranch(lambda maps, boxes: roi_align(maps, boxes, (8,), size=3), channels=4, size=3,
        ...                        hidden=16, num_classes=2, finest_stride=8)
        >>> outputs = branch([torch.zeros(1, 4, 8, 8)], torch.zeros(1, 5, 4))
        >>> outputs["roi_scores"].shape, outputs["roi_codes"].shape
        (torch.Size([1, 5, 3]), torch.Size([1, 5, 4]))
    """

    smooth_l1_beta = 1.0

    def __init__(
        self,
        pooling: Pooling,
        channels: int,
        size: int,
        hidden: int,
        num_classes: int,
        finest_stride: int,
        stages: Sequence[CascadeStage] = CASCADE_STAGES,
        sampling: RegionSampling = FPN_SAMPLING,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.finest_stride = finest_stride
        self.stages = tuple(stages)
        self.sampling = sampling
        self.heads = nn.ModuleList(_StageHead(channels, size, hidden, num_classes) for _ in self.stages)
        self.class_rows = {
            f"heads.{stage}.predictor.cls_score.{kind}": ClassRows(fixed=1)  # background comes first
            for stage in range(len(self.stages))
            for kind in ("weight", "bias")
        }

    def forward(self, maps: Sequence[Tensor], proposals_xyxy: Tensor) -> dict[str, Tensor]:
        """Outputs of the last stage, with the scores of all.

        Returns:
            ``proposals`` (B, R, 4), the boxes that the last head moves, ``roi_codes`` (B, R, 4), its codes, and
            ``roi_scores`` (B, R, 1 + classes), the mean probability of the heads.
        """
        boxes, scores = proposals_xyxy, []
        for number, (head, stage) in enumerate(zip(self.heads, self.stages, strict=True)):
            outputs = head(self.pooling(maps, boxes))
            scores.append(outputs["roi_logits"].float().softmax(dim=2))
            if number + 1 < len(self.stages):
                boxes = self._moved(maps, boxes, outputs["roi_codes"], stage)
        return {"proposals": boxes, "roi_scores": torch.stack(scores).mean(dim=0), "roi_codes": outputs["roi_codes"]}

    def stage_boxes(self, maps: Sequence[Tensor], proposals_xyxy: Tensor) -> list[Tensor]:
        """Proposals, and the boxes (B, R, 4) into which head after head moves them, for looking at."""
        boxes = [proposals_xyxy]
        for head, stage in zip(self.heads, self.stages, strict=True):
            codes = head(self.pooling(maps, boxes[-1]))["roi_codes"]
            boxes.append(self._moved(maps, boxes[-1], codes, stage))
        return boxes

    def loss(
        self,
        maps: Sequence[Tensor],
        proposals_xyxy: Tensor,
        valid: Tensor,
        boxes_xyxy: Tensor,
        labels: Tensor,
    ) -> tuple[dict[str, Tensor], RoiSample]:
        """Terms ``classification_1``, ``box_1`` and so on, stage by stage, and the regions of the first stage."""
        terms, samples = self.stage_losses(maps, proposals_xyxy, valid, boxes_xyxy, labels)
        return terms, samples[0]

    def stage_losses(
        self,
        maps: Sequence[Tensor],
        proposals_xyxy: Tensor,
        valid: Tensor,
        boxes_xyxy: Tensor,
        labels: Tensor,
    ) -> tuple[dict[str, Tensor], list[RoiSample]]:
        """As :meth:`loss`, with the regions of every stage."""
        generator = loss_generator(self, proposals_xyxy.device)
        terms: dict[str, Tensor] = {}
        samples: list[RoiSample] = []
        for number, (head, stage) in enumerate(zip(self.heads, self.stages, strict=True), start=1):
            own = replace(self.sampling, positive=stage.iou)
            sample = sample_regions(proposals_xyxy, valid, boxes_xyxy, labels >= 0, own, generator)
            outputs = head(self.pooling(maps, sample.boxes_xyxy))
            of_stage = box_branch_loss(
                outputs, sample, boxes_xyxy, labels, stage.code_weights, smooth_l1_beta=self.smooth_l1_beta
            )
            terms.update({f"{name}_{number}": stage.weight * value for name, value in of_stage.items()})
            samples.append(sample)
            proposals_xyxy = self._moved(maps, sample.boxes_xyxy, outputs["roi_codes"], stage)
            large = (proposals_xyxy[..., 2:] > proposals_xyxy[..., :2]).all(dim=2)
            valid = large & (sample.owners >= NEGATIVE)
        return terms, samples

    def decode(self, outputs: Outputs, nms: NmsSettings) -> Decoded:
        """One box a region, whatever its class, clipped to the canvas, and suppressed class by class."""
        return decode_regions(outputs, self.stages[-1].code_weights, nms)

    def _moved(self, maps: Sequence[Tensor], boxes_xyxy: Tensor, codes: Tensor, stage: CascadeStage) -> Tensor:
        """Boxes (B, R, 4) moved by the codes of a stage; rows of zeros stay what they are."""
        boxes = decode_anchors(codes.detach().float(), boxes_xyxy, stage.code_weights).clamp(min=0)
        height, width = (side * self.finest_stride for side in maps[0].shape[-2:])
        return torch.stack(
            [boxes[..., axis].clamp(max=side) for axis, side in enumerate((width, height, width, height))], dim=-1
        )
