from __future__ import annotations

from typing import Any

from tests.contract.hand_counts import REFERENCE

_V2, _V3, _RESNET18 = REFERENCE["mobilenet_v2"], REFERENCE["mobilenet_v3_large"], REFERENCE["resnet18"]


def _lite(params: int, macs: int, channels: tuple[int, int]) -> dict[str, Any]:
    """Extra layers and predictors at 320 pixels, 80 classes, over a backbone of so many channels at the end."""
    extras = ((channels[1], 256, 512, 10, 5), (512, 128, 256, 5, 3), (256, 128, 256, 3, 2), (256, 64, 128, 2, 1))
    for before, hidden, after, side, half in extras:  # 1x1, depthwise 3x3 / 2, 1x1, each with BatchNorm
        params += before * hidden + 9 * hidden + hidden * after + 2 * (hidden + hidden + after)
        macs += before * hidden * side**2 + (9 * hidden + hidden * after) * half**2
    outputs = 6 * (81 + 4)  # of six boxes: classes with background, and codes
    for width, side in zip((*channels, 512, 256, 256, 128), (20, 10, 5, 3, 2, 1), strict=True):
        params += 2 * (9 + 2) * width + (width + 1) * outputs
        macs += (2 * 9 * width + width * outputs) * side**2
    return {"num_classes": 80, "params": params, "macs": macs}


# Squeeze-and-excitation of MobileNetV3-Large works on one location, whatever the canvas: channels, squeezed channels.
_SQUEEZE = ((72, 24), (120, 32), (120, 32), (480, 120), (672, 168), (672, 168), (960, 240), (960, 240))
_GATES = sum(2 * channels * squeezed for channels, squeezed in _SQUEEZE)
_FC = 960 * 1280 + 1280 * 1000


def _over_resnet18() -> dict[str, Any]:
    """SSD at 256 pixels, 20 classes: maps of 32, 16 and 8 cells a side, and three extra ones."""
    params = _RESNET18["params"] - 513 * 1000
    macs = (_RESNET18["macs"] - 512 * 1000) * 256**2 // 224**2
    for before, hidden, after, side in ((512, 256, 512, 8), (512, 128, 256, 4), (256, 128, 256, 2)):
        params += before * hidden + 9 * hidden * after + 2 * (hidden + after)  # 1x1, 3x3 / 2
        macs += before * hidden * side**2 + 9 * hidden * after * (side // 2) ** 2
    levels = zip((128, 256, 512, 512, 256, 256), (4, 6, 6, 6, 4, 4), (32, 16, 8, 4, 2, 1), strict=True)
    for width, boxes, side in levels:
        params += (9 * width + 1) * boxes * (21 + 4)
        macs += 9 * width * boxes * (21 + 4) * side**2
    return {"num_classes": 20, "params": params, "macs": macs, "input": (3, 256, 256)}


COUNTS = {
    "ssdlite320_mobilenet_v2": _lite(
        _V2["params"] - 1281 * 1000, (_V2["macs"] - 1280 * 1000) * 320**2 // 224**2, (576, 1280)
    ),
    "ssdlite": _lite(
        _V3["params"] - _FC - 1280 - 1000, (_V3["macs"] - _FC - _GATES) * 320**2 // 224**2 + _GATES, (672, 960)
    ),
    "ssd": _over_resnet18(),
}
