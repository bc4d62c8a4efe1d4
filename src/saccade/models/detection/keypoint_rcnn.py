r"""Keypoint R-CNN: Faster R-CNN for persons that finds the keypoints of each, by a network over its box.

Paper: Kaiming He, Georgia Gkioxari, Piotr Dollar, Ross Girshick, "Mask R-CNN", ICCV 2017, arXiv 1703.06870, section 5
"Mask R-CNN for Human Pose Estimation".

    images --- backbone + pyramid --- P2..P6 --- region proposal network --- proposals
                                        \                                        |
                                         \---- RoIAlign 7 x 7 -------------------+--- box branch --- boxes of persons
                                          \                                                             |
                                           \-- RoIAlign 14 x 14 ----------------------------------------+--- keypoints

                                 head       512 x 14 x 14    3x3, eight times
                                 predictor   17 x 28 x 28    deconvolution 4x4 / 2
                                             17 x 56 x 56    bilinear x 2

Keypoints need a finer grid than masks: 56 cells a side of a box.

Differences from the paper: those of Faster R-CNN here, and of the branch
(:mod:`saccade.models.detection.keypoint_branch`). Weights: torchvision's, trained on COCO's persons.
"""

from __future__ import annotations

from dataclasses import replace

from saccade.blocks.roi_heads.keypoint import KeypointPredictor
from saccade.blocks.roi_heads.mask import ConvHead
from saccade.models.detection.faster_rcnn import (
    PUBLISHED_INPUT,
    AlignPooling,
    FasterRCNN,
    pyramid_box_branch,
    pyramid_rcnn_parts,
)
from saccade.models.detection.keypoint_branch import KeypointBranch
from saccade.models.registry import register_model

__all__ = ["keypointrcnn", "keypointrcnn_resnet50_fpn", "pyramid_keypoint_branch"]

_PAPER = "He et al., ICCV 2017, arXiv 1703.06870"
_STRIDES = (4, 8, 16, 32)  # of P2 to P5


def pyramid_keypoint_branch(num_keypoints: int = 17, channels: int = 256) -> KeypointBranch:
    """Keypoint branch over a feature pyramid: RoIAlign 14 x 14 of P2 to P5, eight convolutions, 56 x 56 cells.

    Args:
        num_keypoints: Keypoints of an object.
        channels: Of the pyramid; the branch has twice as many.

    Example:
        >>> branch = pyramid_keypoint_branch(num_keypoints=5, channels=8)
        >>> branch.predictor(branch.head(torch.zeros(2, 8, 14, 14))).shape
        torch.Size([2, 5, 56, 56])
    """
    head = ConvHead(channels, 2 * channels, layers=8)
    return KeypointBranch(AlignPooling(_STRIDES, 14), head, KeypointPredictor(2 * channels, num_keypoints))


@register_model(task="detection", paper=_PAPER)
def keypointrcnn_resnet50_fpn(num_classes: int = 1, num_keypoints: int = 17, weights: str | None = None) -> FasterRCNN:
    """Keypoint R-CNN over ResNet-50 and a feature pyramid, as torchvision publishes it: shorter side 800 pixels.

    Example:
        >>> model = keypointrcnn_resnet50_fpn()
        >>> model.decoded_keys[4:], model.target_names
        (('keypoints', 'point_scores'), ('boxes', 'labels', 'keypoints'))
    """
    body, neck, rpn = pyramid_rcnn_parts("resnet50")
    branches = {"keypoints": pyramid_keypoint_branch(num_keypoints)}
    model = FasterRCNN(body, neck, rpn, pyramid_box_branch(num_classes), num_classes, branches)
    model.input_spec = replace(body.input_spec, **PUBLISHED_INPUT)
    return model


@register_model(task="detection", paper=_PAPER)
def keypointrcnn(
    num_classes: int = 1,
    num_keypoints: int = 17,
    backbone: str = "resnet18",
    channels: int = 256,
    anchor_size: float = 32,
    proposals: int = 1000,
    regions: int = 512,
    weights: str | None = None,
) -> FasterRCNN:
    """Keypoint R-CNN over any classifier with feature maps of stride 4 to 32, on a square of 512 pixels.

    Args:
        num_classes: Classes without background.
        num_keypoints: Keypoints of an object, whatever its class.
        backbone: Builder name of the classifier.
        channels: Of the pyramid (256 in the paper); the keypoint branch has twice as many, the box branch four times as
            many units.
        anchor_size: Side of the smallest anchors, pixels; smaller for small objects or a small canvas.
        proposals: Regions that the second stage looks at, at test; training samples its own from twice as many.
        regions: Regions of an image that training samples.
        weights: As everywhere.

    Example:
        >>> model = keypointrcnn(num_keypoints=5, channels=16).eval()
        >>> model.predict(torch.zeros(1, 3, 64, 64))["keypoints"].shape
        torch.Size([1, 100, 5, 2])
    """
    body, neck, rpn = pyramid_rcnn_parts(backbone, channels, anchor_size, proposals)
    branches = {"keypoints": pyramid_keypoint_branch(num_keypoints, channels)}
    boxes = pyramid_box_branch(num_classes, channels, 4 * channels, regions)
    return FasterRCNN(body, neck, rpn, boxes, num_classes, branches)
