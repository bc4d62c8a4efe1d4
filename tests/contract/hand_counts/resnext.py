from __future__ import annotations

# Stages of ResNet-101: blocks, places at the output, channels in, 64 x 4d channels inside, channels out.
_STAGES = ((3, 56, 64, 256, 256), (4, 28, 256, 512, 512), (23, 14, 512, 1024, 1024), (3, 7, 1024, 2048, 2048))


def _macs() -> int:
    total = 49 * 3 * 64 * 112**2 + 2048 * 1000
    for blocks, side, channels, inside, out in _STAGES:
        before = side if side == 56 else 2 * side  # the first 1x1 comes before the stride
        total += before**2 * channels * inside + side**2 * (channels * out)
        total += (blocks - 1) * side**2 * out * inside
        total += blocks * side**2 * (9 * inside**2 // 64 + inside * out)
    return total


COUNTS = {"resnext101_64x4d": {"macs": _macs()}}
