"""What users see when pictures are odd or broken."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from saccade.data import images
from saccade.data.images import image_size, read_image, read_label_map
from saccade.errors import DataError

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
# Blocks of one colour survive JPEG.
BLOCKS = np.kron(RNG.integers(0, 256, (3, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)


def encode(pixels: np.ndarray[Any, Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG", "WEBP"])
def test_colour_pictures_are_rgb_in_every_format(kind: str) -> None:
    expected = np.array(Image.open(io.BytesIO(encode(BLOCKS, kind))).convert("RGB")).astype(int)
    pixels = read_image(encode(BLOCKS, kind))
    assert pixels.shape == (48, 80, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected).mean() < 2  # decoders of lossy formats differ by a level or two


def test_grey_becomes_three_equal_channels_and_colour_becomes_luma() -> None:
    grey = COLOR[..., 0]
    assert np.array_equal(read_image(encode(grey)), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(read_image(encode(grey), channels=1), grey[..., None])
    luma = COLOR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_image(encode(COLOR), channels=1)[..., 0] - luma).max() < 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_dropped_and_palettes_become_colours(mode: str) -> None:
    picture = Image.fromarray(np.dstack([COLOR, RNG.integers(0, 256, (20, 30), dtype=np.uint8)])).convert(mode)
    assert np.array_equal(read_image(encode(picture)), np.array(picture.convert("RGB")))


def test_sixteen_bits_are_scaled_by_257_unless_asked_for() -> None:
    values = np.array([[0, 128, 129, 257 * 77, 65535]], np.uint16)
    assert read_image(encode(values))[0, :, 0].tolist() == [0, 0, 1, 77, 255]
    kept = read_image(encode(values), channels=1, allow_16bit=True)
    assert kept.dtype == np.uint16
    assert np.array_equal(kept[..., 0], values)


def test_sixteen_bit_colour_is_rgb() -> None:
    values = (COLOR.astype(np.uint16)) * 257
    done, data = cv2.imencode(".png", values[..., ::-1])
    assert done
    assert np.array_equal(read_image(data.tobytes()), COLOR)
    assert np.array_equal(read_image(data.tobytes(), allow_16bit=True), values)


def test_float_pixels_are_refused_with_a_remedy() -> None:
    with pytest.raises(DataError, match=r"float32.*Convert"):
        read_image(encode(np.ones((4, 4), np.float32), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(BLOCKS, kind, exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert upright is not None
    pixels = read_image(data)
    assert pixels.shape[:2] == upright.size[::-1]
    assert np.abs(pixels - np.array(upright.convert("RGB")).astype(int)).mean() < 2
    assert image_size(data) == (48, 80)


def test_any_file_name_and_wrong_suffix(tmp_path: Path) -> None:
    file = tmp_path / "Füße 写真 #1.jpg"
    file.write_bytes(encode(COLOR, "PNG"))
    assert np.array_equal(read_image(file), COLOR)
    assert np.array_equal(read_image(str(file)), COLOR)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_are_named(tmp_path: Path, kind: str, share: float) -> None:
    data = encode(RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8), kind)
    file = tmp_path / "cut.img"
    file.write_bytes(data[: max(int(len(data) * share), 1)])
    with pytest.raises(DataError, match=r"cut\.img: .*(Copy it again|Convert)"):
        read_image(file)


def test_truncation_is_seen_although_a_thumbnail_has_an_end_marker() -> None:
    thumbnail = encode(BLOCKS, "JPEG")
    data = encode(BLOCKS, "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:2] + segment + data[2:]
    assert read_image(whole).shape == (48, 80, 3)
    assert image_size(whole) == (48, 80)
    with pytest.raises(DataError, match="truncated"):
        read_image(whole[:-20])


def test_bytes_behind_the_end_marker_do_no_harm() -> None:
    assert read_image(encode(BLOCKS, "JPEG") + b"trailer of a camera").shape == (48, 80, 3)


def test_missing_empty_folder_and_text_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg: the file does not exist"):
        read_image(tmp_path / "gone.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg: the file is empty"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(DataError, match="cannot be opened"):
        read_image(tmp_path)
    with pytest.raises(DataError, match="not a picture"):
        read_image(b"hello, this is text and no picture")
    with pytest.raises(DataError, match="cannot be opened"):
        read_image("zero\0byte.jpg")


def png_header(height: int, width: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_pictures_above_the_limit_are_refused_by_their_header(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"40000x30000 pixels exceed.*tiles"):
        read_image(png_header(30000, 40000))
    monkeypatch.setattr(images, "MAX_PIXELS", 599)
    for kind in ("PNG", "JPEG", "TIFF", "GIF"):
        with pytest.raises(DataError, match="30x20 pixels exceed"):
            read_image(encode(COLOR, kind))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_label_map_gives_palette_indices(tmp_path: Path, bits: int) -> None:
    indices = RNG.integers(0, 1 << min(bits, 7), (10, 12), dtype=np.uint8)
    palette = Image.new("P", (12, 10))
    palette.putdata(indices.ravel().tolist())
    palette.putpalette([(37 * value) % 256 for value in range(768)])
    file = tmp_path / "labels.png"
    palette.save(file, bits=bits)
    assert np.array_equal(read_label_map(file), indices)


def test_label_map_of_grey_values_and_of_equal_channels(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (10, 12), dtype=np.uint8)
    (tmp_path / "grey.png").write_bytes(encode(values))
    (tmp_path / "rgb.png").write_bytes(encode(np.repeat(values[..., None], 3, axis=2)))
    (tmp_path / "deep.png").write_bytes(encode(values.astype(np.uint16) * 200))
    (tmp_path / "colours.png").write_bytes(encode(COLOR))
    assert np.array_equal(read_label_map(tmp_path / "grey.png"), values)
    assert np.array_equal(read_label_map(tmp_path / "rgb.png"), values)
    assert np.array_equal(read_label_map(tmp_path / "deep.png"), values.astype(np.uint16) * 200)
    with pytest.raises(DataError, match=r"colours\.png: the label map holds colours"):
        read_label_map(tmp_path / "colours.png")


def test_truncated_palette_label_map_is_named(tmp_path: Path) -> None:
    data = encode(Image.fromarray(COLOR).convert("P"))
    file = tmp_path / "cut.png"
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut\.png: .*truncated"):
        read_label_map(file)


@pytest.mark.data("voc_seg_samples")
def test_voc_label_maps_keep_class_indices(data_root: Path) -> None:
    values = read_label_map(data_root / "voc_seg_samples" / "SegmentationClass" / "2007_000063.png")
    assert np.unique(values).tolist() == [0, 9, 12, 255]


@pytest.mark.data("facial_keypoints_68")
def test_png_named_jpg_is_read(data_root: Path) -> None:
    file = next((data_root / "facial_keypoints_68" / "training").glob("*.jpg"))
    assert np.array_equal(read_image(file), np.array(Image.open(file).convert("RGB")))
