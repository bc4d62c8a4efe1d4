r"""Keypoint branch: a heatmap of 56 x 56 cells for each keypoint of each box that was found.

    maps, boxes --- pooling --- (P, C, 14, 14) --- head --- predictor --- (P, keypoints, 56, 56)

Paper: Kaiming He, Georgia Gkioxari, Piotr Dollar, Ross Girshick, "Mask R-CNN", ICCV 2017, arXiv 1703.06870, section 5.

A keypoint is the one cell of its map that is on, so its loss is a softmax over all cells, which drives one to be found;
points do not depend on each other or on the class.

Differences from the paper: a point is where the map, enlarged to the box, is highest, as published networks have it;
its score is the share of the softmax near the highest cell, since nothing else there lies between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.roi_heads.keypoint import KeypointPredictor
from saccade.models.base import Decoded
from saccade.models.detection.branch_regions import found_regions, object_regions
from saccade.models.detection.roi_branches import ObjectBranch, Pooling, RoiSample
from saccade.ops.heatmaps import peak_mass
from saccade.ops.region_keypoints import keypoint_cells, keypoint_pixels

__all__ = ["KeypointBranch"]


class KeypointBranch(ObjectBranch):
    """Keypoints of each object by a softmax over the cells of a grid.

    Args:
        pooling: Feature maps and boxes (B, R, 4) to regions (B, R, C, m, m).
        head: Regions (P, C, m, m) to features of the same size.
        predictor: Features to logits (P, keypoints, 4m, 4m).

    Example:
        >>> from saccade.blocks.roi_heads.mask import ConvHead
        >>> from saccade.ops.roi import roi_align
        >>> branch = KeypointBranch(lambda maps, boxes: roi_align(maps, boxes, (8,), 14), ConvHead(4, 8, layers=8),
        ...                         KeypointPredictor(8, num_keypoints=17))
        >>> decoded = {"boxes": torch.zeros(1, 3, 4), "labels": torch.zeros(1, 3).long(), "count": torch.tensor([2])}
        >>> found = branch.predict([torch.zeros(1, 4, 8, 8)], decoded)
        >>> found["keypoints"].shape, found["point_scores"].shape
        (torch.Size([1, 3, 17, 2]), torch.Size([1, 3, 17]))
    """

    target_names = ("keypoints",)
    decoded_keys = ("keypoints", "point_scores")

    def __init__(self, pooling: Pooling, head: nn.Module, predictor: KeypointPredictor) -> None:
        super().__init__()
        self.pooling = pooling
        self.head = head
        self.predictor = predictor

    def loss(self, maps: Sequence[Tensor], sample: RoiSample, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Term ``keypoints``: mean cross entropy over the labelled keypoints inside of the regions of their objects."""
        regions = object_regions(self.pooling, maps, sample)
        logits = self.predictor(self.head(regions.features)).float()
        if not len(logits):
            return {"keypoints": logits.sum()}
        points = targets["keypoints"][regions.image, regions.row].float()
        cells, real = keypoint_cells(points, regions.boxes_xyxy, logits.shape[-1])
        total = F.cross_entropy(logits.flatten(2)[real], cells[real], reduction="sum")
        return {"keypoints": total / real.sum().clamp(min=1)}

    def predict(self, maps: Sequence[Tensor], decoded: Decoded) -> Decoded:
        """``keypoints`` (B, K, P, 2), pixels of the canvas, and ``point_scores`` (B, K, P)."""
        regions = found_regions(self.pooling, maps, decoded)
        logits = self.predictor(self.head(regions.features)).float()
        shares = logits.flatten(2).softmax(dim=2).view_as(logits)
        return {
            "keypoints": regions.spread(keypoint_pixels(logits, regions.boxes_xyxy)),
            "point_scores": regions.spread(peak_mass(shares)),
        }
