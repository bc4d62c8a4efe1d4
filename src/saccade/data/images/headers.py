"""Headers of image files: format, size, depth and orientation, read without decoding a pixel."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from saccade.data.images.tiff import BITS, HEIGHT, ORIENTATION, PILLOW_ERRORS, SAMPLES, WIDTH, Buffer, tiff_tags
from saccade.errors import DataError

__all__ = ["ImageHeader", "image_orientation", "is_jpeg", "is_png", "png_chunks", "read_header"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette (3) becomes colours
# Start-of-frame markers of JPEG: 0xC0..0xCF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _APP1 = 0xDA, 0xE1
_EXIF = b"Exif\0\0"
# A TIFF structure whose directory follows at once, as EXIF is written in AVIF: eight bytes that no chance produces.
_EXIF_START = re.compile(rb"II\*\0\x08\0\0\0|MM\0\*\0\0\0\x08")
# EXIF's number of each turn to the left by 90 degrees, followed by a mirror of no axis, top and bottom, left and right
# (ISO/IEC 23008-12, 6.5.10 and 6.5.12).
_TURNS = {0: (1, 4, 2), 1: (8, 5, 7), 2: (3, 2, 4), 3: (6, 7, 5)}
# Formats that are read; others of Pillow's may start programs (EPS) or hold anything.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG2000", "PPM", "TIFF", "WEBP")
_BOXES_INSIDE = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # boxes of AVIF that hold others, behind so many bytes


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header of an image states.

    Args:
        format: Pillow's name of the format.
        height: Rows as stored; orientation is not applied.
        width: Columns as stored.
        samples: Values a pixel once decoded; a palette counts as colours.
        bits: Bits a value.
        end: Position in the file behind the size.
    """

    format: str
    height: int
    width: int
    samples: int = 3
    bits: int = 8
    end: int = 0


def is_png(data: Buffer) -> bool:
    """Whether this is a PNG."""
    return data[:8] == _PNG


def is_jpeg(data: Buffer) -> bool:
    """Whether this is a JPEG."""
    return data[:2] == _JPEG


def read_header(data: Buffer, name: str) -> ImageHeader:
    """Read the header: JPEG, PNG and TIFF here, the rest by Pillow, which decodes lazily.

    Args:
        data: The file.
        name: What messages call it.

    Raises:
        DataError: If it is of no known format, or ends before its size is given.

    Example:
        >>> import cv2
        >>> read_header(cv2.imencode(".png", np.zeros((48, 64, 3), np.uint16))[1].tobytes(), "a.png")
        ImageHeader(format='PNG', height=48, width=64, samples=3, bits=16, end=24)
    """
    if is_png(data) and len(data) >= 26:
        width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
        return ImageHeader("PNG", height, width, _PNG_SAMPLES.get(colour, 4), bits, 24)
    if is_jpeg(data):
        return _read_jpeg(data, name)
    tags = tiff_tags(data)
    if WIDTH in tags and HEIGHT in tags:
        return ImageHeader("TIFF", tags[HEIGHT], tags[WIDTH], tags.get(SAMPLES, 1), tags.get(BITS, 1))
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large images have a limit of their own, broken ones an error
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                bits = 16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8
                samples = 3 if image.mode in ("P", "PA") else len(image.getbands())
                return ImageHeader(image.format or "", image.height, image.width, samples, bits)
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too many pixels ({error}). Cut the image into tiles.") from error
    except PILLOW_ERRORS as error:
        raise DataError(
            f"{name}: this is not an image in a known format. Convert it to PNG or JPEG, or remove it."
        ) from error


def _read_jpeg(data: Buffer, name: str) -> ImageHeader:
    for marker, start, end in _jpeg_segments(data):
        if marker in _START_OF_FRAME and start + 6 <= min(end, len(data)):
            bits, height, width, samples = struct.unpack_from(">BHHB", data, start)
            return ImageHeader("JPEG", height, width, samples, bits, start + 5)
    raise DataError(
        f"{name}: the JPEG ends before its size is given, it is truncated. "
        "Copy it again, or remove it from the data set."
    )


def _jpeg_segments(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the body of each segment before the scan (ITU-T T.81, B.1.1.4)."""
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xFF:
            position += 1  # stray and fill bytes between segments; decoders skip them too
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2  # markers without a body
        elif marker == _START_OF_SCAN:
            return
        else:
            end = position + 2 + int(struct.unpack_from(">H", data, position + 2)[0])
            yield marker, position + 4, end
            position = end


def image_orientation(data: Buffer) -> int:
    """EXIF's number of the orientation, 1 (upright) to 8; 1 where there is none or an invalid one.

    AVIF turns and mirrors by properties of its own, beside which an orientation in EXIF counts for nothing; only a file
    without them is turned by its EXIF.

    Example:
        >>> from PIL import Image
        >>> exif = Image.Exif()
        >>> exif[ORIENTATION] = 6
        >>> for suffix in ("jpg", "avif"):
        ...     Image.new("RGB", (64, 48)).save(f"turned.{suffix}", exif=exif)
        >>> [image_orientation(Path(f"turned.{suffix}").read_bytes()) for suffix in ("jpg", "avif")]
        [6, 6]
    """
    if is_jpeg(data):
        bodies = (data[start:end] for marker, start, end in _jpeg_segments(data) if marker == _APP1)
        exif = next((body for body in bodies if body.startswith(_EXIF)), b"")
    elif is_png(data):
        exif = next((data[start:end] for name, start, end in png_chunks(data) if name == b"eXIf"), b"")
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        exif = _webp_exif(data)
    elif data[4:8] == b"ftyp":
        turned = _box_orientation(data)
        if turned is not None:
            return turned
        start = _EXIF_START.search(data)
        exif = b"" if start is None else data[start.start() :]
    else:
        return _valid_orientation(tiff_tags(data))  # a TIFF is such a directory itself
    return _valid_orientation(tiff_tags(exif.removeprefix(_EXIF)))


def _valid_orientation(tags: dict[int, int]) -> int:
    found = tags.get(ORIENTATION, 1)
    return found if 1 <= found <= 8 else 1


def _box_orientation(data: Buffer) -> int | None:
    """Orientation by the properties ``irot`` and ``imir``; None where there are neither."""
    turn: int | None = None
    mirror = 0
    for name, start, end in _boxes(data, 0, len(data)):
        if name == b"irot" and start < end:
            turn = data[start] & 3
        elif name == b"imir" and start < end:
            mirror = 1 + (data[start] & 1)
    if turn is None and not mirror:
        return None
    return _TURNS[turn or 0][mirror]


def _boxes(data: Buffer, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the body of each box of AVIF that may hold the orientation (ISO/IEC 14496-12, 4.2)."""
    while position + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if length == 1 and start + 8 <= end:
            length, start = struct.unpack_from(">Q", data, start)[0], start + 8
        stop = min(position + length, end) if length else end
        if stop < start:
            return
        yield name, start, stop
        if name in _BOXES_INSIDE:
            yield from _boxes(data, start + _BOXES_INSIDE[name], stop)
        position = stop


def png_chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the body of each chunk of a PNG; the end may lie beyond that of the file."""
    position = 8
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position + 8, position + 8 + length
        position += 12 + length


def _webp_exif(data: Buffer) -> bytes:
    """EXIF of a WebP; empty if there is none."""
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"EXIF":
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return b""
