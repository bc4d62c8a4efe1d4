"""HRNets published by timm, converted from the authors'."""

from __future__ import annotations

from saccade.weights.entry import timm_imagenet

__all__ = ["ROWS"]

_MODELS = {
    "hrnet_w18_small": "hrnet_w18_small.ms_in1k",
    "hrnet_w18": "hrnet_w18.ms_aug_in1k",
    "hrnet_w30": "hrnet_w30.ms_in1k",
    "hrnet_w32": "hrnet_w32.ms_in1k",
    "hrnet_w40": "hrnet_w40.ms_in1k",
    "hrnet_w44": "hrnet_w44.ms_in1k",
    "hrnet_w48": "hrnet_w48.ms_in1k",
    "hrnet_w64": "hrnet_w64.ms_in1k",
}

ROWS = tuple(
    timm_imagenet(builder, model, "timm, as named here", crop_fraction=0.95 if ".ms_aug_" in model else 0.875)
    for builder, model in _MODELS.items()
)
