r"""Cascade R-CNN: Faster R-CNN whose second stage is three heads in a row, each for better boxes than the one before.

Paper: Zhaowei Cai, Nuno Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", CVPR 2018, arXiv
1712.00726.

    images --- backbone, pyramid --- maps --- region proposal network --- proposals (B, K, 4)
                                      \                                      |
                                       \---------- RoIAlign ------- head 1, head 2, head 3 --- boxes, classes

The heads, their losses and what differs from the paper are in :mod:`saccade.models.detection.cascade_branch`; the
rest is :class:`~saccade.models.detection.faster_rcnn.FasterRCNN`, and so are masks: a branch that is passed to it
works on the final boxes of a cascade as well.

Differences from the paper: over a pyramid, with RoIAlign, as in its second half and all published networks.
"""

from __future__ import annotations

from dataclasses import replace

from saccade.models.detection.cascade_branch import CascadeBranch
from saccade.models.detection.faster_rcnn import PUBLISHED_INPUT, AlignPooling, FasterRCNN, pyramid_rcnn_parts
from saccade.models.detection.roi_branches import FPN_SAMPLING, RegionSampling
from saccade.models.registry import register_model

__all__ = ["cascade_rcnn", "cascade_rcnn_resnet50_fpn", "pyramid_cascade_branch"]

_PAPER = "Cai and Vasconcelos, CVPR 2018, arXiv 1712.00726"
_STRIDES = (4, 8, 16, 32)


def pyramid_cascade_branch(
    num_classes: int, channels: int = 256, hidden: int = 1024, regions: int = FPN_SAMPLING.count
) -> CascadeBranch:
    """Three heads over a feature pyramid: RoIAlign 7 x 7 of P2 to P5 and two layers each.

    Args:
        num_classes: Classes without background.
        channels: Of the pyramid.
        hidden: Units of the two layers.
        regions: Regions of an image that training samples.

    Example:
        >>> branch = pyramid_cascade_branch(num_classes=2, channels=8, hidden=16)
        >>> branch([torch.zeros(1, 8, side, side) for side in (16, 8, 4, 2)], torch.zeros(1, 3, 4))["roi_codes"].shape
        torch.Size([1, 3, 4])
    """
    pooling, sampling = AlignPooling(_STRIDES, 7), RegionSampling(regions)
    return CascadeBranch(pooling, channels, 7, hidden, num_classes, _STRIDES[0], sampling=sampling)


@register_model(task="detection", paper=_PAPER)
def cascade_rcnn_resnet50_fpn(num_classes: int = 80, weights: str | None = None) -> FasterRCNN:
    """Cascade R-CNN over ResNet-50, the form of 2015, and a feature pyramid: shorter side 800 pixels.

    Example:
        >>> model = cascade_rcnn_resnet50_fpn(num_classes=3)
        >>> len(model.box_branch.heads), model.input_spec.size
        (3, (800, 1333))
    """
    body, neck, rpn = pyramid_rcnn_parts("resnet50_v1")
    model = FasterRCNN(body, neck, rpn, pyramid_cascade_branch(num_classes), num_classes)
    model.input_spec = replace(body.input_spec, **PUBLISHED_INPUT)
    return model


@register_model(task="detection", paper=_PAPER)
def cascade_rcnn(
    num_classes: int = 80,
    backbone: str = "resnet18",
    channels: int = 256,
    hidden: int = 1024,
    anchor_size: float = 32,
    proposals: int = 1000,
    regions: int = 512,
    weights: str | None = None,
) -> FasterRCNN:
    """Cascade R-CNN over any classifier with feature maps of stride 4 to 32, on a square of 512 pixels.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier.
        channels: Of the pyramid.
        hidden: Units of the two layers of each head.
        anchor_size: Side of the smallest anchors, pixels; smaller for small objects or a small canvas.
        proposals: Regions that the first head looks at, at test; training samples its own from twice as many.
        regions: Regions of an image that training samples.
        weights: As everywhere.

    Example:
        >>> model = cascade_rcnn(num_classes=2, channels=16, hidden=32).eval()
        >>> model.predict(torch.zeros(1, 3, 64, 64))["boxes"].shape
        torch.Size([1, 100, 4])
    """
    body, neck, rpn = pyramid_rcnn_parts(backbone, channels, anchor_size, proposals)
    return FasterRCNN(body, neck, rpn, pyramid_cascade_branch(num_classes, channels, hidden, regions), num_classes)
