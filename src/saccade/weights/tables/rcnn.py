"""Faster, Mask and Keypoint R-CNN as torchvision publishes them. Figures and file names: the metadata of its weights.

The files of 80 classes have 91 columns by COCO's category ids, the first of which is the background; those of the real
classes are loaded. That of Keypoint R-CNN has two: background and person.
"""

from __future__ import annotations

from saccade.weights.entry import PublishedWeights

__all__ = ["ROWS"]

_LICENCE = "BSD-3-Clause (torchvision); trained on COCO 2017, whose own terms apply"

ROWS = (
    PublishedWeights(
        builder="fasterrcnn_resnet50_fpn",
        name="coco",
        url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        layout="torchvision detector",
        licence=_LICENCE,
        num_classes=80,
        class_names_source="coco91",
        claimed={"COCO 2017 val AP": 37.0},
        sha256_prefix="258fb6c6",
    ),
    PublishedWeights(
        builder="maskrcnn_resnet50_fpn",
        name="coco",
        url="https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        layout="torchvision detector",
        licence=_LICENCE,
        num_classes=80,
        class_names_source="coco91",
        claimed={"COCO 2017 val AP": 37.9, "COCO 2017 val mask AP": 34.6},
        sha256_prefix="bf2d0c1e",
    ),
    PublishedWeights(
        builder="keypointrcnn_resnet50_fpn",
        name="coco",
        url="https://download.pytorch.org/models/keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
        layout="torchvision detector",
        licence=_LICENCE,
        num_classes=1,
        class_names_source="coco_person",
        claimed={"COCO 2017 val AP (persons)": 54.6, "COCO 2017 val keypoint AP": 65.0},
        sha256_prefix="fc266e95",
    ),
)
