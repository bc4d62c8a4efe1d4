from __future__ import annotations

from typing import Any

from tests.contract.hand_counts import REFERENCE

_CLASSES, _INPUT = 21, [3, 520, 520]


def _head(channels: int, classes: int = _CLASSES) -> int:
    """Weights of an FCN head's two convolutions, which are its multiply-adds at one location."""
    return channels * (channels // 4) * 9 + channels // 4 * classes


def _as_published(params: int, macs: int, auxiliary: int = 0, locations: int = 65 * 65) -> dict[str, Any]:
    """Figures of torchvision, which runs the auxiliary head (on a map of so many channels) in prediction too."""
    macs -= locations * _head(auxiliary) if auxiliary else 0
    return {"num_classes": _CLASSES, "params": params, "macs": macs, "input": _INPUT}


def _fcn_resnet18() -> dict[str, Any]:
    """ResNet-18 whose last two stages keep stride 8, with both heads."""
    backbone = REFERENCE["resnet18"]["params"] - 512 * 1000 - 1000
    heads = sum(_head(channels) + 2 * (channels // 4) + _CLASSES for channels in (512, 256))
    macs = 260**2 * 64 * 3 * 49 + 130**2 * 4 * 64 * 64 * 9
    for before, width in ((64, 128), (128, 256), (256, 512)):
        macs += 65**2 * (before * width * 9 + 3 * width * width * 9 + before * width)
    return {"num_classes": _CLASSES, "params": backbone + heads, "macs": macs + 65**2 * _head(512), "input": _INPUT}


def _deeplabv3_resnet50() -> dict[str, Any]:
    """Stride 16 in place of 8: 33 x 33 locations from the 3x3 of layer3's first block on, instead of 65 x 65."""
    params, full = COUNTS["deeplabv3_resnet50"]["params"], COUNTS["deeplabv3_resnet50"]["macs"]
    bottleneck = 1024 * 256 * 2 + 256 * 256 * 9
    coarse = bottleneck * 6 - 1024 * 256 + 512 * 1024  # layer3: the first 1x1 is before the stride, and is left out
    coarse += 1024 * 512 + 2048 * 512 * 5 + 512 * 512 * 9 * 3 + 1024 * 2048  # layer4
    coarse += 2048 * 256 * (1 + 3 * 9) + 5 * 256 * 256 + 256 * 256 * 9 + 256 * _CLASSES  # pyramid and head
    return {"num_classes": _CLASSES, "params": params, "macs": full - (65**2 - 33**2) * coarse, "input": _INPUT}


COUNTS = {
    "fcn_resnet50": _as_published(35_322_218, 152_716_512_000, auxiliary=1024),
    "fcn_resnet101": _as_published(54_314_346, 232_737_606_400, auxiliary=1024),
    "deeplabv3_resnet50": _as_published(42_004_074, 178_721_945_088, auxiliary=1024),
    "deeplabv3_resnet101": _as_published(60_996_202, 258_743_039_488, auxiliary=1024),
    "deeplabv3_mobilenet_v3_large": _as_published(11_029_328, 10_452_447_938, auxiliary=40),
    "lraspp_mobilenet_v3_large": _as_published(3_221_538, 2_086_219_688),
    "lraspp": _as_published(3_221_538, 2_086_219_688),
    "fcn": _fcn_resnet18(),
}
COUNTS["deeplabv3"] = _deeplabv3_resnet50()
