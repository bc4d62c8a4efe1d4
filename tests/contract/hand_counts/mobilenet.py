from __future__ import annotations

# Table 1 of MobileNet: channels out and places at the output of each separable convolution; the places before it
# are four times as many where it strides.
_SEPARABLE = (
    (64, 112, 1), (128, 56, 2), (128, 56, 1), (256, 28, 2), (256, 28, 1), (512, 14, 2),
    (512, 14, 1), (512, 14, 1), (512, 14, 1), (512, 14, 1), (512, 14, 1), (1024, 7, 2), (1024, 7, 1),
)  # fmt: skip


def _v1(eighths: int) -> dict[str, int]:
    """Widths of ``eighths`` / 8 of the table: all of them are whole multiples of eight."""
    channels = 32 * eighths // 8
    params, macs = 27 * channels + 2 * channels, 27 * channels * 112**2
    for width, side, _ in _SEPARABLE:
        out = width * eighths // 8
        params += 9 * channels + 2 * channels + channels * out + 2 * out
        macs += (9 * channels + channels * out) * side**2
        channels = out
    return {"num_classes": 1000, "params": params + (channels + 1) * 1000, "macs": macs + channels * 1000}


# MobileNetV2 at width 1.4: expansion, channels (1.4 times table 2's, to multiples of eight), units, places in and out.
_UNITS = (
    (1, 24, 1, 112, 112), (6, 32, 2, 112, 56), (6, 48, 3, 56, 28), (6, 88, 4, 28, 14), (6, 136, 3, 14, 14),
    (6, 224, 3, 14, 7), (6, 448, 1, 7, 7),
)  # fmt: skip


def _v2_1_4() -> dict[str, int]:
    channels = 48
    params, macs = 29 * channels, 27 * channels * 112**2
    for expansion, out, units, first_side, side in _UNITS:
        for unit in range(units):
            before = first_side if unit == 0 else side
            hidden = channels * expansion
            if expansion > 1:
                params += channels * hidden + 2 * hidden
                macs += channels * hidden * before**2
            params += 11 * hidden + hidden * out + 2 * out
            macs += (9 * hidden + hidden * out) * side**2
            channels = out
    params += channels * 1792 + 2 * 1792 + 1793 * 1000
    macs += channels * 1792 * 49 + 1792 * 1000
    return {"num_classes": 1000, "params": params, "macs": macs}


COUNTS = {
    "mobilenet_v1_0_25": _v1(2),
    "mobilenet_v1_0_50": _v1(4),
    "mobilenet_v1_0_75": _v1(6),
    "mobilenet_v2_1_4": _v2_1_4(),
}
