"""FCOS as torchvision publishes it. Figures and file name: the metadata of its ``FCOS_ResNet50_FPN_Weights``.

The file has 91 columns, by COCO's category ids, of which those of the 80 real classes are loaded.
"""

from __future__ import annotations

from saccade.weights.entry import PublishedWeights

__all__ = ["ROWS"]

ROWS = (
    PublishedWeights(
        builder="fcos_resnet50_fpn",
        name="coco",
        url="https://download.pytorch.org/models/fcos_resnet50_fpn_coco-99b0c9b7.pth",
        layout="torchvision detector",
        licence="BSD-3-Clause (torchvision); trained on COCO 2017, whose own terms apply",
        num_classes=80,
        class_names_source="coco91",
        claimed={"COCO 2017 val AP": 39.2},
        sha256_prefix="99b0c9b7",
    ),
)
