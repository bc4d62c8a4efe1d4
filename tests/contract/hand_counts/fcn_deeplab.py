from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

_RESNET18 = REFERENCE["resnet18"]
_FC = 512 * 1000
_BODY = _RESNET18["params"] - _FC - 1000
CLASSES = 21


def _fcn8s() -> dict[str, int]:
    """ResNet-18 at 512 x 512, a score layer over each of its last three maps, three upsamplings."""
    scores = ((512, 16), (256, 32), (128, 64))  # channels and side of each map
    kernels = ((4, 16), (4, 32), (16, 64))  # and side of the map that is upsampled
    return {
        "num_classes": CLASSES,
        "params": _BODY
        + sum(channels * CLASSES + CLASSES for channels, _ in scores)
        + sum(CLASSES**2 * kernel**2 for kernel, _ in kernels),
        "macs": (_RESNET18["macs"] - _FC) * 512**2 // 224**2
        + sum(channels * CLASSES * side**2 for channels, side in scores)
        + sum(CLASSES**2 * kernel**2 * side**2 for kernel, side in kernels),
    }


def _resnet18_at_stride_8(side: int) -> int:
    """Multiply-adds of ResNet-18 on maps of (side, half, half, ...) with 41 x 41 in its last three stages."""
    half, quarter, eighth = (side + 1) // 2, (side + 3) // 4, (side + 7) // 8
    macs = 3 * 64 * 49 * half**2 + 4 * 64 * 64 * 9 * quarter**2
    for channels in (128, 256, 512):
        below = channels // 2
        macs += (9 * below * channels + 3 * 9 * channels**2 + below * channels) * eighth**2
    return macs


COUNTS = {
    "fcn8s": _fcn8s(),
    # fc6 3x3, fc7 1x1, fc8 1x1
    "deeplabv1": {
        "num_classes": CLASSES,
        "params": _BODY + 512 * 1024 * 9 + 1024 + 1024**2 + 1024 + 1024 * CLASSES + CLASSES,
        "macs": _resnet18_at_stride_8(321) + (512 * 1024 * 9 + 1024**2 + 1024 * CLASSES) * 41**2,
    },
    # four 3x3
    "deeplabv2": {
        "num_classes": CLASSES,
        "params": _BODY + 4 * (512 * CLASSES * 9 + CLASSES),
        "macs": _resnet18_at_stride_8(321) + 4 * 512 * CLASSES * 9 * 41**2,
    },
}
