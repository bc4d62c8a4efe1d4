"""Colour transforms against plain formulas."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from saccade.data.transforms.color import HSV, BrightnessContrast, PCAColor
from saccade.errors import ConfigError
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample


def _sample(image: np.ndarray) -> Sample:
    return Sample(image, {}, ImageInfo(0, "photo.jpg", Geometry.identity(image.shape[:2])))


def test_hsv_is_the_textbook_formula() -> None:
    colours = np.random.default_rng(0).integers(30, 200, (1, 50, 3)).astype(np.uint8)
    gains = 0.1, 0.3, 0.2
    turn, saturation, value = np.random.default_rng(5).uniform(-1, 1, 3) * gains
    shifted = HSV(*gains)(_sample(colours), np.random.default_rng(5)).image[0]
    for before, after in zip(colours[0], shifted, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255))
        expected = colorsys.hsv_to_rgb((h + turn) % 1, min(s * (1 + saturation), 1), min(v * (1 + value), 1))
        np.testing.assert_allclose(after / 255, expected, atol=0.03)  # OpenCV keeps 180 hues and 256 saturations


def test_hsv_changes_only_the_value_of_grey_images() -> None:
    image = np.full((4, 4, 1), 100, np.uint8)
    changed = HSV(0.5, 0.5, 0.5)(_sample(image), np.random.default_rng(1)).image
    factor = 1 + np.random.default_rng(1).uniform(-1, 1, 3)[2] * 0.5
    assert changed.shape == (4, 4, 1)
    assert np.unique(changed).tolist() == [round(100 * factor)]


def test_brightness_and_contrast_are_the_formula() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 4
    brighter, stronger = 1 + np.random.default_rng(2).uniform(-1, 1, 2) * (0.3, 0.4)
    changed = BrightnessContrast(0.3, 0.4)(_sample(image), np.random.default_rng(2)).image
    expected = np.clip(((image - image.mean()) * stronger + image.mean()) * brighter, 0, 255)
    np.testing.assert_allclose(changed, expected, atol=0.51)


def test_pca_shifts_all_pixels_by_one_colour_along_the_principal_directions() -> None:
    image = np.random.default_rng(0).integers(60, 190, (20, 30, 3)).astype(np.uint8)
    shifts = []
    for seed in range(500):
        changed = PCAColor(0.1)(_sample(image), np.random.default_rng(seed)).image.astype(int) - image
        assert len(np.unique(changed.reshape(-1, 3), axis=0)) == 1
        shifts.append(changed[0, 0])
    # Krizhevsky et al.: the covariance of the shift has the same principal colours as the data's, first of all grey.
    values, directions = np.linalg.eigh(np.cov(np.array(shifts).T))
    grey = np.abs(directions[:, 2])
    np.testing.assert_allclose(grey, 1 / np.sqrt(3), atol=0.05)
    assert np.sqrt(values[2]) == pytest.approx(255 * 0.1 * 0.2175, rel=0.1)
    assert np.sqrt(values[1]) < 0.2 * np.sqrt(values[2])
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.6)


def test_the_principal_directions_are_orthogonal() -> None:
    from saccade.data.transforms.color import _DIRECTIONS

    np.testing.assert_allclose(_DIRECTIONS.T @ _DIRECTIONS, np.eye(3), atol=2e-3)


def test_pca_needs_colour() -> None:
    with pytest.raises(ConfigError, match="3 channels"):
        PCAColor(0.1)(_sample(np.zeros((4, 4, 1), np.uint8)), np.random.default_rng(0))


@pytest.mark.parametrize("transform", [HSV(0.1, 0.1, 0.1), BrightnessContrast(0.1, 0.1), PCAColor(0.1)])
def test_unsupported_images_are_refused_by_name(transform: HSV | BrightnessContrast | PCAColor) -> None:
    with pytest.raises(ConfigError, match=r"photo\.jpg"):
        transform(_sample(np.zeros((4, 4, 3), np.uint16)), np.random.default_rng(0))


def test_the_given_image_is_left_alone() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    image.setflags(write=False)
    HSV(0.1, 0.5, 0.5)(_sample(image), np.random.default_rng(0))
    BrightnessContrast(0.5, 0.5)(_sample(image), np.random.default_rng(0))
    assert (image == 100).all()
