"""ConvNeXts published by torchvision. Figures and file names: the metadata of its weights.

Models that torchvision does not publish are timm's.
"""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, timm_imagenet, torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision ConvNeXt")


ROWS = (
    _row("convnext_tiny", "convnext_tiny-983f1562.pth", 82.52, 96.146),
    _row("convnext_small", "convnext_small-0c510722.pth", 83.616, 96.65),
    _row("convnext_base", "convnext_base-6075fbad.pth", 84.062, 96.87),
    _row("convnext_large", "convnext_large-ea097f82.pth", 84.414, 96.976),
    timm_imagenet(
        "convnext_xlarge",
        "convnext_xlarge.fb_in22k_ft_in1k",
        "timm, as named here",
        variant=Variant(preprocessing={"crop_fraction": 0.875}),
    ),
)
