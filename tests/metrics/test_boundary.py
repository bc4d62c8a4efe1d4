from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.metrics.boundary import class_boundary_f, diagonal_slack, mask_boundary, relaxed_boundary_scores


def plain_boundary(mask: np.ndarray) -> set[tuple[int, int]]:
    """Mask pixels with one of eight neighbours inside the image and outside the mask."""
    height, width = mask.shape
    return {
        (y, x)
        for y, x in np.argwhere(mask).tolist()
        if any(
            not mask[v, u]
            for v in range(max(y - 1, 0), min(y + 2, height))
            for u in range(max(x - 1, 0), min(x + 2, width))
        )
    }


def plain_scores(
    predicted: np.ndarray, ground_truth: np.ndarray, slack: float, beta_squared: float
) -> tuple[float, ...]:
    """The definition: every boundary pixel against every other."""
    found, there = plain_boundary(predicted), plain_boundary(ground_truth)

    def share(pixels: set[tuple[int, int]], others: set[tuple[int, int]]) -> float:
        near = [min((math.dist(pixel, other) for other in others), default=math.inf) <= slack for pixel in pixels]
        return sum(near) / len(near) if near else math.nan

    precision, recall = share(found, there), share(there, found)
    if not found and not there:
        return precision, recall, math.nan
    if not found or not there or precision + recall == 0:
        return precision, recall, 0.0
    return precision, recall, (1 + beta_squared) * precision * recall / (beta_squared * precision + recall)


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """A few random rectangles, some of them through the edge of the image."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, 4)):
        y, x = rng.integers(-4, height), rng.integers(-4, width)
        mask[max(y, 0) : y + rng.integers(1, 12), max(x, 0) : x + rng.integers(1, 12)] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    slack=st.sampled_from([0.0, 1.0, 1.5, 3.0, 5.0]),
)
def test_equal_to_the_plain_definition(seed: int, height: int, width: int, slack: float) -> None:
    predicted, ground_truth = blobs(seed, height, width), blobs(seed + 1, height, width)
    scores = relaxed_boundary_scores(predicted, ground_truth, slack, 0.3)
    assert tuple(scores) == pytest.approx(plain_scores(predicted, ground_truth, slack, 0.3), nan_ok=True)


def test_the_boundary_is_one_pixel_wide_and_not_along_the_edge_of_the_image() -> None:
    mask = np.zeros((7, 9), bool)
    mask[2:5, 3:7] = True
    expected = mask.copy()
    expected[3, 4:6] = False
    assert np.array_equal(mask_boundary(mask), expected)
    mask[:] = True
    assert not mask_boundary(mask).any()


def test_a_shift_within_the_slack_costs_nothing_and_one_beyond_it_does() -> None:
    ground_truth = np.zeros((60, 60), bool)
    ground_truth[20:40, 20:40] = True
    assert relaxed_boundary_scores(np.roll(ground_truth, 3, axis=1), ground_truth).f_measure == 1.0
    scores = relaxed_boundary_scores(np.roll(ground_truth, 4, axis=1), ground_truth)
    assert 0.5 < scores.f_measure < 1.0
    assert relaxed_boundary_scores(np.roll(ground_truth, 4, axis=1), ground_truth, slack=4).f_measure == 1.0


def test_masks_without_a_boundary() -> None:
    empty, full, dot = np.zeros((9, 9), bool), np.ones((9, 9), bool), np.zeros((9, 9), bool)
    dot[4, 4] = True
    assert math.isnan(relaxed_boundary_scores(empty, full).f_measure)
    missed, invented = relaxed_boundary_scores(empty, dot), relaxed_boundary_scores(dot, full)
    assert (missed.f_measure, missed.recall, math.isnan(missed.precision)) == (0.0, 0.0, True)
    assert (invented.f_measure, invented.precision, math.isnan(invented.recall)) == (0.0, 0.0, True)


@pytest.mark.parametrize("seed", range(12))
def test_boundaries_of_classes_equal_the_definition(seed: int) -> None:
    """Blocks of 1 to 6 pixels, so that there are noise, thin lines and large areas; some pixels ignored."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 31, 2))
    block, slack = int(rng.integers(1, 7)), float(rng.choice([1, 1.5, 2, 3, 4.7, 9, 17.3]))

    def draw() -> np.ndarray:
        coarse = rng.integers(0, 4, (height // block + 1, width // block + 1)).astype(np.uint8)
        return coarse.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]

    predicted, ground_truth = draw(), draw()
    ground_truth[rng.random((height, width)) < rng.choice([0, 0.02, 0.3])] = 255
    ignored = ground_truth == 255
    for dtype in (np.uint8, np.int64):
        classes, scores = class_boundary_f(predicted.astype(dtype), ground_truth.astype(dtype), slack)
        found = dict(zip(classes.tolist(), scores.tolist(), strict=True))
        for label in range(4):
            masks = ((labels == label) & ~ignored for labels in (predicted, ground_truth))
            _, _, expected = plain_scores(*masks, slack, beta_squared=1.0)
            assert found.get(label, math.nan) == pytest.approx(expected, nan_ok=True)


def test_the_slack_of_label_maps_follows_the_diagonal() -> None:
    assert diagonal_slack((1024, 2048)) == pytest.approx(17.17, abs=0.01)
    ground_truth = np.zeros((360, 480), np.uint8)
    ground_truth[100:200, 100:200] = 1
    for shift, expected in ((4, 1.0), (5, 0.5)):  # of a slack of 4.5 pixels; upper and lower side still agree
        _, scores = class_boundary_f(np.roll(ground_truth, shift, axis=1), ground_truth)
        assert scores[1] == pytest.approx(expected, abs=0.06)


def test_nothing_to_score_gives_no_class() -> None:
    flat = np.zeros((8, 8), np.uint8)
    for ground_truth in (flat, np.full_like(flat, 255)):
        classes, scores = class_boundary_f(flat, ground_truth)
        assert len(classes) == len(scores) == 0
