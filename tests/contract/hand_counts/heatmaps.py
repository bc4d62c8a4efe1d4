from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

_POINTS = 68
_RESNET18 = REFERENCE["resnet18"]
# ResNet-18 at 224 whose last two stages stay at stride 8, and so compute 4 and 16 times as much: a stage has a strided
# 3x3, three more, and a projection.
_STRIDE_8 = _RESNET18["macs"] - 512 * 1000
_STRIDE_8 += (4 - 1) * 14**2 * (9 * 128 * 256 + 3 * 9 * 256 * 256 + 128 * 256)
_STRIDE_8 += (16 - 1) * 7**2 * (9 * 256 * 512 + 3 * 9 * 512 * 512 + 256 * 512)
_HEATMAPS = {
    "num_classes": _POINTS,
    "params": _RESNET18["params"] - (512 + 1) * 1000 + (512 + 1) * _POINTS,
    "macs": _STRIDE_8 + 512 * _POINTS * 28**2,
}

# The classifier's last layer, with two rows a point.
_COORDINATES = {
    "num_classes": _POINTS,
    "params": _RESNET18["params"] - (512 + 1) * 1000 + (512 + 1) * 2 * _POINTS,
    "macs": _RESNET18["macs"] - 512 * 1000 + 512 * 2 * _POINTS,
}

COUNTS = {"dsnt": _HEATMAPS, "heatmap_regression": _HEATMAPS, "coordinate_regression": _COORDINATES}
