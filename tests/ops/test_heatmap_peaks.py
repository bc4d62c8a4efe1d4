"""Reading keypoints from heatmaps against plain NumPy, and the inverse of the encoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saccade.ops.heatmap_peaks import heatmap_peaks, smooth_heatmaps
from saccade.ops.heatmaps import gaussian


def _random(seed: int, shape: tuple[int, ...] = (2, 3, 12, 9)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape).astype(np.float64))


def _smooth_plainly(heatmap: np.ndarray, sigma: float) -> np.ndarray:
    """Every cell the weighted mean of its neighbourhood, cell by cell."""
    radius = int(np.ceil(2.5 * sigma))
    height, width = heatmap.shape
    weights = np.array([np.exp(-0.5 * (d / sigma) ** 2) for d in range(-radius, radius + 1)])
    weights /= weights.sum()
    out = np.zeros_like(heatmap)
    for y in range(height):
        for x in range(width):
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        out[y, x] += weights[dy + radius] * weights[dx + radius] * heatmap[y + dy, x + dx]
    return out * heatmap.max() / out.max()


def _peak_plainly(heatmap: np.ndarray, refine: str) -> tuple[float, float]:
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    height, width = heatmap.shape
    step = np.zeros(2)
    if refine == "quarter":
        if 0 < x < width - 1:
            step[0] = 0.25 * np.sign(heatmap[y, x + 1] - heatmap[y, x - 1])
        if 0 < y < height - 1:
            step[1] = 0.25 * np.sign(heatmap[y + 1, x] - heatmap[y - 1, x])
    if refine == "newton" and 1 < x < width - 2 and 1 < y < height - 2:
        log = np.log(heatmap)
        gradient = 0.5 * np.array([log[y, x + 1] - log[y, x - 1], log[y + 1, x] - log[y - 1, x]])
        dxx = 0.25 * (log[y, x + 2] - 2 * log[y, x] + log[y, x - 2])
        dyy = 0.25 * (log[y + 2, x] - 2 * log[y, x] + log[y - 2, x])
        dxy = 0.25 * (log[y + 1, x + 1] - log[y - 1, x + 1] - log[y + 1, x - 1] + log[y - 1, x - 1])
        hessian = np.array([[dxx, dxy], [dxy, dyy]])
        if np.linalg.det(hessian) > 1e-10 and dxx < 0:
            step = np.clip(-np.linalg.solve(hessian, gradient), -1, 1)
    return x + 0.5 + step[0], y + 0.5 + step[1]


@pytest.mark.parametrize("refine", ["none", "quarter", "newton"])
@pytest.mark.parametrize("seed", range(8))
def test_peaks_equal_plain_numpy(refine: str, seed: int) -> None:
    heatmaps = _random(seed)
    if seed % 2:  # heatmaps with one peak, some of them at the border
        points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (2, 3, 2)))
        heatmaps = gaussian(points, (12, 9), 1.3, peak_one=True) + 0.05 * heatmaps
    points, values = heatmap_peaks(heatmaps, refine)  # type: ignore[arg-type]
    for image in range(2):
        for number in range(3):
            heatmap = heatmaps[image, number].numpy()
            np.testing.assert_allclose(points[image, number].numpy(), _peak_plainly(heatmap, refine), atol=1e-9)
            assert values[image, number] == heatmap.max()


def test_smoothing_equals_plain_numpy() -> None:
    heatmaps = _random(3, (1, 2, 8, 11))
    found = smooth_heatmaps(heatmaps, sigma=1.0)
    for number in range(2):
        np.testing.assert_allclose(found[0, number], _smooth_plainly(heatmaps[0, number].numpy(), 1.0), atol=1e-12)


def test_dark_reads_a_gaussian_exactly_and_the_quarter_shift_within_a_quarter_of_a_cell() -> None:
    rng = np.random.default_rng(0)
    cells = torch.from_numpy(rng.uniform(8, 24, (50, 17, 2)))
    heatmaps = gaussian(cells / 16 - 1, (32, 32), 2.0, peak_one=True)
    quarter, _ = heatmap_peaks(heatmaps, "quarter")
    middle, _ = heatmap_peaks(heatmaps, "none")
    dark, _ = heatmap_peaks(smooth_heatmaps(heatmaps, 2.0), "newton")
    assert (quarter - cells).abs().max() <= 0.2500001
    assert (middle - cells).abs().max() <= 0.5000001
    assert (dark - cells).abs().max() < 0.01


def test_an_empty_heatmap_has_a_point_and_no_score() -> None:
    for refine in ("none", "quarter", "newton"):
        points, values = heatmap_peaks(torch.zeros(1, 1, 6, 6), refine)  # type: ignore[arg-type]
        assert torch.isfinite(points).all()
        assert values.item() == 0
    assert torch.isfinite(smooth_heatmaps(torch.zeros(1, 1, 6, 6), 2.0)).all()
