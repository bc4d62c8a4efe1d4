"""Drawing of what rows of dilated convolutions see: one panel a row, pixels without any way to the output left dark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from saccade.ops.conv_arithmetic import DilationCheck
from saccade.results.drawing import draw_caption, heat_colors
from saccade.results.images import Image, montage, write_image

__all__ = ["draw_coverage", "save_coverage"]

_UNSEEN = (52, 54, 62)
_SIDE = 400  # least side of a panel, pixels
_COLUMNS = 4


def draw_coverage(checks: Sequence[DilationCheck]) -> Image:
    """Draw the receptive field of each row, every pixel by how many ways lead from it to the output.

    Args:
        checks: Of :func:`saccade.ops.conv_arithmetic.hdc_check`.

    Returns:
        (H, W, 3) uint8 RGB: dark grey where no way leads, else from blue (one way) to red (the most of that row), with
        rates, distances and verdict below.

    Example:
        >>> from saccade.ops.conv_arithmetic import hdc_check
        >>> draw_coverage([hdc_check(3, [1, 2, 3]), hdc_check(3, [2, 2, 2])]).shape[2]
        3
    """
    return montage([_panel(check) for check in checks], columns=min(_COLUMNS, len(checks)), cell=560)


def save_coverage(checks: Sequence[DilationCheck], path: str | Path) -> Path:
    """Write :func:`draw_coverage`; the suffix decides the format.

    Example:
        >>> from saccade.ops.conv_arithmetic import hdc_check
        >>> save_coverage([hdc_check(3, [1, 2, 9])], "coverage.png").name
        'coverage.png'
    """
    return write_image(path, draw_coverage(checks))


def _panel(check: DilationCheck) -> Image:
    counts, covered = check.counts, check.covered
    # The counts span orders of magnitude: their logarithm, from one way to the most.
    level = np.log(np.maximum(counts, 1)) / max(np.log(counts.max()), 1e-12)
    pixels = np.where(covered[..., None], heat_colors(0.12 + 0.8 * level), np.array(_UNSEEN, np.uint8)).astype(np.uint8)
    factor = max(1, -(-_SIDE // len(counts)))
    panel = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    if factor >= 4:  # lines between the pixels
        panel[::factor], panel[:, ::factor] = (panel[::factor] * 0.6).astype(np.uint8), 0.6 * panel[:, ::factor]
    side = len(counts)
    lines = (
        f"kernel {check.kernel}, rates {', '.join(map(str, check.rates))}: "
        + ("grids" if check.grids else "covers its field"),
        f"{side} x {side} pixels, {100 * check.covered_share:.0f} % seen",
        f"M = {', '.join(map(str, check.max_distances))}",
    )
    return draw_caption(panel, lines)
