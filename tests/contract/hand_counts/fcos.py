from __future__ import annotations

from typing import Any

from tests.contract.hand_counts import REFERENCE

_CLASSES, _SIDE, _WIDTH = 80, 512, 256
_LEVELS = [_SIDE // stride for stride in (8, 16, 32, 64, 128)]
_LOCATIONS = sum(side**2 for side in _LEVELS)
_SQUARE = 9 * _WIDTH**2  # a 3x3 convolution of the pyramid or the head
_OUTPUTS = _CLASSES + 4 + 1


def _count(resnet: str, channels: tuple[int, int, int]) -> dict[str, Any]:
    """Pyramid and head over the convolutions of a ResNet; C3 to C5 have so many channels."""
    backbone = REFERENCE[resnet]
    params = backbone["params"] - (channels[-1] + 1) * 1000
    params += (sum(channels) + 3) * _WIDTH + 5 * (_SQUARE + _WIDTH)  # 1x1 of three levels, 3x3 of five
    params += 2 * 4 * (_SQUARE + _WIDTH + 2 * _WIDTH) + (9 * _WIDTH + 1) * _OUTPUTS  # GroupNorm has two a channel
    macs = (backbone["macs"] - channels[-1] * 1000) * _SIDE**2 // 224**2
    macs += sum(into * _WIDTH * side**2 for into, side in zip(channels, _LEVELS, strict=False))
    macs += (_SQUARE + 8 * _SQUARE + 9 * _WIDTH * _OUTPUTS) * _LOCATIONS
    return {"num_classes": _CLASSES, "params": params, "macs": macs, "input": (3, _SIDE, _SIDE)}


COUNTS = {
    "fcos": _count("resnet18", (128, 256, 512)),
    "fcos_resnet50_fpn": _count("resnet50", (512, 1024, 2048)),
    "fcos_resnet101_fpn": _count("resnet101", (512, 1024, 2048)),
}
assert COUNTS["fcos_resnet50_fpn"]["params"] == REFERENCE["fcos_resnet50_fpn"]["params"]
