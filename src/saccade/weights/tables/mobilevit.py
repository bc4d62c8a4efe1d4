"""MobileViTs published by timm, converted from the authors'."""

from __future__ import annotations

from saccade.weights.entry import timm_imagenet

__all__ = ["ROWS"]

ROWS = tuple(
    timm_imagenet(f"mobilevit_{size}", f"mobilevit_{size}.cvnets_in1k", "timm, as named here")
    for size in ("xxs", "xs", "s")
)
