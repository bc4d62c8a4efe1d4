from __future__ import annotations

import warnings

import cv2
import numpy as np
import py_sod_metrics as tool
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.data.open import open_dataset
from saccade.metrics.saliency_measures import (
    adaptive_threshold,
    e_measure,
    f_measure,
    normalize_map,
    precision_recall,
    s_measure,
    threshold_counts,
    weighted_f_measure,
)


def scene(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A stored map, (H, W) uint8, that half fits a mask of ellipses, some cut by the edge of the image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    ground_truth = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 4)):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        ry, rx = rng.uniform(1, 1 + height / 2.5), rng.uniform(1, 1 + width / 2.5)
        ground_truth |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    ground_truth[height // 2, width // 2] = True
    values = 255 * (0.6 * ground_truth + 0.2) + rng.normal(0, 30, ground_truth.shape)
    values[rng.random(ground_truth.shape) < 0.1] = rng.uniform(0, 255)
    return np.clip(values, 0, 255).astype(np.uint8), ground_truth


def black_and_white(ground_truth: np.ndarray) -> np.ndarray:
    return ground_truth.astype(np.uint8) * 255


EMPTY, FULL = np.zeros((12, 17), bool), np.ones((12, 17), bool)
SMALL = EMPTY.copy()
SMALL[3:6, 4:9] = True
DOT = EMPTY.copy()
DOT[2, 3] = True
NOISE = np.random.default_rng(0).integers(0, 256, (12, 17), dtype=np.uint8)

CASES = {
    **{f"scene {seed}": scene(seed, 40 + 7 * seed, 90 - 5 * seed) for seed in range(8)},
    "three rows": scene(20, 3, 50),
    "perfect": (black_and_white(SMALL), SMALL),
    "the opposite": (black_and_white(~SMALL), SMALL),
    "empty ground truth": (NOISE, EMPTY),
    "full ground truth": (NOISE, FULL),
    "a dot": (NOISE, DOT),
    "nothing found": (black_and_white(EMPTY), SMALL),
    "all found": (black_and_white(FULL), SMALL),
    "all grey": (np.full(SMALL.shape, 77, np.uint8), SMALL),
    "nothing found, nothing there": (black_and_white(EMPTY), EMPTY),
    "all found, all there": (black_and_white(FULL), FULL),
    "two greys": (np.where(SMALL, 99, 98).astype(np.uint8), SMALL),
    "flat quarters": (np.where(np.arange(17) < 9, 51, 204).astype(np.uint8)[None].repeat(12, axis=0), SMALL),
}


def assert_equals_the_tool(stored: np.ndarray, ground_truth: np.ndarray) -> None:
    """Every measure of one map; S only where the tool has one."""
    prediction = normalize_map(stored)
    fm = tool.FmeasureV2(
        {
            "f": tool.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
            "precision": tool.PrecisionHandler(with_dynamic=True, with_adaptive=False),
            "recall": tool.RecallHandler(with_dynamic=True, with_adaptive=False),
        }
    )
    em, sm, wfm = tool.Emeasure(), tool.Smeasure(), tool.WeightedFmeasure()
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of regions without a pixel
        for measure in (fm, em, sm, wfm):
            measure.step(pred=stored, gt=black_and_white(ground_truth))
    counts, adaptive = threshold_counts(prediction, ground_truth), adaptive_threshold(prediction, ground_truth)
    results, e, s = fm.get_results(), em.get_results()["em"], sm.get_results()["sm"]
    about = {"abs": 1e-9, "rel": 0}
    assert f_measure(counts)[::-1] == pytest.approx(results["f"]["dynamic"], **about)
    assert float(f_measure(adaptive)) == pytest.approx(results["f"]["adaptive"], **about)
    precision, recall = precision_recall(counts)
    assert precision[::-1] == pytest.approx(results["precision"]["dynamic"], **about)
    assert recall[::-1] == pytest.approx(results["recall"]["dynamic"], **about)
    assert weighted_f_measure(prediction, ground_truth) == pytest.approx(wfm.get_results()["wfm"], **about)
    if ground_truth.size > 1:
        assert e_measure(counts)[::-1] == pytest.approx(e["curve"], **about)
        assert float(e_measure(adaptive)) == pytest.approx(e["adp"], **about)
    if np.isnan(s):
        assert -1e-9 <= s_measure(prediction, ground_truth) <= 1 + 1e-9
    else:
        assert s_measure(prediction, ground_truth) == pytest.approx(s, **about)


@pytest.mark.parametrize(("stored", "ground_truth"), CASES.values(), ids=CASES)
def test_every_measure_equals_the_tool(stored: np.ndarray, ground_truth: np.ndarray) -> None:
    assert_equals_the_tool(stored, ground_truth)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    share=st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.0]),
    kind=st.sampled_from(["noise", "levels", "flat", "halves"]),
)
def test_small_and_flat_maps_equal_the_tool(seed: int, height: int, width: int, share: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    ground_truth = rng.random((height, width)) < share
    first, second = rng.integers(0, 256, 2)
    stored = {
        "noise": rng.integers(0, 256, ground_truth.shape),
        "levels": rng.choice([0, 51, 128, 255], ground_truth.shape),
        "flat": np.full(ground_truth.shape, first),
        "halves": np.where(np.arange(width) < width // 2, first, second)[None].repeat(height, axis=0),
    }[kind].astype(np.uint8)
    assert_equals_the_tool(stored, ground_truth)


@pytest.mark.data("human_segmentation")
def test_real_masks_equal_the_tool() -> None:
    data = open_dataset("human_segmentation", "val")
    assert len(data) > 12
    for index in range(0, len(data), 6):
        ground_truth = data.target(index)["label_map"] == 1
        shifted = np.roll(ground_truth, (7, -11), axis=(0, 1)).astype(np.float32)
        stored = np.rint(cv2.GaussianBlur(shifted, (0, 0), 9) * 230 + 10).astype(np.uint8)
        assert_equals_the_tool(stored, ground_truth)


def test_a_tiny_object_in_a_large_image_equals_the_tool() -> None:
    ground_truth = np.zeros((700, 900), bool)
    ground_truth[350, 450] = True
    stored = black_and_white(ground_truth)
    stored[0, 0] = 128
    em = tool.Emeasure()
    em.step(pred=stored, gt=black_and_white(ground_truth))
    e = e_measure(threshold_counts(normalize_map(stored), ground_truth))
    assert e[::-1] == pytest.approx(em.get_results()["em"]["curve"], abs=1e-9)


def test_where_regions_are_empty_the_tool_fails_and_the_others_count_here() -> None:
    ground_truth = np.zeros((10, 12), bool)
    ground_truth[2:7, -1] = True
    with pytest.warns(RuntimeWarning):  # and its mean over the data set is lost
        assert np.isnan(tool.Smeasure().cal_sm(ground_truth.astype(np.float64), ground_truth))
    assert s_measure(ground_truth.astype(np.float64), ground_truth) == pytest.approx(1.0)
    # One row is two regions; with nothing below it a copy of the row changes nothing but the unbiased variances.
    stored, row = scene(20, 1, 400)
    twice = normalize_map(np.concatenate([stored, stored])), np.concatenate([row, row])
    assert s_measure(normalize_map(stored), row) == pytest.approx(s_measure(*twice), abs=0.01)


def test_maps_are_rounded_to_eight_bits_and_stretched() -> None:
    prediction = np.array([[0.2, 0.4], [0.3, 0.6]], np.float32)
    stored = np.array([[51, 102], [76, 153]], np.uint8)  # 0.3 * 255 = 76.5 goes to the even number
    assert normalize_map(prediction) == pytest.approx((stored - 51) / (153 - 51))
    assert np.array_equal(normalize_map(prediction), normalize_map(stored))
    assert normalize_map(np.array([[-1.0, 0.5, 7.0]])).tolist() == [[0.0, 128 / 255, 1.0]]
    assert normalize_map(np.full((2, 2), 0.2)).tolist() == [[0.2, 0.2]] * 2
    assert normalize_map(np.zeros((0, 3))).shape == (0, 3)


def test_counts_against_256_passes() -> None:
    stored, ground_truth = scene(5, 33, 47)
    prediction = normalize_map(stored)
    counts = threshold_counts(prediction, ground_truth)
    for k in range(256):
        found = np.floor(255 * prediction) >= k
        assert counts.hits[k] == (found & ground_truth).sum()
        assert counts.false_alarms[k] == (found & ~ground_truth).sum()
    assert (counts.foreground, counts.background) == (ground_truth.sum(), (~ground_truth).sum())


def test_e_measure_against_its_definition_pixel_by_pixel() -> None:
    stored, ground_truth = scene(6, 20, 30)
    prediction = normalize_map(stored)
    e = e_measure(threshold_counts(prediction, ground_truth))
    for k in range(0, 256, 15):
        found = (np.floor(255 * prediction) >= k).astype(float)
        a, b = found - found.mean(), ground_truth - ground_truth.mean()
        enhanced = (2 * a * b / (a**2 + b**2) + 1) ** 2 / 4
        assert e[k] == pytest.approx(enhanced.sum() / (ground_truth.size - 1))


def test_one_pixel_is_not_divided_by_zero() -> None:
    one = np.ones((1, 1), bool)
    assert e_measure(threshold_counts(np.ones((1, 1)), one)).max() == 1.0
    assert s_measure(np.ones((1, 1)), one) == 1.0
    assert weighted_f_measure(np.ones((1, 1)), one) == pytest.approx(1.0)
