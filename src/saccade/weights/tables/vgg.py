"""VGGs published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision")


ROWS = (
    _row("vgg11", "vgg11-8a719046.pth", 69.02, 88.628),
    _row("vgg11_bn", "vgg11_bn-6002323d.pth", 70.37, 89.81),
    _row("vgg13", "vgg13-19584684.pth", 69.928, 89.246),
    _row("vgg13_bn", "vgg13_bn-abd245e5.pth", 71.586, 90.374),
    _row("vgg16", "vgg16-397923af.pth", 71.592, 90.382),
    _row("vgg16_bn", "vgg16_bn-6c64b313.pth", 73.36, 91.516),
    _row("vgg19", "vgg19-dcbb9e9d.pth", 72.376, 90.876),
    _row("vgg19_bn", "vgg19_bn-c79401a0.pth", 74.218, 91.842),
)
