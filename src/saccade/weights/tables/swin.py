"""Swin Transformers published by torchvision. Figures and file names: the metadata of its weights.

Models that torchvision does not publish are timm's.
"""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, timm_imagenet, torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision Swin")


ROWS = (
    _row("swin_t", "swin_t-704ceda3.pth", 81.474, 95.776),
    _row("swin_s", "swin_s-5e29d889.pth", 83.196, 96.36),
    _row("swin_b", "swin_b-68c6b09e.pth", 83.582, 96.64),
    timm_imagenet(
        "swin_l",
        "swin_large_patch4_window7_224.ms_in22k_ft_in1k",
        "timm, as named here",
        variant=Variant(preprocessing={"crop_fraction": 0.9}),
    ),
)
