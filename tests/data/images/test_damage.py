"""Damaged and hostile image files: named, never read with wrong pixels where that can be told, and in silence."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from saccade.data.images.decode import image_size, read_image, read_label_map, upright_size
from saccade.data.images.tiff import tiff_tags
from saccade.errors import DataError

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8), (120, 90), interpolation=cv2.INTER_CUBIC)
BLOCKS = np.repeat(np.repeat(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8), 10, axis=0), 10, axis=1)


def encode(pixels: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def first_strip(data: bytes) -> range:
    """Positions of the bytes of the first strip of a TIFF."""
    tags = tiff_tags(data)
    return range(tags[273], tags[273] + tags[279])


def fates(data: bytes, positions: range, count: int, generator: random.Random) -> Counter[str]:
    """What becomes of a file of which one byte is changed, ``count`` times."""
    whole, found = read_image(data), Counter[str]()
    for _ in range(count):
        mutant = bytearray(data)
        mutant[generator.choice(positions)] ^= generator.randrange(1, 256)
        try:
            found["same" if np.array_equal(read_image(bytes(mutant)), whole) else "wrong"] += 1
        except DataError:
            found["named"] += 1
    return found


@pytest.mark.parametrize("codec", ["tiff_adobe_deflate", "tiff_deflate"])
def test_damaged_deflate_is_always_named(codec: str) -> None:
    data = encode(SMOOTH, "TIFF", compression=codec)
    assert fates(data, first_strip(data), 200, random.Random(0)) == {"named": 200}


def test_damaged_lzw_is_named_where_it_can_be_told() -> None:
    for pixels, least in ((SMOOTH, 100), (BLOCKS, 160)):
        data = encode(pixels, "TIFF", compression="tiff_lzw")
        assert np.array_equal(read_image(data), pixels)
        assert fates(data, first_strip(data), 200, random.Random(0))["named"] >= least


@pytest.mark.parametrize("codec", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_short_blocks_are_named(codec: str | None) -> None:
    data = encode(SMOOTH, "TIFF", **({} if codec is None else {"compression": codec}))
    tags = tiff_tags(data)
    entry = struct.pack("<HHI", 279, 4, 1)
    place = data.index(entry) + 8
    short = data[:place] + struct.pack("<I", tags[279] // 2) + data[place + 4 :]
    with pytest.raises(DataError, match="strip 0 is damaged"):
        read_image(short)


def test_lzw_without_compression_is_read() -> None:
    # Some writers emit bytes alone, and clear the table before codes get longer.
    pixels = RNG.integers(0, 4, (20, 30), dtype=np.uint8)
    codes: list[int] = []
    for number, value in enumerate(pixels.reshape(-1).tolist()):
        codes += [256, value] if number % 200 == 0 else [value]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    whole = encode(pixels, "TIFF")
    fields = {256: 30, 257: 20, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: 20, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(fields)) + entries + bytes(4)
    assert np.array_equal(read_image(data, channels=1)[..., 0], pixels)
    assert np.array_equal(read_image(whole, channels=1)[..., 0], pixels)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_checksums_of_png() -> None:
    data = encode(SMOOTH, "PNG")
    damaged = bytearray(data)
    damaged[data.index(b"IDAT") + 1000] ^= 4
    with pytest.raises(DataError, match="checksum"):
        read_image(bytes(damaged))
    text = data[:33] + chunk(b"tEXt", b"note\0fine")[:-1] + b"?" + data[33:]  # a note is not read
    assert np.array_equal(read_image(text), SMOOTH)
    palette = encode(SMOOTH[..., 0], "PNG")[:0] + _palette_png()
    start = palette.index(b"PLTE")
    without = palette[: start - 4] + palette[start + 4 + int.from_bytes(palette[start - 4 : start], "big") + 4 :]
    with pytest.raises(DataError, match="part is missing"):
        read_image(without)


def _palette_png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(SMOOTH).quantize(16).save(stream, "PNG")
    return stream.getvalue()


def samples() -> dict[str, bytes]:
    return {
        "jpeg": encode(SMOOTH, "JPEG"),
        "progressive": encode(SMOOTH, "JPEG", progressive=True),
        "png": encode(SMOOTH, "PNG"),
        "palette": _palette_png(),
        **{f"tiff {codec}": encode(SMOOTH, "TIFF", compression=codec) for codec in ("tiff_lzw", "packbits", "jpeg")},
        "tiff": encode(SMOOTH, "TIFF"),
        **{kind: encode(SMOOTH, kind) for kind in ("GIF", "WEBP", "AVIF", "JPEG2000", "BMP", "DIB", "PPM")},
    }


def test_mutants_are_read_or_named_and_nothing_reaches_the_terminal(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    generator = random.Random(1)
    file, messages = tmp_path / "a.img", dict[str, str]()
    for kind, data in samples().items():
        for number in range(20):
            mutant = bytearray(data)
            for _ in range(generator.choice([1, 2, 8])):
                # Headers, directories (at the end of TIFFs) and pixels alike.
                first = (0, max(len(mutant) - 200, 0), 0)[number % 3]
                last = (min(200, len(mutant)), len(mutant), len(mutant))[number % 3]
                mutant[generator.randrange(first, last)] = generator.choice([0, 1, 127, 255, generator.randrange(256)])
            mutant = mutant[: generator.randrange(1, len(mutant))] if number % 10 == 0 else mutant
            file.write_bytes(mutant)
            for read in (
                read_image,
                upright_size,
                image_size,
                read_label_map,
                lambda path: read_image(path, channels=4),
            ):
                try:
                    read(file)
                except DataError as error:
                    messages[kind] = str(error)
    assert all(message.startswith(str(file)) and "\n" not in message for message in messages.values())
    assert len(messages) == len(samples())
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_warnings_about_colour_profiles_and_texts_are_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(SMOOTH, "PNG")
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))
    odd = data[:33] + profile + chunk(b"zTXt", b"a\0\0junk") + chunk(b"cHRM", b"") + data[33:]
    assert np.array_equal(read_image(odd), SMOOTH)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # 14,142 x 14,142 pixels of three times 16 bits took 6.2 GB.
        (
            struct.pack(">8s4x4sIIBBBBB4x", b"\x89PNG\r\n\x1a\n", b"IHDR", 14142, 14142, 16, 2, 0, 0, 0),
            r"16 bits take 1\.8 GB",
        ),
        (
            b"II*\0\x08\0\0\0"
            + struct.pack("<H", 4)
            + b"".join(
                struct.pack("<HHII", tag, 4, 1, value)
                for tag, value in ((256, 14000), (257, 14000), (258, 32), (277, 4))
            ),
            "32 bits take",
        ),
        (
            encode(SMOOTH, "GIF").replace(struct.pack("<HH", 120, 90), struct.pack("<HH", 65535, 65535), 1),
            "exceed the limit|too many pixels",
        ),
        (b"P5 100000 100000 255\n" + bytes(9), "exceed the limit|too many pixels"),
    ],
    ids=["png", "tiff", "gif", "pgm"],
)
def test_sizes_are_checked_before_memory_is_asked_for(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_image(data)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    for name, target in (("zero", "/dev/zero"), ("here", str(tmp_path))):
        link = tmp_path / f"{name}.png"
        link.symlink_to(target)
        for read in (read_image, read_label_map, image_size, upright_size):
            with pytest.raises(DataError, match=rf"{name}\.png: .*(device|folder), not a file"):
                read(link)


ORIENTATION, SPARE = 0x112, 0x113  # a tag that nobody reads, made an orientation afterwards


def avif(orientation: int, by_exif: int) -> bytes:
    """An AVIF of SMOOTH that is turned by its own properties and by its EXIF."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[SPARE] = by_exif
    data = encode(SMOOTH, "AVIF", exif=exif, quality=95)
    for order in "<>":
        data = data.replace(struct.pack(order + "HH", SPARE, 3), struct.pack(order + "HH", ORIENTATION, 3))
    return data


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_once(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    expected = read_image(encode(SMOOTH, "PNG", exif=exif)).astype(int)
    assert (expected.shape[:2] == (120, 90)) == (orientation > 4)
    by_properties = avif(orientation, by_exif=1 if orientation == 6 else 6)  # beside which EXIF counts for nothing
    files = [by_properties] if orientation > 1 else []
    for data in (*files, avif(1, by_exif=orientation)):
        path = tmp_path / "a.avif"
        path.write_bytes(data)
        assert upright_size(path) == expected.shape[:2]
        assert np.abs(read_image(path) - expected).mean() < 6
