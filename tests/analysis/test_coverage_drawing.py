"""Pictures of what dilated convolutions see."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from saccade.analysis.coverage_drawing import draw_coverage, save_coverage
from saccade.ops.conv_arithmetic import hdc_check


@pytest.mark.parametrize("rates", [[1, 2, 3], [2, 2, 2], [1, 2, 9]])
def test_unseen_pixels_are_dark_and_the_others_are_not(rates: list[int]) -> None:
    check = hdc_check(3, rates)
    side, drawn = len(check.counts), draw_coverage([check])
    dark = np.abs(drawn.astype(int) - (52, 54, 62)).max(axis=2) <= 6
    # The middle of every pixel of the field; the picture begins behind a margin of the sheet.
    factor, margin = -(-400 // side), round(0.012 * 560)
    middles = margin + np.arange(side) * factor + factor // 2
    left = (drawn.shape[1] - 2 * margin - side * factor) // 2
    assert np.array_equal(dark[np.ix_(middles, left + middles)], ~check.covered)


def test_several_rows_are_one_sheet(tmp_path: Path) -> None:
    checks = [hdc_check(3, rates) for rates in ([1, 2, 3], [2, 2, 2], [1, 2, 5])]
    file = save_coverage(checks, tmp_path / "coverage.png")
    height, width = cv2.imread(str(file)).shape[:2]
    assert width > 2 * height
