"""Heatmaps of object centres against slow versions: radius from three quadratics, drawing cell by cell, peaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from saccade.ops.heatmaps import draw_gaussians, gaussian_radius, local_peaks


def authors_radius(width: float, height: float, overlap: float) -> float:
    """Smallest of the three roots, taken as CornerNet's authors took them: without dividing by 2 a."""
    roots = []
    for a, b, c in (
        (1, width + height, width * height * (1 - overlap) / (1 + overlap)),
        (4, 2 * (width + height), (1 - overlap) * width * height),
        (4 * overlap, -2 * overlap * (width + height), (overlap - 1) * width * height),
    ):
        roots.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return min(roots)


@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_radius_is_the_authors_smallest_root(overlap: float) -> None:
    sizes = np.random.default_rng(0).uniform(0.1, 200, (300, 2))
    expected = [authors_radius(*size, overlap) for size in sizes.tolist()]
    found = gaussian_radius(torch.from_numpy(sizes), overlap)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    # The exact root, for a box whose corners move outwards, is 4 t times smaller and keeps the overlap.
    width, height = sizes.T
    exact = found.numpy() / (4 * overlap)
    np.testing.assert_allclose(width * height / ((width + 2 * exact) * (height + 2 * exact)), overlap, rtol=1e-9)


def slow_heatmaps(
    cells: np.ndarray, radii: np.ndarray, labels: np.ndarray, classes: int, size: tuple[int, int]
) -> np.ndarray:
    heatmaps = np.zeros((len(labels), classes, *size))
    for image, label in np.argwhere(labels >= 0).tolist():
        column, row = cells[image, label].tolist()
        radius = int(radii[image, label])
        sigma = (2 * radius + 1) / 6
        heatmap = heatmaps[image, labels[image, label]]
        for y in range(max(row - radius, 0), min(row + radius + 1, size[0])):
            for x in range(max(column - radius, 0), min(column + radius + 1, size[1])):
                height = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
                heatmap[y, x] = max(heatmap[y, x], height)
    return heatmaps


@pytest.mark.parametrize("seed", range(6))
def test_drawing_equals_the_slow_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, images, objects = (17, 23), 3, int(rng.integers(0, 12))
    cells = np.stack([rng.integers(0, 23, (images, objects)), rng.integers(0, 17, (images, objects))], axis=-1)
    radii = rng.integers(0, 9, (images, objects))
    labels = rng.integers(-1, 4, (images, objects))
    found = draw_gaussians(*(torch.from_numpy(value) for value in (cells, radii, labels)), num_classes=4, size=size)
    assert found.dtype == torch.float32
    expected = slow_heatmaps(cells, radii, labels, 4, size)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    centres = {
        (image, int(labels[image, row]), *cells[image, row, ::-1].tolist())
        for image, row in np.argwhere(labels >= 0).tolist()
    }
    assert {tuple(one) for one in (found == 1).nonzero().tolist()} == centres


@pytest.mark.parametrize("batch", [0, 2])
def test_nothing_to_draw(batch: int) -> None:
    cells, none = torch.zeros(batch, 8, 2, dtype=torch.int64), torch.full((batch, 8), -1)
    assert not draw_gaussians(cells, none, none, num_classes=2, size=(4, 5)).any()
    assert draw_gaussians(cells[:, :0], none[:, :0], none[:, :0], 2, (4, 5)).shape == (batch, 2, 4, 5)


@pytest.mark.parametrize("levels", [4, 10**6])
def test_peaks_equal_the_slow_version(levels: int) -> None:
    heatmaps = torch.randint(0, levels, (2, 3, 9, 11), generator=torch.Generator().manual_seed(0)).float() - levels / 2
    found = local_peaks(heatmaps)
    values = heatmaps.numpy()
    for place in np.ndindex(values.shape):
        *plane, row, column = place
        around = [
            (values[(*plane, y, x)], (y, x))
            for y in range(max(row - 1, 0), min(row + 2, 9))
            for x in range(max(column - 1, 0), min(column + 2, 11))
        ]
        first = max(around, key=lambda one: (one[0], -one[1][0], -one[1][1]))[1]  # in the order of reading
        assert bool(found[place]) == (first == (row, column))


def test_a_plateau_has_one_peak() -> None:
    heatmaps = torch.full((1, 1, 5, 5), -3.0)
    heatmaps[0, 0, 1:3, 2:4] = 2.0
    assert (local_peaks(heatmaps) & (heatmaps > 0)).nonzero().tolist() == [[0, 0, 1, 2]]
    assert local_peaks(torch.zeros(1, 1, 4, 4)).sum() == 1
    assert local_peaks(torch.full((1, 1, 3, 3), torch.finfo(torch.float32).min)).sum() == 0
