"""Boxes of masks against the slow obvious version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from saccade.ops.mask_boxes import box_of_mask, boxes_of_masks


def slow_box(mask: np.ndarray[Any, Any]) -> tuple[float, ...]:
    pixels = [(x, y) for y, row in enumerate(mask) for x, value in enumerate(row) if value]
    if not pixels:
        return (0, 0, 0, 0)
    xs, ys = zip(*pixels, strict=True)
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64])
def test_boxes_are_those_of_the_pixels(dtype: type) -> None:
    rng = np.random.default_rng(0)
    masks = (rng.random((50, 9, 13)) < rng.choice([0.0, 0.01, 0.05, 0.5], (50, 1, 1))).astype(dtype)
    boxes, areas = boxes_of_masks(masks)
    assert boxes.tolist() == [list(slow_box(mask)) for mask in masks]
    assert areas.tolist() == masks.astype(bool).sum(axis=(1, 2)).tolist()
    assert any(not mask.any() for mask in masks)


def test_strides_and_large_values_do_not_matter() -> None:
    mask = np.zeros((6, 8), np.int64)
    mask[2, 3] = 256  # whose last byte is zero
    assert box_of_mask(mask) == (3, 2, 4, 3)
    assert box_of_mask(mask.T) == (2, 3, 3, 4)
    assert box_of_mask(mask[:, ::-1]) == (4, 2, 5, 3)
    assert box_of_mask(np.zeros((0, 4), np.uint8)) == (0, 0, 0, 0)
