"""Run-length coding of masks: there and back, and equal to COCO's tools."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as reference

from saccade.data.tables.run_lengths import EncodedMask, compress_runs, decompress_runs, mask_of_runs, runs_of_mask


def test_codes_equal_the_reference() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = np.asfortranarray(rng.random((37, 53)) < share).astype(np.uint8, order="F")
        mask[5:30, 10:40] = share > 0
        code = reference.encode(mask)["counts"].decode()
        runs = decompress_runs(code)
        assert np.array_equal(mask_of_runs(runs, 37, 53), mask)
        assert runs_of_mask(mask) == runs.tolist()
        assert compress_runs(runs.tolist()) == code


@given(st.lists(st.integers(0, 1 << 31), min_size=1, max_size=40))
def test_compression_there_and_back(runs: list[int]) -> None:
    assert decompress_runs(compress_runs(runs)).tolist() == runs


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 9), st.integers(1, 9))
def test_masks_there_and_back(seed: int, share: float, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    runs = runs_of_mask(mask)
    assert sum(runs) == height * width
    assert np.array_equal(mask_of_runs(runs, height, width), mask)


def test_both_forms_of_a_file_are_read() -> None:
    for counts in ([1, 40, 2357], compress_runs([1, 40, 2357])):
        text = msgspec.json.encode({"size": [40, 60], "counts": counts})
        encoded = msgspec.json.decode(text, type=EncodedMask)
        assert encoded.size == (40, 60)
        assert encoded.run_lengths().tolist() == [1, 40, 2357]


@pytest.mark.parametrize("text", ["", " ", "o", "oooooooo0", "O", "~", "é"])
def test_malformed_codes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run"):
        decompress_runs(text)


@pytest.mark.parametrize("runs", [[5], [7], [-1, 7], []])
def test_lengths_must_fill_the_image(runs: list[int]) -> None:
    with pytest.raises(ValueError, match="not to 6 pixels"):
        mask_of_runs(runs, 2, 3)
