"""MobileNets published by torchvision. Figures and file names: the metadata of its weights.

Models that torchvision does not publish are timm's.
"""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, timm_imagenet, torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision")
_V2 = Variant("imagenet_v2", preprocessing={"crop_fraction": 224 / 232})


ROWS = (
    _row("mobilenet_v2", "mobilenet_v2-b0353104.pth", 71.878, 90.286),
    _row("mobilenet_v2", "mobilenet_v2-7ebf99e0.pth", 72.154, 90.822, variant=_V2),
    _row("mobilenet_v3_large", "mobilenet_v3_large-8738ca79.pth", 74.042, 91.34),
    _row("mobilenet_v3_large", "mobilenet_v3_large-5c1a4163.pth", 75.274, 92.566, variant=_V2),
    _row("mobilenet_v3_small", "mobilenet_v3_small-047dcff4.pth", 67.668, 87.402),
    timm_imagenet(
        "mobilenet_v1",
        "mobilenetv1_100.ra4_e3600_r224_in1k",
        "timm MobileNetV1",
        variant=Variant(
            arguments={"activation": "relu6"},
            preprocessing={"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)},
        ),
    ),
)
