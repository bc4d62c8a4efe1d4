"""ShuffleNetV2s published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision, as named here")
_LARGE_CROP = Variant(preprocessing={"crop_fraction": 224 / 232})


ROWS = (
    _row("shufflenet_v2_x0_5", "shufflenetv2_x0.5-f707e7126e.pth", 60.552, 81.746),
    _row("shufflenet_v2_x1_0", "shufflenetv2_x1-5666bf0f80.pth", 69.362, 88.316),
    _row("shufflenet_v2_x1_5", "shufflenetv2_x1_5-3c479a10.pth", 72.996, 91.086, variant=_LARGE_CROP),
    _row("shufflenet_v2_x2_0", "shufflenetv2_x2_0-8be3c8ee.pth", 76.23, 93.006, variant=_LARGE_CROP),
)
