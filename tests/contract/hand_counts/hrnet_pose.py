from __future__ import annotations

from tests.contract.hand_counts.hrnet import COUNTS as CLASSIFIERS
from tests.contract.hand_counts.hrnet_seg import WIDTHS, _classification_head

_POINTS = 17


def _coarser_fusions() -> tuple[int, int]:
    """Parameters and multiply-adds of what the last fusion makes for the three coarser branches, at 224."""
    params = macs = 0
    for target in (1, 2, 3):
        for source in range(4):
            if source > target:  # 1x1 and BN, computed before it is upsampled
                params += WIDTHS[source] * WIDTHS[target] + 2 * WIDTHS[target]
                macs += WIDTHS[source] * WIDTHS[target] * (56 >> source) ** 2
            for step in range(source, target):  # strided 3x3 and BN
                out = WIDTHS[target if step == target - 1 else source]
                params += 9 * WIDTHS[source] * out + 2 * out
                macs += 9 * WIDTHS[source] * out * (56 >> (step + 1)) ** 2
    return params, macs


def _count() -> dict[str, int]:
    head, fusions, small = _classification_head(), _coarser_fusions(), CLASSIFIERS["hrnet_w18_small"]
    body = (small["macs"] - head[1] - fusions[1]) * (256 * 192) // 224**2
    return {
        "num_classes": _POINTS,
        "params": small["params"] - head[0] - fusions[0] + WIDTHS[0] * _POINTS + _POINTS,
        "macs": body + WIDTHS[0] * _POINTS * 64 * 48,
    }


COUNTS = {"hrnet_pose": _count()}
