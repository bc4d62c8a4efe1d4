from __future__ import annotations

from tests.contract.hand_counts import REFERENCE


def _deeper(n: int) -> dict[str, int]:
    """The 20-layer network (n = 3) with n - 3 more blocks a stage: two 3x3 convolutions, each with a BN."""
    params = sum(2 * (9 * width**2 + 2 * width) for width in (16, 32, 64))
    # Half the side and twice the channels: every stage has the same multiply-adds.
    macs = 3 * 2 * 9 * 16**2 * 32**2
    start = REFERENCE["resnet20_cifar"]
    return {
        "num_classes": 10,
        "params": start["params"] + (n - 3) * params,
        "macs": start["macs"] + (n - 3) * macs,
    }


COUNTS = {f"resnet{6 * n + 2}_cifar": _deeper(n) for n in (5, 7, 9, 200)}
