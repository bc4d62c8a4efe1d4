"""What users see when images are odd or broken."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from saccade.data.images import decode as images
from saccade.data.images.decode import image_size, read_image, read_label_map, upright_size
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
def test_colour_images_are_rgb_in_every_format(kind: str) -> None:
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
    image = Image.fromarray(np.dstack([COLOR, RNG.integers(0, 256, (20, 30), dtype=np.uint8)])).convert(mode)
    assert np.array_equal(read_image(encode(image)), np.array(image.convert("RGB")))


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


def test_float_files_are_fractions_or_refused_with_a_remedy() -> None:
    half = encode(np.full((4, 4), 0.5, np.float32), "TIFF")
    assert read_image(half)[0, 0].tolist() == [128, 128, 128]
    for value, message in ((200.0, r"to 200, not of 0\.\.1\. Divide"), (np.nan, "not finite")):
        with pytest.raises(DataError, match=message):
            read_image(encode(np.full((4, 4), value, np.float32), "TIFF"))


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
    with pytest.raises(DataError, match="not an image"):
        read_image(b"hello, this is text and no image")
    with pytest.raises(DataError, match="cannot be opened"):
        read_image("zero\0byte.jpg")


def png_header(height: int, width: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_images_above_the_limit_are_refused_by_their_header(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_size_is_that_of_the_pixels(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif.tobytes()}
    file = tmp_path / "image.bin"
    file.write_bytes(encode(BLOCKS, kind, **options))
    pixels = read_image(file)
    assert upright_size(file) == upright_size(file.read_bytes()) == pixels.shape[:2]
    assert image_size(file) == (48, 80)
    # Whatever the turn, the pixels are those of the unturned image.
    upright = {
        1: BLOCKS,
        2: BLOCKS[:, ::-1],
        3: BLOCKS[::-1, ::-1],
        4: BLOCKS[::-1],
        5: BLOCKS.swapaxes(0, 1),
        6: np.rot90(BLOCKS, -1),
        7: np.rot90(BLOCKS, 2).swapaxes(0, 1),
        8: np.rot90(BLOCKS),
    }[orientation]
    assert np.abs(pixels - upright.astype(int)).mean() < (5 if kind in ("JPEG", "WEBP") else 1e-9)


@pytest.mark.parametrize("order", ["II", "MM"])
def test_orientation_is_found_behind_other_segments_and_chunks(order: str) -> None:
    code = "<" if order == "II" else ">"
    exif = order.encode() + struct.pack(code + "HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    plain = encode(BLOCKS, "JPEG")
    notes = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in (notes, b"Exif\0\0" + exif))
    assert upright_size(plain[:2] + segments + plain[2:]) == (80, 48)
    plain = encode(BLOCKS, "PNG")
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    end = plain.index(b"IEND") - 4
    behind_the_pixels = plain[:end] + chunk + plain[end:]
    assert upright_size(behind_the_pixels) == read_image(behind_the_pixels).shape[:2]


def test_upright_size_of_broken_and_strange_files(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\x01\0\0\0\x63\0\0\0"  # orientation 99, cut short
    plain = encode(BLOCKS, "JPEG")
    assert upright_size(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]) == (48, 80)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg: the file is empty"):
        upright_size(tmp_path / "empty.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg: the file does not exist"):
        upright_size(tmp_path / "gone.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg: this is not an image"):
        upright_size(tmp_path / "text.jpg")
    with pytest.raises(DataError, match="truncated"):
        upright_size(plain[:30])


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = Image.fromarray(BLOCKS).convert("CMYK")
    pixels = read_image(encode(image, "JPEG", quality=95))
    assert np.abs(pixels - np.array(image.convert("RGB")).astype(int)).mean() < 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_many_images_is_read(kind: str) -> None:
    others = [Image.fromarray(255 - BLOCKS), Image.fromarray(BLOCKS[::-1])]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(BLOCKS), kind, save_all=True, append_images=others, **options)
    assert np.array_equal(read_image(data), np.array(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_images_are_black_and_white(kind: str) -> None:
    image = Image.fromarray(COLOR).convert("1")
    assert np.array_equal(read_image(encode(image, kind), channels=1)[..., 0], np.array(image) * np.uint8(255))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_colours_are_kept(kind: str) -> None:
    palette = Image.new("P", (4, 2))
    palette.putdata([0, 1, 2, 3] * 2)
    colors = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]
    palette.putpalette(colors + [0] * (768 - len(colors)))
    data = encode(palette, kind, transparency=2)
    assert read_image(data)[0].reshape(-1).tolist() == colors


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"P2\n# of a\n# camera\n3 1\n255\n0 1 255\n", [0, 1, 255]),
        (b"P5 3 1 15\n\x00\x07\x0f", [0, 119, 255]),
        (b"P5 3 1 255\n\x00\x07\xff", [0, 7, 255]),
        (b"P5\n3 1\n4095\n" + struct.pack(">3H", 0, 2048, 4095), [0, 128, 255]),
        (b"P5\n3 1\n65535\n" + struct.pack(">3H", 0, 257 * 9, 65535), [0, 9, 255]),
    ],
)
def test_pgm_is_scaled_to_its_own_white(data: bytes, values: list[int]) -> None:
    assert read_image(data, channels=1)[0, :, 0].tolist() == values
    assert read_image(data)[0].tolist() == [[value] * 3 for value in values]


def test_a_strange_pgm_header_is_searched_in_no_time() -> None:
    with pytest.raises(DataError):
        read_image(b"P5" + b" " * 100_000 + b"x")


def test_four_channels_are_rgba_upright() -> None:
    rgba = np.dstack([COLOR, RNG.integers(0, 256, (20, 30), dtype=np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(read_image(encode(rgba), channels=4), rgba)
    assert np.array_equal(read_image(encode(rgba, exif=exif.tobytes()), channels=4), np.rot90(rgba, -1))
    assert np.array_equal(read_image(encode(rgba, "TIFF"), channels=4), rgba)
    with pytest.raises(DataError, match=r"has 3 channels, not 4\. Open the data set with channels=3"):
        read_image(encode(COLOR), channels=4)


def test_messages_call_bytes_by_the_name_given() -> None:
    with pytest.raises(DataError, match=r"a\.zip/b\.png: this is not an image"):
        read_image(b"nothing", name="a.zip/b.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: .*this is a pipe"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", sorted(images.IMAGE_SUFFIXES))
def test_every_suffix_in_the_list_is_read(suffix: str, tmp_path: Path) -> None:
    mode = {".pbm": "1", ".pgm": "L"}.get(suffix, "RGB")
    path = tmp_path / f"a{suffix}"
    kinds = {".jif": "JPEG", ".pnm": "PPM"}
    Image.fromarray(BLOCKS).convert(mode).save(path, kinds.get(suffix))
    pixels = read_image(path)
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB")).astype(int)
    assert np.abs(pixels - expected).mean() < 2
    assert upright_size(path) == image_size(path) == (48, 80)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_are_matched_to_the_network(dtype: type) -> None:
    scale = np.iinfo(dtype).max // 255
    stored = [image.astype(dtype) * dtype(scale) for image in (COLOR, COLOR[::-1, :, :1])]
    rgb, alpha = stored
    grey = rgb[..., :1]
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    for pixels in (grey, np.dstack([grey, alpha])):
        assert np.array_equal(images.match_channels(pixels, 3, "a"), np.repeat(grey, 3, axis=2))
        assert np.array_equal(images.match_channels(pixels, 1, "a"), grey)
    for pixels in (rgb, np.dstack([rgb, alpha])):
        assert np.array_equal(images.match_channels(pixels, 3, "a"), rgb)
        found = images.match_channels(pixels, 1, "a")
        assert found.shape == (20, 30, 1)
        assert found.dtype == dtype
        assert np.abs(found[..., 0] - luma).max() < 2
    assert images.match_channels(rgb, 3, "a") is rgb
    assert images.match_channels(rgb[:, ::-1], 3, "a").flags.c_contiguous


@pytest.mark.parametrize(("have", "wanted"), [(5, 3), (3, 5), (1, 4), (3, 4), (2, 4), (5, 1)])
def test_channels_that_do_not_match_are_named(have: int, wanted: int) -> None:
    with pytest.raises(
        DataError, match=rf"b\.tif: the image has {have} channels, the network takes {wanted}\. "
    ) as caught:
        images.match_channels(np.zeros((2, 3, have), np.uint8), wanted, "b.tif")
    assert f"channels={have}" in str(caught.value)
