from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

_RESNET18, _RESNET34, _UNET = REFERENCE["resnet18"], REFERENCE["resnet34"], REFERENCE["unet_resnet34"]

COUNTS = {
    # The reference counts the network on 572 x 572 pixels: the mirror image makes them of 388 x 388 (388 + 2 x 92).
    "unet_2015": {"input": (1, 388, 388)},
    # unet_resnet34 with the maps of ResNet-18, which have the same channels, and a second output.
    "unet_backbone": {
        "num_classes": 2,
        "params": _UNET["params"] - _RESNET34["params"] + _RESNET18["params"] + 9 * 16 + 1,
        "macs": _UNET["macs"] - (_RESNET34["macs"] - _RESNET18["macs"]) * 512**2 // 224**2 + 9 * 16 * 512**2,
    },
}
