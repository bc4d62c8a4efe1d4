"""GoogLeNet with BatchNorm published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from typing import Any

from saccade.weights.entry import PublishedWeights, torchvision_imagenet

__all__ = ["ROWS"]


def _row(builder: str, file: str, top1: float, top5: float, **options: Any) -> PublishedWeights:
    return torchvision_imagenet(builder, file, top1, top5, "torchvision, as named here", **options)


ROWS = (
    _row(
        "googlenet_bn", "googlenet-1378be20.pth", 69.778, 89.53, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)
    ),
)
