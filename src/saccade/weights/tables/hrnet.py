"""HRNets published by timm, converted from the authors'."""

from __future__ import annotations

from saccade.weights.entry import Variant, timm_imagenet

__all__ = ["ROWS"]

_MODELS = {
    "hrnet_w18_small": "hrnet_w18_small.ms_in1k",
    "hrnet_w18": "hrnet_w18.ms_in1k",
    "hrnet_w30": "hrnet_w30.ms_in1k",
    "hrnet_w32": "hrnet_w32.ms_in1k",
    "hrnet_w40": "hrnet_w40.ms_in1k",
    "hrnet_w44": "hrnet_w44.ms_in1k",
    "hrnet_w48": "hrnet_w48.ms_in1k",
    "hrnet_w64": "hrnet_w64.ms_in1k",
}

ROWS = (
    *(timm_imagenet(builder, model, "timm, as named here") for builder, model in _MODELS.items()),
    # Trained later and with more augmentation.
    timm_imagenet(
        "hrnet_w18",
        "hrnet_w18.ms_aug_in1k",
        "timm, as named here",
        variant=Variant("imagenet_v2", preprocessing={"crop_fraction": 0.95}),
    ),
)
