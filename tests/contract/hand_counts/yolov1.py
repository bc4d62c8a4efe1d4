from __future__ import annotations

_CLASSES = 20
_OUTPUTS = 7 * 7 * (_CLASSES + 2 * 5)
# Channels in, channels out, side of the map of the nine 3x3 convolutions; six poolings lead from 448 to 7.
_CONVOLUTIONS = [
    (3, 16, 448),
    (16, 32, 224),
    (32, 64, 112),
    (64, 128, 56),
    (128, 256, 28),
    (256, 512, 14),
    (512, 1024, 7),
    (1024, 1024, 7),
    (1024, 1024, 7),
]
_CONNECTED = [(7 * 7 * 1024, 256), (256, 4096), (4096, _OUTPUTS)]

COUNTS = {
    "yolov1_fast": {
        "num_classes": _CLASSES,
        "params": sum((9 * into + 1) * out for into, out, _ in _CONVOLUTIONS)
        + sum((into + 1) * out for into, out in _CONNECTED),
        "macs": sum(9 * into * out * side**2 for into, out, side in _CONVOLUTIONS)
        + sum(into * out for into, out in _CONNECTED),
        "input": (3, 448, 448),
    },
}
