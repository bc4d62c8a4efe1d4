"""AlexNet published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from typing import Any

from saccade.weights.entry import PublishedWeights, torchvision_imagenet

__all__ = ["ROWS"]


def _row(builder: str, file: str, top1: float, top5: float, **options: Any) -> PublishedWeights:
    return torchvision_imagenet(builder, file, top1, top5, "torchvision", **options)


ROWS = (_row("alexnet", "alexnet-owt-7be5be79.pth", 56.522, 79.066),)
