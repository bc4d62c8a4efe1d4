"""Segmenters published by torchvision. Figures and file names: the metadata of its weights.

They were trained on those images of COCO that show one of VOC's 20 classes, and scored on COCO 2017's validation images
with these labels. The shorter side of an image is 520 pixels there, whatever the longer one is.
"""

from __future__ import annotations

from saccade.weights.entry import PublishedWeights

__all__ = ["ROWS"]

_LICENCE = "BSD-3-Clause (torchvision); trained on COCO 2017, whose own terms apply"


def _row(builder: str, file: str, miou: float, pixel_accuracy: float) -> PublishedWeights:
    return PublishedWeights(
        builder=builder,
        name="coco_voc",
        url=f"https://download.pytorch.org/models/{file}",
        layout="torchvision segmenter",
        licence=_LICENCE,
        num_classes=21,
        class_names_source="voc",
        claimed={"COCO 2017 val, VOC labels, mIoU": miou, "COCO 2017 val, VOC labels, pixel accuracy": pixel_accuracy},
        sha256_prefix=file.removesuffix(".pth").rsplit("-", 1)[1],
        preprocessing={"resize": "shorter_side", "size": (520, 2080)},
    )


ROWS = (
    _row("fcn_resnet50", "fcn_resnet50_coco-1167a1af.pth", 60.5, 91.4),
    _row("fcn_resnet101", "fcn_resnet101_coco-7ecb50ca.pth", 63.7, 91.9),
    _row("deeplabv3_resnet50", "deeplabv3_resnet50_coco-cd0a2569.pth", 66.4, 92.4),
    _row("deeplabv3_resnet101", "deeplabv3_resnet101_coco-586e9e4e.pth", 67.4, 92.4),
    _row("deeplabv3_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large-fc3c493d.pth", 60.3, 91.2),
    _row("lraspp_mobilenet_v3_large", "lraspp_mobilenet_v3_large-d234d4ea.pth", 57.9, 91.2),
)
