r"""Mask branch: a mask of 28 x 28 cells for each box that was found.

    maps, boxes --- pooling --- (P, C, 14, 14) --- head --- predictor --- (P, 1 + classes, 28, 28)

Paper: Kaiming He, Georgia Gkioxari, Piotr Dollar, Ross Girshick, "Mask R-CNN", ICCV 2017, arXiv 1703.06870, section 3.

In training it looks at the regions of objects alone; at test it runs on the final boxes, and the mask of the class that
the box branch found is the one that counts.

Differences from the paper: a channel for the background, which published files have too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.roi_heads.mask import MaskPredictor
from saccade.models.base import Decoded
from saccade.models.detection.branch_regions import found_regions, object_regions
from saccade.models.detection.roi_branches import ObjectBranch, Pooling, RoiSample
from saccade.ops.mask_targets import mask_targets
from saccade.structures.class_rows import ClassRows

__all__ = ["MaskBranch", "SoftmaxMaskBranch"]


class MaskBranch(ObjectBranch):
    """Masks of each class by sigmoids of their own, so that classes do not compete (section 3, "Mask Representation").

    Args:
        pooling: Feature maps and boxes (B, R, 4) to regions (B, R, C, m, m).
        head: Regions (P, C, m, m) to features of the same size.
        predictor: Features to logits (P, 1 + classes, 2m, 2m).
        stride: Of the finest map, by which the size of the canvas is known where targets do not tell it.

    Example:
        >>> from saccade.blocks.roi_heads.mask import ConvHead
        >>> from saccade.ops.roi import roi_align
        >>> branch = MaskBranch(lambda maps, boxes: roi_align(maps, boxes, (8,), size=14), ConvHead(4, 8, layers=4),
        ...                     MaskPredictor(8, num_classes=2), stride=8)
        >>> decoded = {"boxes": torch.zeros(1, 3, 4), "labels": torch.zeros(1, 3).long(), "count": torch.tensor([2])}
        >>> branch.predict([torch.zeros(1, 4, 8, 8)], decoded)["masks"].shape
        torch.Size([1, 3, 28, 28])
    """

    target_names = ("masks",)
    decoded_keys = ("masks",)

    def __init__(self, pooling: Pooling, head: nn.Module, predictor: MaskPredictor, stride: int = 4) -> None:
        super().__init__()
        self.pooling = pooling
        self.head = head
        self.predictor = predictor
        self.stride = stride
        layer = "predictor.mask_fcn_logits"
        self.class_rows = {f"{layer}.{part}": ClassRows(fixed=1) for part in ("weight", "bias")}

    def loss(self, maps: Sequence[Tensor], sample: RoiSample, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Term ``mask``: mean over the cells of all regions of objects, of the mask of the true class alone."""
        regions = object_regions(self.pooling, maps, sample)
        logits = self.predictor(self.head(regions.features)).float()
        if not len(logits):
            return {"mask": logits.sum()}
        classes = targets["labels"][regions.image, regions.row]
        objects = regions.image, regions.row
        canvas = self._canvas(maps, targets)
        crops, origins = targets["masks"], targets["mask_origins"]
        wanted = mask_targets(crops, origins, objects, regions.boxes_xyxy, canvas, logits.shape[-1])
        return {"mask": self.compare(logits, classes, wanted)}

    def predict(self, maps: Sequence[Tensor], decoded: Decoded) -> Decoded:
        """``masks`` (B, K, 2m, 2m): probabilities on a grid over each box, of the class that was found there."""
        regions = found_regions(self.pooling, maps, decoded)
        logits = self.predictor(self.head(regions.features)).float()
        return {"masks": regions.spread(self.probabilities(logits, regions.labels))}

    def compare(self, logits: Tensor, classes: Tensor, wanted: Tensor) -> Tensor:
        """Binary cross entropy, a mean over all cells.

        Args:
            logits: (P, 1 + classes, 2m, 2m).
            classes: (P,) int64, without background.
            wanted: (P, 2m, 2m), 0..1.
        """
        return F.binary_cross_entropy_with_logits(_of_class(logits, classes), wanted)

    def probabilities(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Masks (P, 2m, 2m) of one class a region, from logits (P, 1 + classes, 2m, 2m)."""
        return _of_class(logits, classes).sigmoid()

    def _canvas(self, maps: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Height and width of each image, (B, 2)."""
        if "image_size" in targets:
            return targets["image_size"]
        finest = maps[0]
        size = [self.stride * side for side in finest.shape[2:]]
        return torch.tensor(size, device=finest.device).expand(len(finest), 2)


class SoftmaxMaskBranch(MaskBranch):
    """Masks by one softmax over background and classes, so that they compete (section 4.1, table 2b, "softmax").

    As in a fully convolutional network, a cell is the object's where its class has the largest share.

    Example:
        >>> from saccade.blocks.roi_heads.mask import ConvHead
        >>> from saccade.ops.roi import roi_align
        >>> branch = SoftmaxMaskBranch(lambda maps, boxes: roi_align(maps, boxes, (8,), 14), ConvHead(4, 8, layers=4),
        ...                            MaskPredictor(8, num_classes=2), stride=8)
        >>> branch.probabilities(torch.zeros(1, 3, 28, 28), torch.tensor([1]))[0, 0, 0]  # as likely as the others
        tensor(0.5000)
    """

    def compare(self, logits: Tensor, classes: Tensor, wanted: Tensor) -> Tensor:
        """Cross entropy with the true class inside of the object and background outside, a mean over all cells."""
        shares = logits.log_softmax(dim=1)
        return -(wanted * _of_class(shares, classes) + (1 - wanted) * shares[:, 0]).mean()

    def probabilities(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Masks (P, 2m, 2m) of one class a region, from logits (P, 1 + classes, 2m, 2m).

        The share of the class beside the largest share of another one, so that it is above 0.5 where the class wins.
        """
        own = _of_class(logits, classes)
        numbers = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
        others = logits.masked_fill(numbers == (classes + 1).view(-1, 1, 1, 1), -torch.inf)
        return (own - others.amax(dim=1)).sigmoid()


def _of_class(values: Tensor, classes: Tensor) -> Tensor:
    """Channel of one class a row: (P, 1 + classes, H, W) to (P, H, W)."""
    index = (classes + 1).view(-1, 1, 1, 1).expand(-1, 1, *values.shape[2:])
    return values.gather(1, index).squeeze(1)
