"""RetinaNet as torchvision publishes it. Figures and file name: the metadata of its ``RetinaNet_ResNet50_FPN_Weights``.

The file has 91 columns an anchor, by COCO's category ids, of which those of the 80 real classes are loaded.
"""

from __future__ import annotations

from saccade.weights.entry import PublishedWeights

__all__ = ["ROWS"]

ROWS = (
    PublishedWeights(
        builder="retinanet_resnet50_fpn",
        name="coco",
        url="https://download.pytorch.org/models/retinanet_resnet50_fpn_coco-eeacb38b.pth",
        layout="torchvision detector",
        licence="BSD-3-Clause (torchvision); trained on COCO 2017, whose own terms apply",
        num_classes=80,
        class_names_source="coco91",
        claimed={"COCO 2017 val AP": 36.4},
        sha256_prefix="eeacb38b",
    ),
)
