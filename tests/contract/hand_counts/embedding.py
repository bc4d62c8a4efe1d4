"""Networks without classes: ``num_classes`` is 0, whatever the number of their outputs."""

from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

_RESNET18 = REFERENCE["resnet18"]
_FC = 512 * 1000 + 1000  # of ResNet-18, which a backbone lacks
_PROJECT = 512 * 64 + 64

# Four convolutions with BN, on 28, 14, 7 and 3 pixels a side.
_CONV4 = {
    "num_classes": 0,
    "params": (9 + 1) * 64 + 3 * (9 * 64 + 1) * 64 + 4 * 2 * 64,
    "macs": 28**2 * 9 * 64 + (14**2 + 7**2 + 3**2) * 9 * 64 * 64,
}
_OVER_RESNET18 = {
    "num_classes": 0,
    "params": _RESNET18["params"] - _FC + _PROJECT,
    "macs": _RESNET18["macs"] - 512 * 1000 + 512 * 64,
}

# Koch's figure 4: kernels of 10, 7, 4 and 4 on maps of 96, 42, 18 and 6 pixels a side.
_KOCH = {
    "num_classes": 0,
    "params": (100 + 1) * 64
    + (49 * 64 + 1) * 128
    + (16 * 128 + 1) * 128
    + (16 * 128 + 1) * 256
    + (9216 + 1) * 4096
    + 4096
    + 1,
    # Of one of the twins, without the 4,096 weights that only pairs use.
    "macs": 96**2 * 100 * 64 + 42**2 * 49 * 64 * 128 + 18**2 * 16 * 128 * 128 + 6**2 * 16 * 128 * 256 + 9216 * 4096,
}

COUNTS = {
    "protonet_conv4": _CONV4,
    "matching_conv4": _CONV4,
    "maml_conv4": {**_CONV4, "params": _CONV4["params"] + 64 * 5 + 5, "macs": _CONV4["macs"] + 64 * 5},
    "protonet": _OVER_RESNET18,
    "matching": _OVER_RESNET18,
    "siamese": _OVER_RESNET18,
    "siamese_koch": _KOCH,
}
