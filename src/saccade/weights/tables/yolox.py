"""YOLOX as its authors publish it. Figures and file names: the benchmark table in the README of their repository."""

from __future__ import annotations

from saccade.weights.entry import PublishedWeights

__all__ = ["ROWS"]


def _row(builder: str, file: str, layout: str = "official YOLOX", **claimed: float) -> PublishedWeights:
    return PublishedWeights(
        builder=builder,
        name="coco",
        url=f"https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/{file}",
        layout=layout,
        licence="Apache-2.0 (Megvii YOLOX 0.1.1rc0); trained on COCO 2017, whose own terms apply",
        num_classes=80,
        class_names_source="coco",
        claimed={f"COCO 2017 {split} AP": value for split, value in claimed.items()},
    )


ROWS = (
    _row("yolox_nano", "yolox_nano.pth", val=25.8),
    _row("yolox_tiny", "yolox_tiny.pth", val=32.8),
    _row("yolox_s", "yolox_s.pth", val=40.5, test=40.5),
    _row("yolox_m", "yolox_m.pth", val=46.9, test=47.2),
    _row("yolox_l", "yolox_l.pth", val=49.7, test=50.1),
    _row("yolox_x", "yolox_x.pth", val=51.1, test=51.5),
    _row("yolox_darknet53", "yolox_darknet.pth", "YOLOX, Darknet-53", val=47.7, test=48.0),
)
