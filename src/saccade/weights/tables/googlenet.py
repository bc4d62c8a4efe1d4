"""GoogLeNet with BatchNorm published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision, as named here")


ROWS = (
    _row(
        "googlenet_bn",
        "googlenet-1378be20.pth",
        69.778,
        89.53,
        variant=Variant(preprocessing={"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}),
    ),
)
