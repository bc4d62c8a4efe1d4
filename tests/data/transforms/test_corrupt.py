"""Blur, JPEG and erasing: what they do to the pixels, and that the ground truth stays."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from saccade.data.transforms.corrupt import Blur, JPEGArtefacts, RandomErasing
from saccade.errors import ConfigError
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample

TRANSFORMS = {"blur": Blur(1.0), "jpeg": JPEGArtefacts(1.0), "erase": RandomErasing(1.0)}


def _sample(channels: int = 3, dtype: type = np.uint8, size: tuple[int, int] = (48, 64)) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (*size, channels)).astype(dtype)
    target = {"boxes": np.array([[5, 5, 30, 40]], np.float32), "labels": np.array([1])}
    return Sample(image, target, ImageInfo(0, "photo.jpg", Geometry.identity(size)))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_only_the_pixels_change_and_the_same_way_for_the_same_generator(name: str, channels: int) -> None:
    sample = _sample(channels)
    sample.image.setflags(write=False)
    first, second, third = (TRANSFORMS[name](sample, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.image.shape == sample.image.shape
    assert first.image.dtype == np.uint8
    assert first.image.tobytes() == second.image.tobytes()
    assert first.image.tobytes() not in (sample.image.tobytes(), third.image.tobytes())
    assert first.target is sample.target
    assert first.info is sample.info


@pytest.mark.parametrize("transform", [Blur(0.3), JPEGArtefacts(0.3), RandomErasing(0.3)])
def test_how_often(transform: Blur) -> None:
    sample = _sample()
    done = sum(transform(sample, np.random.default_rng(seed)) is not sample for seed in range(200))
    assert 40 < done < 80


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (7, np.uint8), (3, np.uint16), (3, np.float32)])
def test_blur_is_a_gaussian(channels: int, dtype: type) -> None:
    sample = _sample(channels, dtype)
    blurred = Blur(1.0, (1.5, 1.5))(sample, np.random.default_rng(0)).image
    expected = gaussian_filter(sample.image.astype(np.float64), (1.5, 1.5, 0), mode="mirror", truncate=5)
    assert blurred.shape == sample.image.shape
    assert np.abs(blurred - expected).max() < 2.5


def test_jpeg_is_that_of_another_encoder() -> None:
    rows, columns = np.indices((48, 64))
    sample = _sample()
    sample.image = np.stack([rows * 4, columns * 3, (rows + columns) * 2], axis=-1).astype(np.uint8)
    stored = JPEGArtefacts(1.0, (40, 40))(sample, np.random.default_rng(0)).image
    buffer = io.BytesIO()
    Image.fromarray(sample.image).save(buffer, "JPEG", quality=40)
    other = np.asarray(Image.open(buffer))
    assert np.abs(stored.astype(int) - other).mean() < 1.5
    assert np.abs(stored.astype(int) - sample.image).mean() > 0.3


def test_lower_quality_spoils_more() -> None:
    errors = [
        np.abs(
            JPEGArtefacts(1.0, (quality, quality))(_sample(), np.random.default_rng(0)).image.astype(int)
            - _sample().image
        ).mean()
        for quality in (95, 50, 10)
    ]
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_erased_is_one_rectangle_of_noise_of_the_size_that_was_asked_for(channels: int) -> None:
    shares, aspects = [], []
    for seed in range(150):
        sample = _sample(channels, size=(100, 140))
        sample.image[:] = 100
        erased = RandomErasing(1.0, (0.05, 0.2), 0.5)(sample, np.random.default_rng(seed)).image
        changed = (erased != 100).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert changed.sum() > 0.98 * height * width
        shares.append(height * width / 14_000)
        aspects.append(height / width)
        hole = erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
        assert 110 < hole.mean() < 145
        assert hole.std() > 60
    assert min(shares) > 0.045
    assert max(shares) < 0.21
    assert min(aspects) > 0.45
    assert max(aspects) < 2.2


def test_unsupported_images_are_refused_by_name() -> None:
    for transform, sample in (
        (JPEGArtefacts(1.0), _sample(7)),
        (JPEGArtefacts(1.0), _sample(3, np.uint16)),
        (RandomErasing(1.0), _sample(3, np.uint16)),
    ):
        with pytest.raises(ConfigError, match=r"photo\.jpg"):
            transform(sample, np.random.default_rng(0))
