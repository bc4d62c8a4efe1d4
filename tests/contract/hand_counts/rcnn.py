"""R-CNN, SPP-Net and Fast R-CNN, with one proposal; those of the second and third at a map of stride 16."""

from __future__ import annotations

from itertools import pairwise

from tests.contract.hand_counts import REFERENCE

_ALEXNET, _VGG16, _RESNET18 = REFERENCE["alexnet_2012"], REFERENCE["vgg16"], REFERENCE["resnet18"]
_CLASSES = 20
# Outputs of the softmax with background; with those of the support vector machines and of the box regressors, whose
# weights are buffers.
_SOFTMAX, _SOLVED = 1 + _CLASSES, _CLASSES + 4 * (1 + _CLASSES)

# ResNet-18: its body, and the weights of layer4, whose map is 7 x 7 at 224 pixels.
_BODY = _RESNET18["params"] - 513 * 1000
_LAYER4 = 9 * 256 * 512 + 3 * 9 * 512 * 512 + 256 * 512
_BELOW = _RESNET18["macs"] - 512 * 1000 - 49 * _LAYER4
_DILATED = _BELOW * 512**2 // 224**2 + 32**2 * _LAYER4  # at 512 pixels, layer4 at stride 16

# AlexNet's convolutions at 600 x 1000 pixels: 150 x 250, 75 x 125 and 37 x 62 locations.
_CONV3_TO_5 = 9 * 384 * 256 + 9 * 384 * 192 + 9 * 256 * 192
_ALEXNET_CONVS = _ALEXNET["params"] - 9217 * 4096 - 4097 * 4096 - 4097 * 1000
_ALEXNET_MACS = 150 * 250 * 96 * 3 * 121 + 75 * 125 * 256 * 48 * 25 + 37 * 62 * _CONV3_TO_5

_BINS = 36 + 9 + 4 + 1


def _linear(*sizes: int) -> tuple[int, int]:
    """Parameters and multiply-adds of fully connected layers one behind the other."""
    pairs = list(pairwise(sizes))
    return sum((before + 1) * after for before, after in pairs), sum(before * after for before, after in pairs)


_SPP = _linear(512 * _BINS, 4096, 4096)
_SPP_ALEXNET = _linear(256 * _BINS, 4096, 4096)
_FAST = _linear(512 * 49, 1024, 1024)
_FAST_ALEXNET = _linear(256 * 36, 4096, 4096)
_PREDICTED = 5 * _SOFTMAX  # scores and codes of Fast R-CNN

# VGG-16's convolutions at 600 x 800 pixels, whose last poolings round up to 38 x 50.
_STAGES = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))  # channels before, after, depth
_SIDES = (600 * 800, 300 * 400, 150 * 200, 75 * 100, 38 * 50)
_VGG_MACS = sum(
    9 * area * (before * after + (depth - 1) * after**2)
    for (before, after, depth), area in zip(_STAGES, _SIDES, strict=True)
)

COUNTS = {
    "rcnn_alexnet": {
        "num_classes": _CLASSES,
        "params": _ALEXNET["params"] + 4097 * (_SOFTMAX - 1000),
        "macs": _ALEXNET["macs"] + 4096 * (_SOFTMAX + _SOLVED - 1000),
    },
    "rcnn_vgg16": {
        "num_classes": _CLASSES,
        "params": _VGG16["params"] + 4097 * (_SOFTMAX - 1000),
        "macs": _VGG16["macs"] + 4096 * (_SOFTMAX + _SOLVED - 1000),
    },
    "rcnn": {  # regions of 112 pixels: half of the sides, but 4 x 4 in layer4
        "num_classes": _CLASSES,
        "params": _BODY + 513 * _SOFTMAX,
        "macs": _BELOW // 4 + 16 * _LAYER4 + 512 * (_SOFTMAX + _SOLVED),
    },
    "spp_net": {
        "num_classes": _CLASSES,
        "params": _BODY + _SPP[0] + 4097 * _SOFTMAX,
        "macs": _DILATED + _SPP[1] + 4096 * (_SOFTMAX + _SOLVED),
    },
    "spp_net_alexnet": {
        "num_classes": _CLASSES,
        "params": _ALEXNET_CONVS + _SPP_ALEXNET[0] + 4097 * _SOFTMAX,
        "macs": _ALEXNET_MACS + _SPP_ALEXNET[1] + 4096 * (_SOFTMAX + _SOLVED),
    },
    "spp_net_classifier": {  # 14 x 14 locations in layer4 at 224 pixels
        "num_classes": 1000,
        "params": _BODY + _SPP[0] + 4097 * 1000,
        "macs": _BELOW + 196 * _LAYER4 + _SPP[1] + 4096 * 1000,
    },
    "fast_rcnn": {
        "num_classes": _CLASSES,
        "params": _BODY + _FAST[0] + 1025 * _PREDICTED,
        "macs": _DILATED + _FAST[1] + 1024 * _PREDICTED,
    },
    "fast_rcnn_vgg16": {
        "num_classes": _CLASSES,
        "params": _VGG16["params"] + 4097 * (_PREDICTED - 1000),
        "macs": _VGG_MACS + _linear(512 * 49, 4096, 4096)[1] + 4096 * _PREDICTED,
        "input": (3, 600, 800),
    },
    "fast_rcnn_alexnet": {
        "num_classes": _CLASSES,
        "params": _ALEXNET_CONVS + _FAST_ALEXNET[0] + 4097 * _PREDICTED,
        "macs": _ALEXNET_MACS + _FAST_ALEXNET[1] + 4096 * _PREDICTED,
    },
}
