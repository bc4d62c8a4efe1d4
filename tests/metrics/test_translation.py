"""L1, PSNR, SSIM and kernel distances against slow plain versions and scikit-image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from saccade.metrics.translation import TranslationEvaluator, kernel_distance, psnr, ssim
from saccade.results.translated_image import TranslatedImage


def images(seed: int, shape: tuple[int, ...] = (24, 17, 3)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    smooth = np.repeat(np.repeat(rng.integers(0, 256, (4, 3, *shape[2:])), 6, axis=0), 6, axis=1)[
        : shape[0], : shape[1]
    ]
    noisy = np.clip(smooth + rng.normal(0, 25, smooth.shape), 0, 255)
    return smooth.astype(np.uint8), noisy.astype(np.uint8)


def slow_ssim(x: np.ndarray, y: np.ndarray, side: int = 11) -> float:
    """Window by window, as the equation reads."""
    offsets = np.arange(side) - side // 2
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for top, left in itertools.product(range(x.shape[0] - side + 1), range(x.shape[1] - side + 1)):
        for channel in range(x.shape[2]):
            a, b = (one[top : top + side, left : left + side, channel].astype(float) for one in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            both = (window * (a - mean_a) * (b - mean_b)).sum()
            found.append(
                (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return float(np.mean(found))


@pytest.mark.parametrize("seed", [0, 1])
def test_ssim_and_psnr_equal_the_equations_and_scikit_image(seed: int) -> None:
    x, y = images(seed)
    assert ssim(x, y) == pytest.approx(slow_ssim(x, y), abs=1e-9)
    theirs = structural_similarity(
        x, y, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(x, y) == pytest.approx(theirs, abs=1e-9)
    assert psnr(x, y) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=255), abs=1e-9)
    assert ssim(x, y) < 0.99


def test_images_smaller_than_the_window_have_a_smaller_one() -> None:
    x, y = images(2, (8, 30, 3))
    assert ssim(x[:8, :9], y[:8, :9]) == pytest.approx(slow_ssim(x[:8, :9], y[:8, :9], side=7), abs=1e-9)
    assert ssim(x[:1, :1], x[:1, :1]) == pytest.approx(1.0)


def test_kernel_distance_is_the_unbiased_estimate() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)), rng.normal(1, 1, size=(5, 4))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 4 + 1) ** 3)

    within = [
        np.mean([k(one[i], one[j]) for i in range(len(one)) for j in range(len(one)) if i != j]) for one in (x, y)
    ]
    across = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y).value == pytest.approx(sum(within) - 2 * across)
    assert np.isnan(kernel_distance(x[:1], y).value)


def test_kernel_distance_draws_the_same_subsets_again_and_is_zero_on_average() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 400, 8))
    first, again = (kernel_distance(x, y, subsets=20, subset_size=100) for _ in range(2))
    assert first == again
    assert first.deviation > 0
    found = [kernel_distance(*rng.normal(size=(2, 30, 8))).value for _ in range(300)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(300)
    assert min(found) < 0 < max(found)  # unbiased: it may be negative


def result(number: int, output: np.ndarray, path: str = "") -> TranslatedImage:
    about = {"path": path or f"{number}.jpg", "image_id": number, "image_size": output.shape[:2], "class_names": ()}
    return TranslatedImage(**about, output=output)


def test_pairs_are_scored_image_by_image() -> None:
    evaluator, other = TranslationEvaluator(), TranslationEvaluator()
    pairs = [images(seed) for seed in range(3)]
    for number, (x, y) in enumerate(pairs):
        part = evaluator if number < 2 else other
        part.update([result(number, x)], [{"target_image": y, "paired": np.array(True)}])
    evaluator.merge([evaluator.state(), other.state()])
    report = evaluator.compute()
    assert report.primary == "SSIM"
    assert report.values["SSIM"] == pytest.approx(np.mean([ssim(x, y) for x, y in pairs]))
    assert report.values["L1"] == pytest.approx(np.mean([np.abs(x.astype(float) - y).mean() / 255 for x, y in pairs]))


def test_domains_are_compared_as_sets_in_which_an_image_counts_once() -> None:
    rng = np.random.default_rng(0)
    dark, bright = rng.integers(0, 100, (6, 20, 24, 3)), rng.integers(150, 256, (4, 30, 20, 3))
    distances = {}
    for name, outputs in (("bright", bright[[0, 1, 2, 3, 0, 1]]), ("dark", dark)):
        evaluator = TranslationEvaluator()
        for number, output in enumerate(outputs):
            wanted = bright[number % 4].astype(np.uint8)  # the shorter domain is repeated
            own = f"{number % 4 if name == 'bright' else number}.jpg"
            target = {"target_image": wanted, "paired": np.array(False)}
            evaluator.update([result(number, output.astype(np.uint8), own)], [target])
        report = evaluator.compute()
        assert report.primary == "KID_thumbnails"
        assert not report.higher_is_better
        distances[name] = report.score
    assert distances["bright"] > distances["dark"]


def test_grey_images_of_the_right_brightness_are_no_good_translation() -> None:
    rng = np.random.default_rng(0)
    real = np.clip(rng.normal(120, 60, (40, 4, 4, 3)), 0, 255).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    scores = {}
    for name, outputs in (("grey", np.full_like(real[:20], 120)), ("like", real[20:])):
        evaluator = TranslationEvaluator()
        for number, output in enumerate(outputs):
            target = {"target_image": real[number], "paired": np.array(False)}
            evaluator.update([result(number, output)], [target])
        scores[name] = evaluator.compute().values["KID_thumbnails"]
    assert scores["like"] < 0.5 * scores["grey"]


def test_one_image_of_a_domain_has_no_distance_and_a_note() -> None:
    evaluator = TranslationEvaluator()
    for number in range(3):
        target = {"target_image": np.full((8, 8, 3), 9, np.uint8), "paired": np.array(False)}
        evaluator.update([result(number, np.full((8, 8, 3), number, np.uint8))], [target])
    report = evaluator.compute()
    assert np.isnan(report.score)
    assert "1 of the other" in report.notes[0]
