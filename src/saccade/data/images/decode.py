"""Images and label maps from files: decoded by content, turned upright, limited in size, named when broken.

The rules:

- *Format* is recognised by content, never by the file's suffix.
- *Orientation* of EXIF is applied, so pixels and labels agree.
- *Channels*: 3 gives RGB (grey is repeated), 1 gives grey (ITU-R BT.601 luma of a colour image). Any other number
  must be that of the file, which is then kept as stored (RGBA, TIFF of many channels).
- *Alpha* is dropped, unless four channels are asked for; the colour stored under it is kept.
- *16 bits* become 8 by ``round(value / 257)``, which takes 0..65535 to 0..255 exactly, unless ``allow_16bit`` is set.
- *Animations* and files of many pages give their first image.
- *Size* is read from the header and refused above ``MAX_PIXELS`` before any pixel is decoded.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import re
import stat
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.tiff import (
    HEIGHT,
    ORIENTATION,
    WIDTH,
    Buffer,
    decode_tiff,
    has_many_channels,
    is_cut_short,
    tiff_tags,
)
from saccade.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "image_size",
    "match_channels",
    "read_image",
    "read_label_map",
    "upright_size",
]

MAX_PIXELS = 200_000_000
# Suffixes by which images are found in a folder. The format itself is recognised by content.
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

_PNG = b"\x89PNG\r\n\x1a\n"
_COPY_AGAIN = "Copy it again, or remove it from the data set."
_JPEG = b"\xff\xd8"
# Start-of-frame markers of JPEG: 0xC0..0xCF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNM_HEADER = 1024  # bytes that are searched; it may hold comments
_START_OF_SCAN, _APP1 = 0xDA, 0xE1
_EXIF = b"Exif\0\0"
_FIRST_TURNED = 5  # orientations 5 to 8 exchange height and width


def read_image(
    source: str | Path | bytes, channels: int = 3, allow_16bit: bool = False, name: str | None = None
) -> NDArray[Any]:
    """Decode an image file, or encoded bytes, to upright RGB or grey pixels.

    Args:
        source: File, or the encoded bytes themselves.
        channels: 3 for RGB, 1 for grey, or the file's own number.
        allow_16bit: Keep the 16 bits of a 16-bit file instead of scaling to 8.
        name: What messages call the image; its path if not given.

    Returns:
        Pixels, shape (H, W, channels), uint8; uint16 for a 16-bit file if asked.

    Raises:
        DataError: If the file is missing, empty, truncated, too large, or of a format, depth or number of channels that
            is not read.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("photo.png", np.full((48, 64, 3), 255, np.uint8))
        >>> read_image("photo.png").shape, read_image("photo.png", channels=1).shape
        ((48, 64, 3), (48, 64, 1))
    """
    import cv2

    data, name = _load(source, name)
    as_stored = channels not in (1, 3) or has_many_channels(data)
    pixels = (
        _decode_as_stored(data, name, channels)
        if as_stored
        else _decode(data, name, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{name}: pixels are {pixels.dtype}; only 8 and 16 bits are read. Convert the file to 8 or 16 bits."
        )
    pixels = _scale_to_peak(pixels, data)
    if pixels.dtype == np.uint16 and not allow_16bit:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if as_stored:
        return pixels
    grey = pixels.ndim == 2
    if channels == 1:
        return (pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))[:, :, None]
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB)


def read_label_map(path: str | Path) -> NDArray[Any]:
    """Decode a label map: grey values, or palette indices (never the palette's colours).

    Args:
        path: Label map; a colour image is taken only if its three channels are equal.

    Returns:
        Values as stored, shape (H, W), uint8 or uint16.

    Raises:
        DataError: If the file is broken (as in :func:`read_image`), or holds colours rather than label values.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("labels.png", np.array([[0, 1], [255, 1]], np.uint8))
        >>> read_label_map("labels.png")
        array([[  0,   1],
               [255,   1]], dtype=uint8)
    """
    import cv2

    data, name = _load(path)
    # Byte 25 of a PNG is its colour type; 3 is a palette, which OpenCV would turn into colours.
    if data.startswith(_PNG) and data[25:26] == b"\x03":
        _check(data, name)
        return _decode_with_pillow(data, name)
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

    Example:
        >>> import cv2
        >>> image_size(cv2.imencode(".png", np.zeros((48, 64, 3)))[1].tobytes())
        (48, 64)
    """
    data, name = _view(source)
    return _read_header(data, name)[:2]


def upright_size(source: str | Path | bytes) -> tuple[int, int]:
    """(height, width) as :func:`read_image` gives the image, from the header alone; EXIF orientation is applied.

    Raises:
        DataError: If the file is missing or empty, or its header is of no known format.

    Example:
        >>> from PIL import Image
        >>> exif = Image.Exif()
        >>> exif[ORIENTATION] = 6
        >>> Image.new("RGB", (64, 48)).save("turned.jpg", exif=exif)
        >>> image_size("turned.jpg"), upright_size("turned.jpg")
        ((48, 64), (64, 48))
    """
    data, name = _view(source)
    height, width, _ = _read_header(data, name)
    return (width, height) if _orientation(data) >= _FIRST_TURNED else (height, width)


def match_channels(pixels: NDArray[Any], channels: int, name: str) -> NDArray[Any]:
    """Pixels with as many channels as a network takes: grey repeated, colour turned to grey, alpha dropped.

    Grey is the luma of ITU-R BT.601; two channels are grey and alpha, four are RGB and alpha.

    Args:
        pixels: (H, W, C), RGB order.
        channels: Channels that the network takes.
        name: What the message calls the image.

    Returns:
        Pixels (H, W, channels), in one piece; the same array where nothing changes.

    Raises:
        DataError: If the channels cannot be converted.

    Example:
        >>> match_channels(np.zeros((4, 6, 1), np.uint8), 3, "grey.png").shape
        (4, 6, 3)
        >>> match_channels(np.zeros((4, 6, 4), np.uint8), 1, "icon.png").shape
        (4, 6, 1)
    """
    have = pixels.shape[2]
    if have == channels:
        return np.ascontiguousarray(pixels)
    if have in (1, 2) and channels in (1, 3):
        return np.repeat(pixels[..., :1], channels, axis=2)
    if have == 4 and channels == 3:
        return np.ascontiguousarray(pixels[..., :3])
    if have in (3, 4) and channels == 1:
        import cv2

        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY))[..., None]
    raise DataError(
        f"{name}: the image has {have} channels, the network takes {channels}. "
        f"Build the model with channels={have}, or convert the image."
    )


def _view(source: str | Path | bytes) -> tuple[Buffer, str]:
    """Memory map of a file, of which only the pages of the header are read."""
    if isinstance(source, bytes):
        return _load(source)
    name = str(source)
    with _named_errors(name), Path(source).open("rb") as file:
        if file.seek(0, io.SEEK_END):  # an empty file cannot be mapped
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), name
    raise DataError(f"{name}: the file is empty. {_COPY_AGAIN}")


def _load(source: str | Path | bytes, name: str | None = None) -> tuple[bytes, str]:
    """Encoded bytes, and a name for messages."""
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    if isinstance(source, bytes):
        data = source
    else:
        with _named_errors(name):
            path = Path(source)
            if stat.S_ISFIFO(path.stat().st_mode):
                raise DataError(f"{name}: this is a pipe, which might never end. Save the image as a file.")
            # Python opens any file name; cv2.imread fails on some of them on Windows.
            data = path.read_bytes()
    if not data:
        raise DataError(f"{name}: the file is empty. {_COPY_AGAIN}")
    return data, name


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn errors of the file system into errors with the file's name and a remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{name}: the file does not exist. Restore it, or remove it from the annotations.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: the file cannot be opened ({error}). Check its name and permissions.") from error


def _decode(data: bytes, name: str, flags: int) -> NDArray[Any]:
    """Pixels as OpenCV gives them: BGR or grey."""
    import cv2

    _check(data, name)
    if data[:4] == b"GIF8":
        return np.ascontiguousarray(_decode_with_pillow(data, name, "RGB")[..., ::-1])
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{name}: the image cannot be decoded ({error}). Convert it to PNG or JPEG.") from error
    if pixels is None:
        raise DataError(f"{name}: the image is truncated or damaged. {_COPY_AGAIN}")
    return pixels


def _decode_as_stored(data: bytes, name: str, channels: int) -> NDArray[Any]:
    """(H, W, channels) RGB, RGBA or whatever the file holds, upright."""
    import cv2

    if tiff_tags(data):
        _check(data, name)
        pixels = decode_tiff(data, name)
    else:
        pixels = _decode(data, name, cv2.IMREAD_UNCHANGED)
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        if pixels.shape[2] >= 3:
            pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    pixels = _turn(pixels, _orientation(data))
    if pixels.shape[2] != channels:
        raise DataError(
            f"{name}: the image has {pixels.shape[2]} channels, not {channels}. "
            f"Open the data set with channels={pixels.shape[2]}, or convert the file."
        )
    return np.ascontiguousarray(pixels)


def _turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Upright pixels from those stored with an EXIF orientation of 1 to 8 (EXIF 2.32, section 4.6.4)."""
    if orientation >= _FIRST_TURNED:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _scale_to_peak(pixels: NDArray[Any], data: bytes) -> NDArray[Any]:
    """Pixels of a PGM or PPM scaled to the full range: its header gives the value of white, which decoders ignore."""
    header = re.match(rb"P[2356]" + rb"(?:\s|#[^\n]*\n)+(\d+)" * 3 + rb"\s", data[:_PNM_HEADER])  # width, height, white
    white = np.iinfo(pixels.dtype).max
    peak = white if header is None else int(header[3])
    if peak == white or not 0 < peak <= white:
        return pixels
    return np.minimum((pixels.astype(np.uint32) * white + peak // 2) // peak, white).astype(pixels.dtype)


def _decode_with_pillow(data: bytes, name: str, mode: str | None = None) -> NDArray[np.uint8]:
    """Pixels in a mode of Pillow; without one the indices of a palette image, of which OpenCV gives only colours."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is MAX_PIXELS
            image = Image.open(io.BytesIO(data))
        with image:
            return np.array(image if mode is None else image.convert(mode), np.uint8)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: the image is truncated or damaged ({error}). {_COPY_AGAIN}") from error


def _check(data: bytes, name: str) -> None:
    """Refuse what is too large to decode or ends early."""
    height, width, header_end = _read_header(data, name)
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{name}: {width}x{height} pixels exceed the limit of {MAX_PIXELS:,}. Cut the image into tiles."
        )
    # Some OpenCV versions silently fill the missing part of a truncated image with grey. The end marker is searched
    # behind the header, because an embedded thumbnail in front of it has one of its own.
    end_marker = b"\xff\xd9" if data.startswith(_JPEG) else b"IEND" if data.startswith(_PNG) else b""
    if data.rfind(end_marker) < header_end or is_cut_short(data):
        raise DataError(f"{name}: the file ends before its end marker, it is truncated. {_COPY_AGAIN}")


def _read_header(data: Buffer, name: str) -> tuple[int, int, int]:
    """(height, width, position behind both): JPEG and PNG are read here, the rest by Pillow, which decodes lazily."""
    if data[:8] == _PNG and len(data) >= 26:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width, 24
    if data[:2] == _JPEG:
        return _read_jpeg_header(data, name)
    tags = tiff_tags(data)
    if WIDTH in tags and HEIGHT in tags:
        return tags[HEIGHT], tags[WIDTH], 0
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large images have a limit of their own, broken ones an error
            with Image.open(io.BytesIO(data)) as image:
                return image.height, image.width, 0
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too many pixels ({error}). Cut the image into tiles.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{name}: this is not an image in a known format. Convert it to PNG or JPEG, or remove it."
        ) from error


def _read_jpeg_header(data: Buffer, name: str) -> tuple[int, int, int]:
    for marker, start, end in _jpeg_segments(data):
        if marker in _START_OF_FRAME and start + 5 <= min(end, len(data)):
            height, width = struct.unpack_from(">HH", data, start + 1)
            return height, width, start + 5
    raise DataError(f"{name}: the JPEG ends before its size is given, it is truncated. {_COPY_AGAIN}")


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


def _orientation(data: Buffer) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where there is none or an invalid one."""
    if data[:2] == _JPEG:
        bodies = (data[start:end] for marker, start, end in _jpeg_segments(data) if marker == _APP1)
        exif = next((body for body in bodies if body.startswith(_EXIF)), b"")
    elif data[:8] == _PNG:
        exif = _find_chunk(data, b"eXIf")
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        exif = _find_chunk(data, b"EXIF")
    else:
        return _valid_orientation(tiff_tags(data))  # a TIFF is such a directory itself
    return _valid_orientation(tiff_tags(exif.removeprefix(_EXIF)))


def _valid_orientation(tags: dict[int, int]) -> int:
    found = tags.get(ORIENTATION, 1)
    return found if 1 <= found <= 8 else 1


def _find_chunk(data: Buffer, wanted: bytes) -> bytes:
    """Body of the first chunk of that name in a PNG or a RIFF file (WebP); empty if there is none."""
    png = data[:8] == _PNG
    position = 8 if png else 12
    while position + 8 <= len(data):
        fields = struct.unpack_from(">I4s" if png else "<4sI", data, position)
        length, name = fields if png else fields[::-1]
        if name == wanted:
            return data[position + 8 : position + 8 + length]
        position += 8 + length + (4 if png else length % 2)  # a checksum, or padding
    return b""
