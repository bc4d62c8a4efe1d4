"""Pixels of every depth and mode answer like the same file, or are refused: never all white or all black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from saccade.data.images.decode import match_channels, read_image
from saccade.data.images.depth import pillow_pixels, to_uint8
from saccade.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 65536, (12, 16)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "PA", "La", "RGBa", "RGBX"]
)
def test_a_pillow_image_of_any_mode_equals_its_colours(mode: str) -> None:
    base = Image.fromarray(COLOUR)
    through = {"PA": "P", "La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    image = base.convert("RGBA" if through == "RGBA" else through)
    image = image.convert(mode) if through != mode else image
    expected = np.asarray(base.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")).astype(int)
    pixels = match_channels(pillow_pixels(image, "image"), 3, "image").astype(int)
    assert pixels.shape == (12, 16, 3)
    tolerance = {"1": 128, "P": 60, "PA": 60, "HSV": 6, "YCbCr": 4}.get(mode, 2)
    assert np.abs(pixels - (expected if expected.ndim == 3 else expected[..., None])).mean() < tolerance
    assert 0 < pixels.mean() < 255


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_answer_like_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GREY).save(path)
    with Image.open(path) as image:
        pixels = pillow_pixels(image, "image")
        wide = pillow_pixels(image.convert("I"), "image")
    assert np.array_equal(pixels, read_image(path, channels=1))
    assert np.array_equal(wide, pixels)  # 32 bits that hold 16
    assert np.array_equal(to_uint8(GREY, "array")[..., None], pixels)
    assert np.array_equal(to_uint8(GREY.astype(np.int64), "array")[..., None], pixels)


def test_fractions_answer_like_the_file(tmp_path: Path) -> None:
    values = (GREY / 65535).astype(np.float32)
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    with Image.open(path) as image:
        assert image.mode == "F"
        pixels = pillow_pixels(image, "image")
    assert np.array_equal(pixels, read_image(path, channels=1))
    assert np.array_equal(to_uint8(values, "array")[..., None], pixels)
    assert np.array_equal(to_uint8(values.astype(np.float16), "array").shape, values.shape)


def test_large_images_are_scaled_in_bands() -> None:
    values = RNG.integers(0, 65536, (2100, 2100)).astype(np.uint16)
    assert np.array_equal(to_uint8(values, "array"), np.round(values / 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.0, np.nan]]), r"array: a pixel is not finite"),
        (np.array([[0.0, np.inf]]), r"not finite"),
        (np.array([[0.0, 255.0]]), r"from 0 to 255, not of 0\.\.1. Divide"),
        (np.array([[-1.0, 0.5]]), r"from -1 to 0\.5"),
        (np.array([[0, 200]]), r"int64 from 0 to 200, .*Convert them to uint8"),
        (np.array([[-5, 300]]), r"from -5 to 300"),
        (np.array([[0, 70000]], np.uint32), r"uint32 from 0 to 70000"),
        (np.zeros((2, 2), np.int32), r"int32 from 0 to 0"),
        (np.array([[1, 2]], np.int8), r"int8"),
        (np.array([[1j, 2]]), r"complex128, no numbers of brightness"),
        (np.array([["a", "b"]]), r"no numbers of brightness"),
        (np.array([[None, 2]]), r"object"),
    ],
)
def test_what_is_no_brightness_is_refused(values: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_uint8(values, "array")


def test_a_pillow_image_of_eight_bits_in_32_is_refused() -> None:
    with pytest.raises(DataError, match="int32 from 0 to"):
        pillow_pixels(Image.fromarray(COLOUR[..., 0] // 2).convert("I"), "image")


def test_a_file_of_32_bits_follows_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert cv2.imwrite(str(path), GREY.astype(np.int32))
    assert np.array_equal(read_image(path, channels=1)[..., 0], to_uint8(GREY, "array"))
    assert cv2.imwrite(str(path), (GREY // 300).astype(np.int32))
    with pytest.raises(DataError, match=r"a\.tif: pixels are int32 from"):
        read_image(path)


def test_a_broken_pillow_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with Image.open(path) as image, pytest.raises(DataError, match=r"source 3: the image of mode RGB cannot be read"):
        pillow_pixels(image, "source 3")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_turned_by_its_exif(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    for suffix in ("png", "avif"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(COLOUR).save(path, exif=exif, quality=100)
        with Image.open(path) as image:
            assert np.abs(pillow_pixels(image, "image") - read_image(path).astype(int)).max() <= 1
