"""U-Net's weight map against its plain definition."""

from __future__ import annotations

import time

import numpy as np
import pytest

from saccade.ops.border_weights import border_weights, class_balance, label_cells


def plain(cells, weight, sigma):
    """Equation 2 pixel by pixel: distances to all border pixels of every cell, the two smallest."""
    height, width = cells.shape
    y, x = np.mgrid[:height, :width]
    distances = []
    for number in range(1, cells.max() + 1):
        border = [
            (row, column)
            for row, column in zip(*np.nonzero(cells == number), strict=True)
            if any(
                0 <= row + dy < height and 0 <= column + dx < width and cells[row + dy, column + dx] != number
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]
        each = [np.hypot(y - row, x - column) for row, column in border]
        distances.append(np.min(each, axis=0) if each else np.full(cells.shape, np.inf))
    distances += [np.full(cells.shape, np.inf)] * 2
    first, second = np.sort(distances, axis=0)[:2]
    return weight * np.exp(-((first + second) ** 2) / (2 * sigma**2))


def blobs(size, count, radius, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    label_map = np.zeros(size, np.uint8)
    for row, column in rng.random((count, 2)) * size:
        label_map[np.hypot(y - row, x - column) < radius * rng.uniform(0.6, 1.4)] = 1
    return label_map


@pytest.mark.parametrize(("weight", "sigma"), [(10.0, 5.0), (3.0, 1.5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_weights_are_those_of_the_plain_definition(weight, sigma, seed):
    cells = label_cells(blobs((48, 40), 12, 4, seed))
    assert cells.max() > 4
    expected = plain(cells, weight, sigma)
    np.testing.assert_allclose(border_weights(cells, weight, sigma), expected, rtol=1e-6, atol=1e-7)
    assert expected.max() > 0.3 * weight


def test_a_line_of_single_pixels_between_touching_cells_weighs_most():
    label_map = np.ones((21, 41), np.uint8)
    label_map[:, 20] = 0
    weights = border_weights(label_cells(label_map))
    gap = 10 * np.exp(-((1 + 1) ** 2) / 50)  # one pixel from either cell
    np.testing.assert_allclose(weights[:, 20], gap, rtol=1e-6)
    np.testing.assert_allclose(weights[:, 19], 10 * np.exp(-((0 + 2) ** 2) / 50), rtol=1e-6)  # on the border of one
    np.testing.assert_allclose(weights[:, 15], 10 * np.exp(-((4 + 6) ** 2) / 50), rtol=1e-6)
    assert weights.argmax() in (19, 20, 21)


def test_cells_that_touch_at_a_corner_are_two():
    label_map = np.zeros((12, 12), np.uint8)
    label_map[:6, :6] = label_map[6:, 6:] = 1
    cells = label_cells(label_map)
    assert cells.max() == 2
    np.testing.assert_allclose(border_weights(cells), plain(cells, 10, 5), rtol=1e-6, atol=1e-7)


def test_numbered_cells_may_touch_without_a_gap():
    cells = np.ones((9, 12), np.int32)
    cells[:, 6:] = 2
    np.testing.assert_allclose(border_weights(cells), plain(cells, 10, 5), rtol=1e-6, atol=1e-7)
    assert border_weights(cells)[:, 5:7].min() > 9.7


def test_cells_of_every_class_count_and_unlabelled_pixels_are_none():
    label_map = np.array([[1, 2, 0, 255, 2], [1, 2, 0, 255, 255]], np.uint8)
    assert label_cells(label_map).tolist() == [[1, 2, 0, 0, 3], [1, 2, 0, 0, 0]]


@pytest.mark.parametrize(
    "label_map",
    [np.zeros((5, 6)), np.ones((5, 6)), np.full((5, 6), 255), np.eye(1), np.pad([[1]], 3)],
)
def test_without_two_cells_nothing_weighs_more(label_map):
    weights = border_weights(label_cells(label_map.astype(np.uint8)))
    assert weights.shape == label_map.shape
    assert not weights.any()


def test_the_same_cells_have_the_same_weights_to_the_last_bit():
    """Wherever the arrays lie in memory: weights are kept on disk, and a resumed run has those of before."""
    label_map = blobs((48, 40), 12, 4)
    expected = border_weights(label_cells(label_map))
    for offset in range(1, 9):
        moved = np.zeros(label_map.size + offset, np.uint8)[offset:].reshape(label_map.shape)
        moved[:] = label_map
        np.testing.assert_array_equal(border_weights(label_cells(moved)), expected)


def test_no_weight_is_no_weight():
    assert not border_weights(label_cells(blobs((32, 32), 8, 4)), weight=0.0).any()


def test_balance_makes_classes_count_alike():
    counts = np.array([100, 0, 300, 600])
    weights = class_balance(counts)
    np.testing.assert_allclose(weights * counts, [1000 / 3, 0, 1000 / 3, 1000 / 3], rtol=1e-6)
    assert not class_balance(np.zeros(3)).any()


def test_hundreds_of_cells_take_one_distance_transform_each_of_their_neighbourhood():
    """Time is not asserted: what is asserted is that the map is whole; the time is shown on failure."""
    label_map = np.kron(np.pad(np.ones((22, 22), np.uint8), 1), np.ones((1, 1), np.uint8)).astype(np.uint8)
    label_map = np.tile(label_map, (21, 21))
    start = time.perf_counter()
    weights = border_weights(label_cells(label_map))
    took = time.perf_counter() - start
    assert label_cells(label_map).max() == 441
    gap = 10 * np.exp(-9 / 50)  # two pixels wide, that is 1 + 2
    inner = weights[24 * 10 : 24 * 10 + 24, 24 * 10 : 24 * 10 + 24]
    np.testing.assert_allclose(inner[12, 0], gap, rtol=1e-6, err_msg=f"{took:.2f} s")
    np.testing.assert_array_equal(inner, weights[24 * 5 : 24 * 5 + 24, 24 * 7 : 24 * 7 + 24])
