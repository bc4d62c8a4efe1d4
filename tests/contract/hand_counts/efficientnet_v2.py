from __future__ import annotations

import math

# Stages of the authors' base network: fused, expansion, stride, channels, units.
_BASE = ((True, 1, 1, 16, 1), (True, 4, 2, 32, 2), (True, 4, 2, 48, 2), (False, 4, 2, 96, 3), (False, 6, 1, 112, 5),
         (False, 6, 2, 192, 8))  # fmt: skip


def _count(depth: float, width: float, size: int) -> dict[str, object]:
    """Weights, twice the channels for every BatchNorm, and weights times places, unit by unit."""

    def channels_of(value: float) -> int:
        return max(8, int(value * width + 4) // 8 * 8)

    params = macs = 0
    side = -(-size // 2)

    def add(weights: int, normed: int, places: int, bias: int = 0) -> None:
        nonlocal params, macs
        params += weights + 2 * normed + bias
        macs += weights * places

    channels = channels_of(32)
    add(27 * channels, channels, side**2)
    for fused, expansion, first_stride, base, units in _BASE:
        out = channels_of(base)
        for unit in range(math.ceil(units * depth)):
            stride = first_stride if unit == 0 else 1
            before, side = side, -(-side // stride)
            hidden = channels * expansion
            if fused and expansion == 1:
                add(9 * channels * out, out, side**2)
            elif fused:
                add(9 * channels * hidden, hidden, side**2)
                add(hidden * out, out, side**2)
            else:
                squeezed = channels // 4
                add(channels * hidden, hidden, before**2)
                add(9 * hidden, hidden, side**2)
                add(2 * hidden * squeezed, 0, 1, bias=hidden + squeezed)
                add(hidden * out, out, side**2)
            channels = out
    last = channels_of(1280)
    add(channels * last, last, side**2)
    add(1000 * last, 0, 1, bias=1000)
    return {"num_classes": 1000, "params": params, "macs": macs, "input": [3, size, size]}


COUNTS = {
    "efficientnet_v2_b0": _count(1.0, 1.0, 224),
    "efficientnet_v2_b1": _count(1.1, 1.0, 240),
    "efficientnet_v2_b2": _count(1.2, 1.1, 260),
    "efficientnet_v2_b3": _count(1.4, 1.2, 300),
}
