"""Padding of targets: what losses may rely on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.structures.batch import pad_targets


def _target(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    return {
        "boxes": rng.uniform(0, 50, (count, 4)).astype(np.float32),
        "labels": rng.integers(0, 5, count),
        "area": rng.uniform(1, 50, count).astype(np.float32),
        "iscrowd": rng.random(count) < 0.5,
        "masks": rng.integers(0, 2, (count, 6, 7), dtype=np.uint8),
        "keypoints": rng.uniform(0, 50, (count, 3, 3)).astype(np.float32),
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_objects_keep_their_rows_and_the_rest_is_ignorable(counts: list[int]) -> None:
    targets = [_target(count) for count in counts]
    padded = pad_targets(targets)
    rows = padded["boxes"].shape[1]
    assert rows % 8 == 0
    assert max(max(counts), 1) <= rows < max(max(counts), 1) + 8
    for image, (count, target) in enumerate(zip(counts, targets, strict=True)):
        for key, value in target.items():
            assert padded[key].dtype == torch.as_tensor(value).dtype
            if key == "masks":  # cropped to their boxes: tests/structures/test_kinds.py
                continue
            np.testing.assert_array_equal(padded[key][image, :count].numpy(), value)
        assert (padded["labels"][image, count:] == -1).all()
        for key in ("boxes", "area", "iscrowd", "masks", "keypoints"):
            assert not padded[key][image, count:].any()


def test_no_objects_anywhere_still_gives_rows() -> None:
    padded = pad_targets([{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}] * 2)
    assert padded["boxes"].shape == (2, 8, 4)
    assert (padded["labels"] == -1).all()


def test_padded_targets_pass_through() -> None:
    padded = pad_targets([_target(3), _target(0)])
    again = pad_targets(padded)
    assert again.keys() == padded.keys()
    assert all(again[key] is padded[key] for key in padded)


def test_values_of_the_whole_image_are_stacked() -> None:
    label_map = np.array([[0, 255], [1, 2]], np.uint8)
    assert pad_targets([{"label_map": label_map}] * 3)["label_map"].shape == (3, 2, 2)
    assert pad_targets([{"labels": np.int64(4)}, {"labels": np.int64(2)}])["labels"].tolist() == [4, 2]
    soft = pad_targets([{"labels": np.array([0.25, 0.75], np.float32)}] * 2)["labels"]
    assert (soft.shape, soft.dtype) == ((2, 2), torch.float32)


def test_gradients_and_devices_are_those_of_the_input() -> None:
    boxes = torch.zeros(2, 4, dtype=torch.float64, device="meta")
    padded = pad_targets([{"boxes": boxes}])
    assert (padded["boxes"].device.type, padded["boxes"].dtype) == ("meta", torch.float64)


def test_unequal_targets_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="area"):
        pad_targets([{"boxes": torch.zeros(1, 4), "area": torch.zeros(1)}, {"boxes": torch.zeros(1, 4)}])
    with pytest.raises(ValueError, match="label_map"):
        pad_targets([{"label_map": torch.zeros(2, 2)}, {"label_map": torch.zeros(3, 2)}])
