"""ResNets published by torchvision. Figures and file names: the metadata of its ``ResNet*_Weights``."""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, torchvision_imagenet

__all__ = ["ROWS"]

_V2 = Variant("imagenet_v2", preprocessing={"crop_fraction": 224 / 232})


_row = partial(torchvision_imagenet, layout="torchvision ResNet")


ROWS = (
    _row("resnet18", "resnet18-f37072fd.pth", 69.758, 89.078),
    _row("resnet34", "resnet34-b627a593.pth", 73.314, 91.420),
    _row("resnet50", "resnet50-0676ba61.pth", 76.130, 92.862),
    _row("resnet50", "resnet50-11ad3fa6.pth", 80.858, 95.434, variant=_V2),
    _row("resnet101", "resnet101-63fe2227.pth", 77.374, 93.546),
    _row("resnet101", "resnet101-cd907fc2.pth", 81.886, 95.780, variant=_V2),
    _row("resnet152", "resnet152-394f9c45.pth", 78.312, 94.046),
    _row("resnet152", "resnet152-f82ba261.pth", 82.284, 96.002, variant=_V2),
)
