"""Vision Transformers published by torchvision. Figures and file names: the metadata of its weights.

Models that torchvision does not publish are timm's.
"""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, timm_imagenet, torchvision_imagenet

__all__ = ["ROWS"]

_SWAG = "CC-BY-NC-4.0 (SWAG, Singh et al. 2022); fine-tuned on ImageNet-1K, whose own terms apply"
_HALF = {"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}
_AUGREG = Variant(preprocessing={**_HALF, "crop_fraction": 0.9})
_WHOLE = {"crop_fraction": 1.0}
_LINEAR = Variant("imagenet_swag_linear", preprocessing=_WHOLE, licence=_SWAG)


_row = partial(torchvision_imagenet, layout="torchvision ViT")


def _end_to_end(size: int) -> Variant:
    return Variant("imagenet_swag_e2e", arguments={"image_size": size}, preprocessing=_WHOLE, licence=_SWAG)


ROWS = (
    _row("vit_b_16", "vit_b_16-c867db91.pth", 81.072, 95.318),
    _row("vit_b_16", "vit_b_16_swag-9ac1b537.pth", 85.304, 97.65, variant=_end_to_end(384)),
    _row("vit_b_16", "vit_b_16_lc_swag-4e70ced5.pth", 81.886, 96.18, variant=_LINEAR),
    _row("vit_b_32", "vit_b_32-d86f8d99.pth", 75.912, 92.466),
    _row(
        "vit_l_16", "vit_l_16-852ce7e3.pth", 79.662, 94.638, variant=Variant(preprocessing={"crop_fraction": 224 / 242})
    ),
    _row("vit_l_16", "vit_l_16_swag-4f3808c9.pth", 88.064, 98.512, variant=_end_to_end(512)),
    _row("vit_l_16", "vit_l_16_lc_swag-4d563306.pth", 85.146, 97.422, variant=_LINEAR),
    _row("vit_l_32", "vit_l_32-c7638314.pth", 76.972, 93.07),
    _row("vit_h_14", "vit_h_14_swag-80465313.pth", 88.552, 98.694, variant=_end_to_end(518)),
    _row("vit_h_14", "vit_h_14_lc_swag-c1eb923e.pth", 85.708, 97.73, variant=_LINEAR),
    timm_imagenet("vit_ti_16", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "timm, as named here", variant=_AUGREG),
    timm_imagenet("vit_s_16", "vit_small_patch16_224.augreg_in21k_ft_in1k", "timm, as named here", variant=_AUGREG),
    timm_imagenet("vit_s_32", "vit_small_patch32_224.augreg_in21k_ft_in1k", "timm, as named here", variant=_AUGREG),
    timm_imagenet(
        "vit_r50_b_16",
        "vit_base_r50_s16_384.orig_in21k_ft_in1k",
        "timm, as named here",
        variant=Variant(arguments={"image_size": 384}, preprocessing={**_HALF, **_WHOLE}),
    ),
    timm_imagenet("vit_r50_l_32", "vit_large_r50_s32_224.augreg_in21k_ft_in1k", "timm, as named here", variant=_AUGREG),
)
