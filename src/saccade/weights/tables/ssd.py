"""SSD and SSDLite of torchvision. Figures: the metadata that torchvision carries."""

from __future__ import annotations

from saccade.weights.entry import PublishedWeights

__all__ = ["ROWS"]


def _row(builder: str, file: str, ap: float) -> PublishedWeights:
    return PublishedWeights(
        builder=builder,
        name="coco",
        url=f"https://download.pytorch.org/models/{file}",
        layout="torchvision SSD",
        licence="BSD-3-Clause (torchvision); trained on COCO 2017, whose own terms apply",
        num_classes=80,
        class_names_source="coco91",
        claimed={"COCO 2017 val AP": ap},
        sha256_prefix=file.removesuffix(".pth").rsplit("-", 1)[1],
    )


ROWS = (
    _row("ssd300_vgg16", "ssd300_vgg16_coco-b556d3b4.pth", 25.1),
    _row("ssdlite320_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large_coco-a79551df.pth", 21.3),
)
