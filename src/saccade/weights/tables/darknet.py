"""Darknets published by timm, trained with its own leaky slope."""

from __future__ import annotations

from saccade.weights.entry import Variant, timm_imagenet

__all__ = ["ROWS"]

_LEAKY = Variant(
    arguments={"negative_slope": 0.01},
    preprocessing={"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375), "crop_fraction": 0.887},
)

ROWS = tuple(
    timm_imagenet(builder, model, "timm, as named here", variant=_LEAKY)
    for builder, model in (("darknet53", "darknet53.c2ns_in1k"), ("cspdarknet53", "cspdarknet53.ra_in1k"))
)
