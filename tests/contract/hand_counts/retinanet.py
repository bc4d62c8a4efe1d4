from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

_INPUT = (3, 800, 800)
_C5 = REFERENCE["retinanet_resnet50_fpn_c5"]
_BATCH_NORM = 53_120  # scales and shifts of ResNet-50, which the reference counts as frozen
# Stride in the 3x3 (v1.5) instead of the first 1x1 of the first bottleneck of three stages: that 1x1 then works on the
# larger map.
_V1_5 = 3 * 100**2 * 256 * 128 + 3 * 50**2 * 512 * 256 + 3 * 25**2 * 1024 * 512
_P6 = 13**2 * 9 * 256  # for each channel that P6 is made from
# ResNet-101 has 17 more bottlenecks in its third stage.
_BLOCK = 1024 * 256 + 9 * 256 * 256 + 256 * 1024
_RESNET18, _RESNET50, _RESNET101 = REFERENCE["resnet18"], REFERENCE["resnet50"], REFERENCE["resnet101"]


def _subnets(num_classes: int) -> int:
    """Weights of both subnets, without biases."""
    return 9 * 256 * (8 * 256 + 9 * num_classes + 9 * 4)


# Over ResNet-18 at 512 pixels: laterals from 128, 256 and 512 channels, a 3x3 behind each, P6 from C5, P7.
_LATERALS, _OUTPUTS = (128 * 256, 256 * 256, 512 * 256), 9 * 256 * 256
_BIASES = 3 * 256 + 3 * 256 + 2 * 256 + 8 * 256 + 9 * 80 + 9 * 4
_MAPS = (64**2, 32**2, 16**2, 8**2, 4**2)

COUNTS = {
    "retinanet_resnet50_fpn": {
        "macs": _C5["macs"] + _V1_5 - _P6 * (2048 - 256),
        "input": _INPUT,
    },
    "retinanet_resnet50_fpn_c5": {"params": _C5["params"] + _BATCH_NORM},
    "retinanet_resnet101_fpn": {
        "num_classes": 80,
        "params": _C5["params"] + _BATCH_NORM + _RESNET101["params"] - _RESNET50["params"],
        "macs": _C5["macs"] + _V1_5 + 17 * 50**2 * _BLOCK,
        "input": _INPUT,
    },
    "retinanet": {
        "num_classes": 80,
        "params": _RESNET18["params"]
        - 513 * 1000
        + sum(_LATERALS)
        + 3 * _OUTPUTS
        + 9 * 512 * 256
        + _OUTPUTS
        + _subnets(80)
        + _BIASES,
        "macs": (_RESNET18["macs"] - 512 * 1000) * 512**2 // 224**2
        + sum(area * (lateral + _OUTPUTS) for area, lateral in zip(_MAPS, _LATERALS, strict=False))
        + _MAPS[3] * 9 * 512 * 256
        + _MAPS[4] * _OUTPUTS
        + sum(_MAPS) * _subnets(80),
    },
}
