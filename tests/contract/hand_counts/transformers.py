from __future__ import annotations

from tests.contract.hand_counts import REFERENCE


def _vit(channels: int, depth: int, patch: int) -> dict[str, int]:
    """Patches, class token, positions, blocks (queries, keys, values, projection, MLP, two LayerNorms), head."""
    tokens = (224 // patch) ** 2 + 1
    linear = 12 * channels**2  # 3 + 1 + 4 + 4
    block = linear + 9 * channels + 4 * channels
    embedding = (3 * patch**2 + 1) * channels
    params = embedding + (tokens + 1) * channels + depth * block + 2 * channels + (channels + 1) * 1000
    macs = (tokens - 1) * 3 * patch**2 * channels + depth * (tokens * linear + 2 * tokens**2 * channels)
    return {"num_classes": 1000, "params": params, "macs": macs + 1000 * channels}


def _bit(depths: tuple[int, ...]) -> tuple[int, int, int]:
    """Parameters, multiply-adds and channels of the ResNet below a hybrid, at 224 pixels."""
    params, macs, channels, side = 147 * 64 + 2 * 64, 147 * 64 * 112**2, 64, 56
    for number, depth in enumerate(depths):
        out, width = 256 * 2**number, 64 * 2**number
        for unit in range(depth):
            before, side = side, side // 2 if number > 0 and unit == 0 else side
            if unit == 0:
                params += channels * out + 2 * out
                macs += channels * out * side**2
            params += channels * width + 9 * width**2 + width * out + 4 * width + 2 * out
            macs += channels * width * before**2 + (9 * width**2 + width * out) * side**2
            channels = out
    return params, macs, channels


def _hybrid(base: str, depths: tuple[int, ...], channels: int, patch: int) -> dict[str, int]:
    """The plain transformer with that patch, its embedding exchanged for the ResNet and a 1x1."""
    plain, (params, macs, wide) = REFERENCE[base], _bit(depths)
    places = (224 // patch) ** 2
    return {
        "num_classes": 1000,
        "params": plain["params"] - 3 * patch**2 * channels + params + wide * channels,
        "macs": plain["macs"] - 3 * patch**2 * channels * places + macs + wide * channels * places,
    }


def _convnext(channels: int, depths: tuple[int, ...]) -> dict[str, int]:
    """Stem, blocks (depthwise 7x7, LayerNorm, MLP, layer scale), LayerNorm and 2x2 between stages, head."""
    params, macs, side = 48 * channels + 3 * channels, 48 * channels * 56**2, 56
    for number, depth in enumerate(depths):
        if number:
            side //= 2
            params += 2 * channels + 4 * channels * 2 * channels + 2 * channels
            macs += 8 * channels**2 * side**2
            channels *= 2
        params += depth * (50 * channels + 2 * channels + 8 * channels**2 + 5 * channels + channels)
        macs += depth * (49 * channels + 8 * channels**2) * side**2
    params += 2 * channels + (channels + 1) * 1000
    return {"num_classes": 1000, "params": params, "macs": macs + 1000 * channels}


COUNTS = {
    "vit_ti_16": _vit(192, 12, 16),
    "vit_s_16": _vit(384, 12, 16),
    "vit_s_32": _vit(384, 12, 32),
    "vit_r50_b_16": _hybrid("vit_b_16", (3, 4, 9), 768, 16),
    "vit_r50_l_32": _hybrid("vit_l_32", (3, 4, 6, 3), 1024, 32),
    "convnext_xlarge": _convnext(256, (3, 3, 27, 3)),
}
