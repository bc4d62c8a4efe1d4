r"""Mask R-CNN: Faster R-CNN that outlines each object, by a small network over its box.

Paper: Kaiming He, Georgia Gkioxari, Piotr Dollar, Ross Girshick, "Mask R-CNN", ICCV 2017, arXiv 1703.06870.

    images --- backbone + pyramid --- P2..P6 --- region proposal network --- proposals
                                        \                                        |
                                         \---- RoIAlign 7 x 7 -------------------+--- box branch --- boxes, classes
                                          \                                                             |
                                           \-- RoIAlign 14 x 14 ----------------------------------------+--- mask branch
                                                                                                             |
                                 head      256 x 14 x 14     3x3, four times                           masks 28 x 28
                                 predictor 256 x 28 x 28     deconvolution 2x2 / 2
                                           (1 + classes) x 28 x 28

Two ideas make masks good (section 4.1): RoIAlign rounds nothing, where RoIPool moves a region by up to half a step of
the map, which boxes forgive and masks do not; and each class has a mask of its own by sigmoids, so that the box branch
alone decides what an object is. Both can be taken away here to see what they are worth (``examples/mask_choices.py``).

Differences from the paper: those of Faster R-CNN here; RoIAlign takes 2 x 2 samples a cell, at places that are not
shifted by half a pixel (``aligned=False``), as published networks do. Weights: torchvision's, trained on COCO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from saccade.blocks.roi_heads.box import BoxPredictor, TwoLayerHead
from saccade.blocks.roi_heads.mask import ConvHead, MaskPredictor
from saccade.errors import ConfigError, did_you_mean
from saccade.models.detection.box_branch import SingleBoxBranch
from saccade.models.detection.faster_rcnn import (
    PUBLISHED_INPUT,
    AlignPooling,
    FasterRCNN,
    pyramid_box_branch,
    pyramid_rcnn_parts,
)
from saccade.models.detection.mask_branch import MaskBranch, SoftmaxMaskBranch
from saccade.models.detection.roi_branches import Pooling, RegionSampling
from saccade.models.registry import register_model
from saccade.ops.roi import pyramid_levels, roi_pool

__all__ = ["POOLINGS", "PyramidPoolPooling", "maskrcnn", "maskrcnn_resnet50_fpn", "pyramid_mask_branch"]

_PAPER = "He et al., ICCV 2017, arXiv 1703.06870"
_STRIDES = (4, 8, 16, 32)  # of P2 to P5
# How regions are pooled: RoIAlign with that many samples along a side of a cell (0: adaptive), or RoIPool.
POOLINGS = {"align": 2, "align_1": 1, "align_4": 4, "align_adaptive": 0, "pool": None}


class PyramidPoolPooling:
    """RoIPool of the finest levels of a pyramid, for comparison with RoIAlign.

    Args:
        strides: Of those levels, pixels.
        size: Cells along a side of a region.

    Example:
        >>> maps = [torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 8, 8)]
        >>> PyramidPoolPooling((4, 8), size=7)(maps, torch.zeros(1, 5, 4)).shape
        torch.Size([1, 5, 2, 7, 7])
    """

    def __init__(self, strides: Sequence[int], size: int) -> None:
        self.strides = tuple(strides)
        self.size = size

    def __call__(self, maps: Sequence[Tensor], boxes_xyxy: Tensor) -> Tensor:
        """Regions (B, R, C, size, size) of boxes (B, R, 4)."""
        levels = pyramid_levels(boxes_xyxy, len(self.strides))
        whole = boxes_xyxy.new_zeros(())
        for number, stride in enumerate(self.strides):
            own = (levels == number)[..., None]
            # Boxes of other levels shrink to nothing, which costs least and is replaced below.
            pooled = roi_pool(maps[number], torch.where(own, boxes_xyxy, 0.0), stride, self.size)
            whole = torch.where(own[..., None, None], pooled, whole)
        return whole


def pyramid_mask_branch(
    num_classes: int, channels: int = 256, pooling: Pooling | None = None, coupled: bool = False
) -> MaskBranch:
    """Mask branch over a feature pyramid: RoIAlign 14 x 14 of P2 to P5, four convolutions, a deconvolution.

    Args:
        num_classes: Classes without background.
        channels: Of the pyramid, and of the branch.
        pooling: In place of RoIAlign.
        coupled: Whether classes share one softmax, in place of a sigmoid each.

    Example:
        >>> branch = pyramid_mask_branch(num_classes=3, channels=8)
        >>> branch.predictor(branch.head(torch.zeros(2, 8, 14, 14))).shape
        torch.Size([2, 4, 28, 28])
    """
    kind = SoftmaxMaskBranch if coupled else MaskBranch
    pooling = AlignPooling(_STRIDES, 14) if pooling is None else pooling
    return kind(pooling, ConvHead(channels, channels, layers=4), MaskPredictor(channels, num_classes), _STRIDES[0])


@register_model(task="detection", paper=_PAPER)
def maskrcnn_resnet50_fpn(num_classes: int = 80, weights: str | None = None) -> FasterRCNN:
    """Mask R-CNN over ResNet-50 and a feature pyramid, as torchvision publishes it: shorter side 800 pixels.

    Example:
        >>> model = maskrcnn_resnet50_fpn(num_classes=3)
        >>> model.decoded_keys, model.input_spec.size
        (('boxes', 'scores', 'labels', 'count', 'masks'), (800, 1333))
    """
    body, neck, rpn = pyramid_rcnn_parts("resnet50")
    branches = {"mask": pyramid_mask_branch(num_classes)}
    model = FasterRCNN(body, neck, rpn, pyramid_box_branch(num_classes), num_classes, branches)
    model.input_spec = replace(body.input_spec, **PUBLISHED_INPUT)
    return model


@register_model(task="detection", paper=_PAPER)
def maskrcnn(
    num_classes: int = 80,
    backbone: str = "resnet18",
    channels: int = 256,
    anchor_size: float = 32,
    proposals: int = 1000,
    regions: int = 512,
    pooling: str = "align",
    coupled: bool = False,
    weights: str | None = None,
) -> FasterRCNN:
    """Mask R-CNN over any classifier with feature maps of stride 4 to 32, on a square of 512 pixels.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier.
        channels: Of the pyramid and the mask branch (256 in the paper); the box branch has four times as many units.
        anchor_size: Side of the smallest anchors, pixels; smaller for small objects or a small canvas.
        proposals: Regions that the second stage looks at, at test; training samples its own from twice as many.
        regions: Regions of an image that training samples.
        pooling: How regions become maps, a key of ``POOLINGS``.
        coupled: Whether masks come from one softmax over the classes, in place of a sigmoid each.
        weights: As everywhere.

    Raises:
        ConfigError: If the pooling is unknown.

    Example:
        >>> model = maskrcnn(num_classes=2, channels=16).eval()
        >>> model.predict(torch.zeros(1, 3, 64, 64))["masks"].shape
        torch.Size([1, 100, 28, 28])
    """
    if pooling not in POOLINGS:
        raise ConfigError(
            f"pooling is '{pooling}'; choose one of {', '.join(POOLINGS)}.{did_you_mean(pooling, POOLINGS)}"
        )
    samples = POOLINGS[pooling]
    box_pooling, mask_pooling = (
        PyramidPoolPooling(_STRIDES, size) if samples is None else AlignPooling(_STRIDES, size, samples)
        for size in (7, 14)
    )
    body, neck, rpn = pyramid_rcnn_parts(backbone, channels, anchor_size, proposals)
    hidden = 4 * channels
    head, predictor = TwoLayerHead(channels, 7, hidden), BoxPredictor(hidden, num_classes)
    boxes = SingleBoxBranch(box_pooling, head, predictor, RegionSampling(regions))
    branches = {"mask": pyramid_mask_branch(num_classes, channels, mask_pooling, coupled)}
    return FasterRCNN(body, neck, rpn, boxes, num_classes, branches)
