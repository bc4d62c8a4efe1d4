"""Mask and Keypoint R-CNN: Faster R-CNN, and a branch that works on the 100 boxes that may be found."""

from __future__ import annotations

from tests.contract.hand_counts.cascade import COUNTS as FASTER

_BOXES, _POINTS = 100, 17
_REGION = 14**2  # locations of a region
# Published figures, for 90 classes and, with keypoints, one.
_MASKS = {"params": 44_454_513, "macs": 187_586_351_616}
_KEYPOINTS = {"params": 59_190_378, "macs": 483_470_127_616}
_BOX_ROWS = 10 * 5  # scores and codes of 10 classes more

# Four convolutions, a deconvolution to twice the side, and a channel for background and each of 80 classes there.
_CONVS, _DECONV, _LOGITS = 4 * 9 * 256 * 256, 4 * 256 * 256, 256 * 81
_MASK_PARAMS = _CONVS + _DECONV + _LOGITS + 5 * 256 + 81
_MASK_MACS = _REGION * (_CONVS + _DECONV + 4 * _LOGITS)

# Eight convolutions of 512 channels, and a deconvolution with a side of 4.
_EIGHT, _HEATMAPS = 9 * 256 * 512 + 7 * 9 * 512 * 512, 16 * 512 * _POINTS
_KEYPOINT_PARAMS = _EIGHT + _HEATMAPS + 8 * 512 + _POINTS
# Where a heatmap of 56 x 56 is highest: 112 x 112 pixels first, then 17 x 17 around each of four peaks. The published
# figure has no such part, as it is no layer.
_SEARCH = 112 * 56 * 56 + 112 * 56 * 112 + 4 * (17 * 56 * 56 + 17 * 56 * 17)
_KEYPOINT_MACS = _REGION * (_EIGHT + _HEATMAPS) + _POINTS * _SEARCH

_SMALL = FASTER["fasterrcnn"]
_FEWER = 79 * 5  # scores and codes of 79 classes less

COUNTS = {
    "maskrcnn_resnet50_fpn": {
        "num_classes": 80,
        "params": _MASKS["params"] - _BOX_ROWS * 1025 - 10 * 257,
        "macs": _MASKS["macs"] - 1000 * _BOX_ROWS * 1024 - _BOXES * 10 * 256 * 28**2,
        "input": (3, 800, 800),
    },
    "maskrcnn": {
        "num_classes": 80,
        "params": _SMALL["params"] + _MASK_PARAMS,
        "macs": _SMALL["macs"] + _BOXES * _MASK_MACS,
    },
    "keypointrcnn_resnet50_fpn": {
        "num_classes": 1,
        "params": _KEYPOINTS["params"],
        "macs": _KEYPOINTS["macs"] + _BOXES * _POINTS * _SEARCH,
        "input": (3, 800, 800),
    },
    "keypointrcnn": {
        "num_classes": 1,
        "params": _SMALL["params"] - _FEWER * 1025 + _KEYPOINT_PARAMS,
        "macs": _SMALL["macs"] - 1000 * _FEWER * 1024 + _BOXES * _KEYPOINT_MACS,
    },
}
