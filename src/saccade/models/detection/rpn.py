r"""Region proposal network: a small head over feature maps that tells where objects are, whatever they are.

    map (B, C, H, W) --- 3x3 --- ReLU --- 1x1: objectness of each anchor
                                       \-- 1x1: 4 codes of each anchor

Paper: Shaoqing Ren, Kaiming He, Ross Girshick, Jian Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region
Proposal Networks", NeurIPS 2015, arXiv 1506.01497. Over a feature pyramid each level has anchors of one size (Lin et
al. 2017, FPN, arXiv 1612.03144, section 4.1).

The best anchors by objectness, moved by their codes and without near duplicates, are the proposals: of fixed number,
rows of zeros at the end, so that what follows has one shape whatever the images hold.

Differences from the paper: objectness is one sigmoid an anchor unless two logits are asked for, whose softmax the paper
takes (the sigmoid of their difference is the same); the box loss is a mean over the
sampled anchors (equation 1 divides by the number of locations and weighs by lambda = 10, "roughly equal"), with its
square ending at 1/9, as the published networks were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.losses.smooth_l1 import smooth_l1_loss
from saccade.models.base import Outputs
from saccade.models.detection.dense import map_rows, start_head
from saccade.models.detection.roi_branches import loss_generator
from saccade.ops.anchors import AnchorSizes, grid_anchors
from saccade.ops.box_coding import decode_anchors, encode_anchors
from saccade.ops.matching import IGNORED, NEGATIVE, match_by_iou
from saccade.ops.nms import NmsSettings, batched_nms_indices
from saccade.ops.sampling import sample_balanced

__all__ = ["ProposalSettings", "RegionProposalNetwork"]

_RATIOS = (0.5, 1.0, 2.0)  # height over width (section 3.1.1)
_POSITIVE, _NEGATIVE = 0.7, 0.3  # overlaps (section 3.1.2)
_COUNT, _SHARE = 256, 0.5  # anchors an image that a loss looks at (section 3.1.3)
_SMALLEST = 1e-3  # pixels: a side of a proposal


@dataclass(frozen=True)
class ProposalSettings:
    """How many proposals there are (Ren et al. 2015, section 3.3).

    Args:
        candidates: Anchors of each level that enter the suppression, by objectness, at test.
        count: Proposals that leave it, at test.
        training_candidates: The same in training.
        training_count: The same in training.
        iou: Overlap above which the lower objectness goes, within a level.

    Example:
        >>> ProposalSettings(count=300).count
        300
    """

    candidates: int = 1000
    count: int = 1000
    training_candidates: int = 2000
    training_count: int = 2000
    iou: float = 0.7


class RegionProposalNetwork(nn.Module):
    """Objectness and codes of anchors, their loss, and the proposals that they make.

    Args:
        channels: Of the feature maps.
        sizes: Sides of the anchors of each level, pixels; as many at each level.
        settings: How many proposals.
        ratios: Height over width of the anchors.
        hidden: Channels of the 3x3 convolution; those of the maps if not given.
        inside_only: Whether anchors that cross the border of the canvas are left out of the loss (section 3.1.2: the
            paper does; detectors over a pyramid, and the published networks, keep them).
        two_logits: Whether an anchor has a logit for background besides that of an object, as in the paper.

    Attributes:
        settings: How many proposals; may be changed at any time.

    Example:
        >>> rpn = RegionProposalNetwork(16, sizes=((8,), (16,))).eval()
        >>> images, maps = torch.zeros(1, 3, 64, 64), [torch.zeros(1, 16, 8, 8), torch.zeros(1, 16, 4, 4)]
        >>> outputs = rpn(images, maps)
        >>> outputs["rpn_logits"].shape, outputs["rpn_codes"].shape  # (64 + 16) x 3 anchors
        (torch.Size([1, 240]), torch.Size([1, 240, 4]))
        >>> rpn.propose(outputs, maps, torch.tensor([64.0, 64.0]))[0].shape
        torch.Size([1, 240, 4])
    """

    def __init__(
        self,
        channels: int,
        sizes: AnchorSizes,
        settings: ProposalSettings = ProposalSettings(),
        ratios: Sequence[float] = _RATIOS,
        hidden: int | None = None,
        inside_only: bool = False,
        two_logits: bool = False,
    ) -> None:
        super().__init__()
        self.sizes, self.ratios = tuple(map(tuple, sizes)), tuple(ratios)
        self.settings = settings
        self.inside_only = inside_only
        anchors = len(self.ratios) * len(self.sizes[0])
        hidden = channels if hidden is None else hidden
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.two_logits = two_logits
        self.cls_logits = nn.Conv2d(hidden, anchors * (1 + two_logits), 1)
        self.bbox_pred = nn.Conv2d(hidden, 4 * anchors, 1)
        start_head(self)

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Raw outputs of all A anchors, level by level.

        Args:
            images: (B, 3, H, W); only the canvas matters.
            maps: Feature maps (B, C, H, W), fine to coarse.

        Returns:
            ``rpn_logits`` (B, A), ``rpn_codes`` (B, A, 4) and ``anchors`` (A, 4), pixels.
        """
        hidden = [F.relu(self.conv(level)) for level in maps]
        logits = [map_rows(self.cls_logits(level), 1 + self.two_logits) for level in hidden]
        if self.two_logits:  # background, object
            logits = [level[..., 1:] - level[..., :1] for level in logits]
        codes = [map_rows(self.bbox_pred(level), 4) for level in hidden]
        return {
            "rpn_logits": torch.cat(logits, dim=1).squeeze(2),
            "rpn_codes": torch.cat(codes, dim=1),
            "anchors": self.anchors(images, maps),
        }

    def anchors(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Anchors (A, 4), pixels; only the sizes of canvas and maps matter."""
        return grid_anchors(images, maps, self.sizes, self.ratios)

    def owners(self, anchors: Tensor, boxes_xyxy: Tensor, valid: Tensor, canvas: Tensor) -> Tensor:
        """Row of the object that each anchor is positive for, ``NEGATIVE`` or ``IGNORED``, (B, A).

        Args:
            anchors: (A, 4).
            boxes_xyxy: Ground truth boxes, (B, M, 4).
            valid: (B, M) bool; false for rows that are not targets.
            canvas: (2,) height and width.
        """
        if not self.inside_only:
            return match_by_iou(boxes_xyxy, valid, anchors, _POSITIVE, _NEGATIVE, "ties").owners
        inside = (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2:] <= canvas.flip(0)).all(dim=1)
        # Without area the others overlap nothing, so that an object at the border gets the best of those inside.
        anchors = torch.where(inside[:, None], anchors, 0.0)
        owners = match_by_iou(boxes_xyxy, valid, anchors, _POSITIVE, _NEGATIVE, "ties").owners
        return torch.where(inside, owners, IGNORED)

    def loss(self, outputs: Outputs, boxes_xyxy: Tensor, valid: Tensor, canvas: Tensor) -> dict[str, Tensor]:
        """Terms ``objectness`` and ``rpn_box``, means over the sampled anchors of the batch (section 3.1.2).

        Args:
            outputs: Of ``forward``.
            boxes_xyxy: Ground truth boxes, (B, M, 4).
            valid: (B, M) bool; false for rows that are not targets.
            canvas: (2,) height and width.
        """
        owners = self.owners(outputs["anchors"], boxes_xyxy, valid, canvas)
        positive = owners >= 0
        generator = loss_generator(self, owners.device)
        chosen = sample_balanced(positive, owners == NEGATIVE, _COUNT, _SHARE, generator)
        count = chosen.sum().clamp(min=1)
        logits = outputs["rpn_logits"].float()
        entropy = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
        image, anchor = (chosen & positive).nonzero(as_tuple=True)
        wanted = encode_anchors(boxes_xyxy[image, owners[image, anchor]], outputs["anchors"][anchor])
        box = smooth_l1_loss(outputs["rpn_codes"][image, anchor].float(), wanted, beta=1 / 9)
        return {"objectness": (entropy * chosen).sum() / count, "rpn_box": box.sum() / count}

    @torch.no_grad()
    def propose(self, outputs: Outputs, maps: Sequence[Tensor], canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals of each image by falling objectness; as many as in training while this is in training mode.

        Args:
            outputs: Of ``forward``.
            maps: Feature maps; only their sizes matter.
            canvas: (2,) height and width.

        Returns:
            Boxes (B, K, 4), pixels of the canvas, rows of zeros at the end, and their number (B,) int64.
        """
        settings = self.settings
        candidates = settings.training_candidates if self.training else settings.candidates
        count = settings.training_count if self.training else settings.count
        logits = outputs["rpn_logits"].float()
        rows, levels, start = [], [], 0
        for number, level in enumerate(maps):
            own = level.shape[-2] * level.shape[-1] * len(self.ratios) * len(self.sizes[number])
            found = logits[:, start : start + own].topk(min(candidates, own), dim=1).indices
            rows.append(found + start)
            levels.append(torch.full_like(found, number))
            start += own
        best = torch.cat(rows, dim=1)  # (B, K), level by level
        codes = outputs["rpn_codes"].float().gather(1, best[..., None].expand(-1, -1, 4))
        boxes = decode_anchors(codes, outputs["anchors"][best])
        boxes = torch.minimum(boxes.clamp(min=0), canvas.flip(0).repeat(2))  # width, height, width, height
        large = (boxes[..., 2:] - boxes[..., :2] >= _SMALLEST).all(dim=2)
        scores = torch.where(large, logits.gather(1, best).sigmoid(), 0.0)
        nms = NmsSettings(settings.iou, score_threshold=0.0, pre_nms=best.shape[1], max_detections=count)
        kept = batched_nms_indices(boxes, scores, torch.cat(levels, dim=1), nms)
        real = torch.arange(kept.rows.shape[1], device=boxes.device) < kept.count[:, None]
        return torch.where(real[..., None], kept.boxes_xyxy, 0.0), kept.count
