from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from saccade.metrics.base import MetricReport
from saccade.metrics.calibration import adaptive_calibration_error, calibration_error
from saccade.metrics.plots import plot_curves


def random_answers(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0, 1, count)
    return confidence, rng.uniform(0, 1, count) < confidence**2


def test_bins_of_equal_width_against_the_definition() -> None:
    confidence, right = random_answers()
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, right)[0] == pytest.approx(expected)
    assert calibration_error(np.ones(4), np.ones(4, bool))[0] == 0.0


def test_an_edge_belongs_to_the_bin_below_it_and_zero_to_the_first() -> None:
    confidence = np.array([0.0, 0.5, 0.5000001, 1.0])
    right = np.array([0, 1, 0, 1])
    error, curve = calibration_error(confidence, right, bins=2)
    assert curve["x"] == pytest.approx([0.25, 0.75], abs=1e-6)
    assert curve["y"]["model"] == [0.5, 0.5]
    assert error == pytest.approx(0.25, abs=1e-6)


def test_equally_full_bins_against_the_definition() -> None:
    confidence, right = random_answers(501)
    order = np.argsort(confidence)
    bounds = [k * 501 // 15 for k in range(16)]
    expected = 0.0
    for first, end in itertools.pairwise(bounds):
        chosen = order[first:end]
        expected += len(chosen) / 501 * abs(right[chosen].mean() - confidence[chosen].mean())
    error, curve = adaptive_calibration_error(confidence, right)
    assert error == pytest.approx(expected)
    assert len(curve["x"]) == 15


def test_equal_confidences_share_a_bin_so_that_order_does_not_matter() -> None:
    confidence, right = np.full(40, 0.5), np.arange(40) < 20
    assert adaptive_calibration_error(confidence, right)[0] == pytest.approx(0.0)
    confidence, right = np.round(random_answers()[0], 1), random_answers()[1]
    shuffled = np.random.default_rng(2).permutation(len(right))
    expected = adaptive_calibration_error(confidence, right)[0]
    assert adaptive_calibration_error(confidence[shuffled], right[shuffled])[0] == pytest.approx(expected)


@pytest.mark.parametrize("measure", [calibration_error, adaptive_calibration_error])
def test_nothing_is_undefined_and_one_image_is_not(measure: object) -> None:
    assert callable(measure)
    error, curve = measure(np.zeros(0), np.zeros(0, bool))
    assert math.isnan(error)
    assert curve["x"] == []
    assert measure(np.array([0.75]), np.array([True]))[0] == pytest.approx(0.25)


def test_the_curve_is_drawn_with_its_diagonal() -> None:
    _, curve = calibration_error(*random_answers())
    (axes,) = plot_curves(MetricReport({"ece": 0.1}, "ece", curves={"calibration": curve}))["calibration"].axes
    assert [line.get_label() for line in axes.lines] == ["model", "perfect"]
