from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.ops.boxes_numpy import box_intersection, box_iou
from saccade.ops.iou import aligned_iou, pairwise_iou


def random_boxes(seed: int, count: int) -> np.ndarray:
    """Boxes on a coarse grid, so that many touch, are equal or are empty."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 6, (count, 2)).astype(np.float64)
    return np.concatenate([corners, corners + rng.integers(0, 4, (count, 2))], axis=1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 12))
def test_equal_to_the_tensors_functions(seed: int, count: int) -> None:
    first, second = random_boxes(seed, count), random_boxes(seed + 1, count)
    pairs = box_iou(first[:, None], second)
    assert np.array_equal(pairs, pairwise_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy())
    aligned = aligned_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    assert np.array_equal(box_iou(first, second), aligned)
    assert np.array_equal(box_iou(second[:, None], first), pairs.T)


def test_one_box_with_many_and_whole_numbers() -> None:
    boxes = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [4, 0, 8, 4]])
    assert box_intersection(boxes[0], boxes).tolist() == [16, 4, 0]
    assert box_iou(boxes[0], boxes) == pytest.approx([1, 4 / 28, 0])
    assert box_iou(boxes[0], boxes[:0]).shape == (0,)


def test_coordinates_that_are_no_numbers_overlap_nothing() -> None:
    boxes = np.array([[0.0, 0, np.nan, 4], [0, 0, np.inf, 4], [0, 0, 4, 4]])
    assert box_intersection(boxes[:1], boxes).tolist() == [0, 0, 0]
    assert box_iou(np.array([9.0, 9, 10, 10]), boxes).tolist() == [0, 0, 0]
