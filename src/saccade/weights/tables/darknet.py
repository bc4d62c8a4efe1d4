"""Darknets published by timm, trained with its own leaky slope."""

from __future__ import annotations

from saccade.weights.entry import timm_imagenet

__all__ = ["ROWS"]

_LEAKY = {"negative_slope": 0.01}
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

ROWS = tuple(
    timm_imagenet(builder, model, "timm, as named here", arguments=_LEAKY, mean=_MEAN, std=_STD, crop_fraction=0.887)
    for builder, model in (("darknet53", "darknet53.c2ns_in1k"), ("cspdarknet53", "cspdarknet53.ra_in1k"))
)
