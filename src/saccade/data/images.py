"""Pictures and label maps from files: decoded by content, turned upright, limited in size, named when broken.

The rules, in one place:

- *Format* is told by content, never by the file's suffix.
- *Orientation* of EXIF is applied, so pixels and labels agree.
- *Channels*: 3 gives RGB (grey is repeated), 1 gives grey (ITU-R BT.601 luma of a colour picture).
- *Alpha* is dropped; the colour stored under it is kept.
- *16 bits* become 8 by ``round(value / 257)``, which takes 0..65535 to 0..255 exactly, unless ``allow_16bit`` is set.
- *Size* is read from the header and refused above ``MAX_PIXELS`` before any pixel is decoded.
"""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "image_size", "read_image", "read_label_map"]

MAX_PIXELS = 200_000_000
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

_PNG = b"\x89PNG\r\n\x1a\n"
_COPY_AGAIN = "Copy it again, or remove it from the data set."
_JPEG = b"\xff\xd8"
# Start-of-frame markers of JPEG: 0xC0..0xCF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_image(source: str | Path | bytes, channels: int = 3, allow_16bit: bool = False) -> NDArray[Any]:
    """Decode a picture by the rules of this module.

    Args:
        source: File, or the encoded bytes themselves.
        channels: 3 for RGB, 1 for grey.
        allow_16bit: Keep the 16 bits of a 16-bit file instead of scaling to 8.

    Returns:
        Pixels, shape (H, W, channels), uint8; uint16 for a 16-bit file if asked.

    Raises:
        DataError: If the file is missing, empty, truncated, too large, or of a format or depth that is not read.

    Example:
        >>> read_image("photo.jpg").shape
        (480, 640, 3)
    """
    import cv2

    data, name = _load(source)
    pixels = _decode(data, name, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if pixels.dtype == np.uint16:
        if not allow_16bit:
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise DataError(
            f"{name}: pixels are {pixels.dtype}; only 8 and 16 bits are read. Convert the file to 8 or 16 bits."
        )
    grey = pixels.ndim == 2
    if channels == 1:
        return (pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))[:, :, None]
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB)


def read_label_map(path: str | Path) -> NDArray[Any]:
    """Decode a picture whose pixel values are labels: grey values, or palette indices (never the palette's colours).

    Args:
        path: Label map; a colour picture is taken only if its three channels are equal.

    Returns:
        Values as stored, shape (H, W), uint8 or uint16.

    Raises:
        DataError: If the file is broken (as in :func:`read_image`), or holds colours rather than label values.
    """
    import cv2

    data, name = _load(path)
    # Byte 25 of a PNG is its colour type; 3 is a palette, which OpenCV would turn into colours.
    if data.startswith(_PNG) and data[25:26] == b"\x03":
        return _decode_palette(data, name)
    values = _decode(data, name, cv2.IMREAD_UNCHANGED)
    if values.ndim == 3:
        if not (np.array_equal(values[..., 0], values[..., 1]) and np.array_equal(values[..., 0], values[..., 2])):
            raise DataError(
                f"{name}: the label map holds colours, not label values. Save one grey or palette value a pixel."
            )
        values = np.ascontiguousarray(values[..., 0])
    if values.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{name}: label values are {values.dtype}. Save the label map with 8 or 16 bits a pixel.")
    return values


def image_size(source: str | Path | bytes) -> tuple[int, int]:
    """(height, width) as stored, from the header alone; EXIF orientation is *not* applied.

    Raises:
        DataError: If the file is missing or empty, or its header is of no known format.
    """
    data, name = _load(source)
    return _read_header(data, name)[:2]


def _load(source: str | Path | bytes) -> tuple[bytes, str]:
    """The encoded bytes, with a name for messages."""
    if isinstance(source, bytes):
        data, name = source, "<bytes>"
    else:
        name = str(source)
        try:
            # Python opens any file name; cv2.imread fails on some of them on Windows.
            data = Path(source).read_bytes()
        except FileNotFoundError as error:
            raise DataError(
                f"{name}: the file does not exist. Restore it, or remove it from the annotations."
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: the file cannot be opened ({error}). Check its name and permissions.") from error
    if not data:
        raise DataError(f"{name}: the file is empty. {_COPY_AGAIN}")
    return data, name


def _decode(data: bytes, name: str, flags: int) -> NDArray[Any]:
    """Pixels as OpenCV gives them: BGR or grey."""
    import cv2

    _check(data, name)
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{name}: the picture cannot be decoded ({error}). Convert it to PNG or JPEG.") from error
    if pixels is None:
        raise DataError(f"{name}: the picture is truncated or damaged. {_COPY_AGAIN}")
    return pixels


def _decode_palette(data: bytes, name: str) -> NDArray[np.uint8]:
    """Indices of a palette picture; OpenCV gives only its colours."""
    from PIL import Image

    _check(data, name)
    try:
        return np.array(Image.open(io.BytesIO(data)), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: the label map is damaged ({error}). {_COPY_AGAIN}") from error


def _check(data: bytes, name: str) -> None:
    """Refuse what is too large to decode or ends early."""
    height, width, header_end = _read_header(data, name)
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{name}: {width}x{height} pixels exceed the limit of {MAX_PIXELS:,}. Cut the picture into tiles."
        )
    # Some OpenCV versions fill the missing part of a truncated picture with grey and say nothing. The end marker is
    # looked for behind the header, because an embedded thumbnail in front of it has one of its own.
    end_marker = b"\xff\xd9" if data.startswith(_JPEG) else b"IEND" if data.startswith(_PNG) else b""
    if data.rfind(end_marker) < header_end:
        raise DataError(f"{name}: the file ends before its end marker, it is truncated. {_COPY_AGAIN}")


def _read_header(data: bytes, name: str) -> tuple[int, int, int]:
    """(height, width, position behind both): JPEG and PNG are read here, the rest by Pillow, which decodes lazily."""
    if data.startswith(_PNG) and len(data) >= 26:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width, 24
    if data.startswith(_JPEG):
        return _read_jpeg_header(data, name)
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                return image.height, image.width, 0
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too many pixels ({error}). Cut the picture into tiles.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{name}: this is not a picture in a known format. Convert it to PNG or JPEG, or remove it."
        ) from error


def _read_jpeg_header(data: bytes, name: str) -> tuple[int, int, int]:
    """Walk the segments of a JPEG to its start of frame (ITU-T T.81, B.2.2)."""
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            position += 1  # stray bytes between segments; decoders skip them too
            continue
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width, position + 9
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2  # fill bytes and markers without a body
            continue
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    raise DataError(f"{name}: the JPEG ends before its size is given, it is truncated. {_COPY_AGAIN}")
