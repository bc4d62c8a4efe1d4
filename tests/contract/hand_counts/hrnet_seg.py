from __future__ import annotations

from tests.contract.hand_counts.hrnet import COUNTS as CLASSIFIERS

WIDTHS = (16, 32, 64, 128)


def _classification_head() -> tuple[int, int]:
    """Parameters and multiply-adds of what the classifier of the small form has behind its feature maps, at 224."""
    params, macs = 2049 * 1000 + 1024 * 2048 + 3 * 2048, 2048 * 1000 + 1024 * 2048 * 7**2
    for width, inner, side in zip(WIDTHS, (32, 64, 128, 256), (56, 28, 14, 7), strict=True):
        weights = width * inner + 9 * inner**2 + 4 * inner**2 + width * 4 * inner
        params += weights + 2 * (inner + inner + 4 * inner + 4 * inner)
        macs += weights * side**2
        if inner > 32:  # a strided 3x3 from the finer branch
            params += 9 * 2 * inner * 4 * inner + 3 * 4 * inner
            macs += 9 * 2 * inner * 4 * inner * side**2
    return params, macs


def _count(classes: int) -> dict[str, int]:
    params, macs = _classification_head()
    channels, small = sum(WIDTHS), CLASSIFIERS["hrnet_w18_small"]
    body = (small["macs"] - macs) * (512 * 1024) // 224**2
    weights = channels**2 + channels * classes
    return {
        "num_classes": classes,
        "params": small["params"] - params + weights + 3 * channels + classes,
        "macs": body + weights * 128 * 256,
    }


COUNTS = {"hrnet_w18_small_seg": _count(19), "hrnet_seg": _count(2)}
