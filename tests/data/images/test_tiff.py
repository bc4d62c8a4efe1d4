"""TIFF files of many channels, written here byte by byte so that every layout is met."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from saccade.data.images.decode import image_size, read_image
from saccade.errors import DataError

RNG = np.random.default_rng(0)


def write_tiff(
    pixels: np.ndarray[Any, Any],
    order: str = "<",
    deflate: bool = False,
    predictor: bool = False,
    separate: bool = False,
    tile: tuple[int, int] | None = None,
    rows_per_strip: int = 8,
    photometric: int = 1,
    **tags: int,
) -> bytes:
    """A TIFF of (H, W, C) pixels, by the letter of the specification."""
    height, width, channels = pixels.shape
    planes = [pixels[..., [channel]] for channel in range(channels)] if separate else [pixels]
    blocks = []
    for plane in planes:
        if tile is None:
            blocks += [plane[row : row + rows_per_strip] for row in range(0, height, rows_per_strip)]
            continue
        padded = np.pad(plane, ((0, -height % tile[0]), (0, -width % tile[1]), (0, 0)))
        blocks += [
            padded[row : row + tile[0], column : column + tile[1]]
            for row in range(0, height, tile[0])
            for column in range(0, width, tile[1])
        ]
    if predictor:
        blocks = [np.concatenate([block[:, :1], np.diff(block, axis=1)], axis=1) for block in blocks]
    packed = [block.astype(pixels.dtype.newbyteorder(order)).tobytes() for block in blocks]
    if deflate:
        packed = [zlib.compress(block) for block in packed]
    offsets, body = [], b""
    for block in packed:
        offsets.append(8 + len(body))
        body += block + b"\0" * (len(block) % 2)
    bits = pixels.dtype.itemsize * 8
    fields: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [bits] * channels,
        259: [8 if deflate else 1],
        262: [photometric],
        277: [channels],
        284: [2 if separate else 1],
        317: [2 if predictor else 1],
        339: [tags.get("sample_format", 1)] * channels,
    }
    if "orientation" in tags:
        fields[274] = [tags["orientation"]]
    if tile is None:
        fields |= {273: offsets, 278: [rows_per_strip], 279: [len(block) for block in packed]}
    else:
        fields |= {322: [tile[1]], 323: [tile[0]], 324: offsets, 325: [len(block) for block in packed]}
    entries = b""
    for tag in sorted(fields):
        values = fields[tag]
        kind = 4 if tag in (273, 279, 324, 325) else 3
        data = struct.pack(f"{order}{len(values)}{'HI'[kind - 3]}", *values)
        if len(data) > 4:
            offset = 8 + len(body)
            body += data
            data = struct.pack(order + "I", offset)
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(fields)) + entries + struct.pack(order + "I", 0)
    return start + struct.pack(order + "I", 8 + len(body)) + body + directory


def noise(channels: int, kind: Any = np.uint8, size: tuple[int, int] = (70, 50)) -> np.ndarray[Any, Any]:
    return RNG.integers(0, np.iinfo(kind).max, (*size, channels), dtype=kind, endpoint=True)


def directory_first(data: bytes) -> bytes:
    """The same TIFF with its directory, of one strip, before the pixels."""
    start = 512
    head = struct.pack("<4sI", b"II*\0", 8)
    entries = [
        (256, 50),
        (257, 70),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, start),
        (277, 5),
        (278, 70),
        (279, 70 * 50 * 5),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries
    )
    return (head + directory).ljust(start, b"\0") + data[8 : 8 + 70 * 50 * 5]


def replace(old_layout: str, old: tuple[int, ...], layout: str, new: tuple[int, ...]) -> bytes:
    """A TIFF of five channels with an entry of its directory exchanged."""
    data = write_tiff(noise(5))
    assert struct.pack(old_layout, *old) in data
    return data.replace(struct.pack(old_layout, *old), struct.pack(layout, *new))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("tile", [None, (64, 32)])
@pytest.mark.parametrize(("deflate", "predictor"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(("channels", "kind"), [(4, np.uint8), (5, np.uint8), (5, np.uint16), (13, np.uint16)])
def test_every_layout_gives_the_pixels_written(
    channels: int, kind: Any, deflate: bool, predictor: bool, tile: tuple[int, int] | None, separate: bool, order: str
) -> None:
    pixels = noise(channels, kind)
    data = write_tiff(pixels, order, deflate, predictor, separate, tile)
    found = read_image(data, channels=channels, allow_16bit=True)
    assert found.dtype == kind
    assert np.array_equal(found, pixels)
    assert image_size(data) == (70, 50)


def test_sixteen_bits_become_eight_unless_asked_for() -> None:
    pixels = noise(5, np.uint16)
    found = read_image(write_tiff(pixels), channels=5)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.round(pixels / 257))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_applied(orientation: int) -> None:
    pixels = noise(5, size=(12, 20))
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    found = read_image(write_tiff(pixels, orientation=orientation), channels=5)
    assert np.array_equal(found, np.rot90(pixels, turns))


def test_the_wrong_number_of_channels_is_named(tmp_path: Path) -> None:
    file = tmp_path / "scene.tif"
    file.write_bytes(write_tiff(noise(5)))
    for channels in (1, 3, 4):
        with pytest.raises(DataError, match=rf"scene\.tif: the image has 5 channels, not {channels}\. Open .*=5"):
            read_image(file, channels=channels)


def test_three_channels_that_are_no_colours_are_kept() -> None:
    pixels = noise(3)
    assert np.array_equal(read_image(write_tiff(pixels, photometric=1)), pixels)
    assert np.array_equal(read_image(write_tiff(pixels, photometric=2)), pixels)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (write_tiff(noise(5).astype(np.uint8), sample_format=3), "not whole numbers"),
        (write_tiff(noise(5).astype(np.uint32)), "32 bits a sample"),
        (write_tiff(noise(5), deflate=True)[:600], "known format"),
        (directory_first(write_tiff(noise(5)))[:-100], "truncated"),
        (replace("<HHIHH", (259, 3, 1, 1, 0), "<HHIHH", (259, 3, 1, 7, 0)), "compression 7"),
        (replace("<HHIHH", (256, 3, 1, 50, 0), "<HHII", (256, 4, 1, 1 << 31)), "exceed the limit"),
        (replace("<HHI", (273, 4, 9), "<HHI", (273, 4, 1 << 30)), "where all of its pixels are"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_image(data, channels=5)


def test_damaged_pixels_are_named() -> None:
    data = bytearray(write_tiff(noise(5), deflate=True))
    data[8:400] = b"\xff" * 392
    with pytest.raises(DataError, match=r"strip 0 is damaged"):
        read_image(bytes(data), channels=5)


def test_samples_beyond_the_limit_are_refused() -> None:
    # 8,000 x 8,000 pixels of 60,000 channels, by 200 bytes of header.
    data = write_tiff(noise(1, size=(8, 8)))
    for tag, value in ((256, 8000), (257, 8000), (277, 60000)):
        old = {256: 8, 257: 8, 277: 1}[tag]
        data = data.replace(struct.pack("<HHIHH", tag, 3, 1, old, 0), struct.pack("<HHIHH", tag, 3, 1, value, 0))
    with pytest.raises(DataError, match=r"11520\.2 GB to decode, which exceed the limit"):
        read_image(data, channels=5)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("codec", [5, 8, 32773])
def test_compressed_rgba_of_another_writer(codec: int, kind: Any) -> None:
    pixels = np.repeat(np.repeat(noise(4, kind, (9, 11)), 7, axis=0), 5, axis=1)
    done, data = cv2.imencode(".tiff", pixels[..., [2, 1, 0, 3]], [cv2.IMWRITE_TIFF_COMPRESSION, codec])
    assert done
    assert np.array_equal(read_image(data.tobytes(), channels=4, allow_16bit=True), pixels)
