"""ResNeXts published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision ResNet")
_V2 = Variant("imagenet_v2", preprocessing={"crop_fraction": 224 / 232})


ROWS = (
    _row("resnext50_32x4d", "resnext50_32x4d-7cdf4587.pth", 77.618, 93.698),
    _row("resnext50_32x4d", "resnext50_32x4d-1a0047aa.pth", 81.198, 95.34, variant=_V2),
    _row("resnext101_32x8d", "resnext101_32x8d-8ba56ff5.pth", 79.312, 94.526),
    _row("resnext101_32x8d", "resnext101_32x8d-110c445d.pth", 82.834, 96.228, variant=_V2),
    _row(
        "resnext101_64x4d",
        "resnext101_64x4d-173b62eb.pth",
        83.246,
        96.454,
        variant=Variant(preprocessing={"crop_fraction": 224 / 232}),
    ),
)
