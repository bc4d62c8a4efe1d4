"""Images and label maps from files: decoded by content, turned upright, limited in size, named when broken.

The rules:

- *Format* is recognised by content, never by the file's suffix.
- *Orientation* of EXIF, or of AVIF's own properties, is applied once, so pixels and labels agree.
- *Channels*: 3 gives RGB (grey is repeated), 1 gives grey (ITU-R BT.601 luma of a colour image). Any other number
  must be that of the file, which is then kept as stored (RGBA, TIFF of many channels).
- *Alpha* is dropped, unless four channels are asked for; the colour stored under it is kept.
- *Depth*: 16 bits become 8 unless ``allow_16bit`` is set; fractions and wider numbers follow
  :func:`saccade.data.images.depth.to_uint8`, as they do in arrays and Pillow images.
- *Animations* and files of many pages give their first image.
- *Size and depth* are read from the header, and refused above ``MAX_PIXELS`` pixels or ``MAX_BYTES`` of memory, what
  the decoder needs included, before any pixel is decoded.
- *Damage* is looked for before decoding, because decoders often give wrong pixels instead of an error, or write to the
  terminal: checksums of PNG, end markers, blocks of TIFF (:mod:`saccade.data.images.tiff`).
"""

from __future__ import annotations

import functools
import io
import mmap
import os
import re
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.depth import to_uint8
from saccade.data.images.headers import (
    ImageHeader,
    image_orientation,
    is_jpeg,
    is_png,
    png_chunks,
    read_header,
)
from saccade.data.images.quiet import quiet_decoders
from saccade.data.images.tiff import PILLOW_ERRORS, Buffer, decode_tiff, has_many_channels, tiff_fault, tiff_tags
from saccade.errors import DataError
from saccade.structures.reading import require_regular

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_BYTES",
    "MAX_PIXELS",
    "decode_jpeg",
    "image_size",
    "match_channels",
    "read_image",
    "read_label_map",
    "upright_size",
]

MAX_PIXELS = 200_000_000
MAX_BYTES = 1_500_000_000  # that an image may take while it is decoded
# Suffixes by which images are found in a folder. The format itself is recognised by content.
IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
        *(".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)

_COPY_AGAIN = "Copy it again, or remove it from the data set."
_PNM_HEADER = 1024  # bytes that are searched; it may hold comments
_FIRST_TURNED = 5  # orientations 5 to 8 exchange height and width
# Chunks of a PNG that its pixels depend on; of the others libpng writes warnings to the terminal.
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_SIDE_CHUNKS = frozenset(
    b"cHRM gAMA iCCP sBIT sRGB bKGD hIST pHYs sPLT tIME iTXt tEXt zTXt eXIf acTL fcTL fdAT cICP mDCV cLLI".split()
)
_PALETTE = 3  # colour type of a PNG whose pixels are indices
# Bytes a pixel that decoders of some formats take in all; others take the file's own values and the result.
_WORKING_BYTES = {"JPEG": 7, "GIF": 8, "AVIF": 15, "WEBP": 11}
_BY_PILLOW = ("AVIF", "DIB", "GIF")
_BAND = 1 << 22  # pixels that are taken from Pillow at a time


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
        DataError: If the file is missing, empty, damaged, too large, or of a format, depth or number of channels that
            is not read.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("photo.png", np.full((48, 64, 3), 255, np.uint8))
        >>> read_image("photo.png").shape, read_image("photo.png", channels=1).shape
        ((48, 64, 3), (48, 64, 1))
    """
    data, name = _load(source, name)
    as_stored = channels not in (1, 3) or has_many_channels(data)
    header = _check(data, name, as_stored)
    pixels = _decode_as_stored(data, name, header, channels) if as_stored else _decode(data, name, header)
    pixels = _scale_to_peak(pixels, data)
    if pixels.dtype != np.uint16 or not allow_16bit:
        pixels = to_uint8(pixels, name)
    if as_stored:
        return pixels
    cv2 = _opencv()
    grey = pixels.ndim == 2
    if channels == 1:
        return (pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[:, :, None]
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if grey else pixels


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
    data, name = _load(path)
    header = _check(data, name)
    if is_png(data) and data[25] == _PALETTE:  # which OpenCV would turn into colours
        return _decode_with_pillow(_pixel_chunks(data), name)
    values = _decode_unchanged(data, name, header)
    if values.ndim == 3:
        if not (np.array_equal(values[..., 0], values[..., 1]) and np.array_equal(values[..., 0], values[..., 2])):
            raise DataError(
                f"{name}: the label map holds colours, not label values. Save one grey or palette value a pixel, or "
                "give the class of each colour by 'palette' in saccade.yaml."
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
    header = read_header(data, name)
    return header.height, header.width


def upright_size(source: str | Path | bytes) -> tuple[int, int]:
    """(height, width) as :func:`read_image` gives the image, from the header alone; EXIF orientation is applied.

    Raises:
        DataError: If the file is missing or empty, or its header is of no known format.

    Example:
        >>> from PIL import Image
        >>> exif = Image.Exif()
        >>> exif[274] = 6  # the orientation
        >>> Image.new("RGB", (64, 48)).save("turned.jpg", exif=exif)
        >>> image_size("turned.jpg"), upright_size("turned.jpg")
        ((48, 64), (64, 48))
    """
    data, name = _view(source)
    header = read_header(data, name)
    turned = image_orientation(data) >= _FIRST_TURNED
    return (header.width, header.height) if turned else (header.height, header.width)


def decode_jpeg(data: bytes, name: str, grey: bool = False, reduce: int = 1) -> NDArray[np.uint8]:
    """Upright pixels of a JPEG, at its full size or at 1/2, 1/4 or 1/8, which cost less to decode.

    Args:
        data: The file.
        name: What messages call it.
        grey: Give its luma alone.
        reduce: 1, 2, 4 or 8.

    Returns:
        (H, W) of a grey JPEG or if asked for, else (H, W, 3) RGB.

    Raises:
        DataError: If it cannot be decoded.

    Example:
        >>> import cv2
        >>> data = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        >>> decode_jpeg(data, "a.jpg").shape, decode_jpeg(data, "a.jpg", grey=True, reduce=4).shape
        ((48, 64, 3), (12, 16))
    """
    cv2 = _opencv()
    color = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_ANYCOLOR
    if reduce > 1:
        color = getattr(cv2, f"IMREAD_REDUCED_{'GRAYSCALE' if grey else 'COLOR'}_{reduce}")
    pixels = _decode_with_opencv(data, name, color | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return np.ascontiguousarray(_turn(pixels, image_orientation(data)))


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
    if not _size_of_file(source, name):  # an empty file cannot be mapped
        raise DataError(f"{name}: the file is empty. {_COPY_AGAIN}")
    try:
        with Path(source).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), name
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: the file cannot be opened ({error}). Check its name and permissions.") from error


def _load(source: str | Path | bytes, name: str | None = None) -> tuple[bytes, str]:
    """Encoded bytes, and a name for messages."""
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    if isinstance(source, bytes):
        data = source
    else:
        size = _size_of_file(source, name)
        if size > MAX_BYTES:
            raise DataError(f"{name}: {size:,} bytes exceed the limit of {MAX_BYTES:,}. Cut the image into tiles.")
        try:
            data = Path(source).read_bytes()  # any file name; cv2.imread fails on some of them on Windows
        except OSError as error:
            raise DataError(f"{name}: the file cannot be opened ({error}). Check its permissions.") from error
    if not data:
        raise DataError(f"{name}: the file is empty. {_COPY_AGAIN}")
    return data, name


def _size_of_file(source: str | Path, name: str) -> int:
    """Bytes of a file that exists and is a regular one: no pipe or device, which might never end."""
    try:
        return require_regular(source)
    except DataError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            remedy = "Restore it, or remove it from the annotations."
            raise DataError(f"{name}: the file does not exist. {remedy}") from error
        problem = str(error).removeprefix(f"{source}: ")
        raise DataError(f"{name}: the file cannot be opened: {problem}") from error


@functools.cache
def _opencv() -> Any:
    """OpenCV, which no longer writes to the terminal what its decoders find: our messages name the file."""
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _check(data: bytes, name: str, as_stored: bool = False) -> ImageHeader:
    """Refuse what is too large to decode, ends early or is damaged; the header of what is not."""
    header = read_header(data, name)
    height, width = header.height, header.width
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{name}: {width}x{height} pixels exceed the limit of {MAX_PIXELS:,}. Cut the image into tiles."
        )
    if not height * width:
        raise DataError(f"{name}: the image has {width}x{height} pixels, it is damaged. {_COPY_AGAIN}")
    stored = header.samples * -(-header.bits // 8)
    copies = 5 if header.format == "JPEG2000" else 3 if as_stored else 1
    needed = height * width * _WORKING_BYTES.get(header.format, copies * stored + 3)
    if needed > MAX_BYTES:
        raise DataError(
            f"{name}: {width}x{height} pixels of {header.samples} channels and {header.bits} bits take "
            f"{needed / 1e9:.1f} GB to decode, which exceed the limit of {MAX_BYTES / 1e9:.1f} GB. "
            "Cut the image into tiles, or save it with fewer channels or bits."
        )
    # Some decoders silently fill the missing part of a truncated image with grey. The end marker is searched behind the
    # header, because an embedded thumbnail in front of it has one of its own.
    end_marker = b"\xff\xd9" if is_jpeg(data) else b"IEND" if is_png(data) else b""
    if data.rfind(end_marker) < header.end:
        raise DataError(f"{name}: the file ends before its end marker, it is truncated. {_COPY_AGAIN}")
    fault = _png_fault(data) if is_png(data) else tiff_fault(data)
    if fault:
        raise DataError(f"{name}: {fault}. {_COPY_AGAIN}")
    return header


def _png_fault(data: bytes) -> str:
    """A chunk whose checksum is wrong, or that the file does not hold whole; empty if there is none.

    Texts, profiles and the like may be damaged, since they are not read.
    """
    view = memoryview(data)
    found = set()
    for chunk, start, end in png_chunks(data):
        if end + 4 > len(data):
            return "the file ends within its pixels, it is truncated"
        if chunk not in _SIDE_CHUNKS:
            if zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
                return "the image is damaged, the checksum of a part is wrong"
            found.add(chunk)
        if chunk == b"IEND":
            needed = {b"IHDR", b"IDAT"} | ({b"PLTE"} if data[25] == _PALETTE else set())
            return "" if needed <= found else "the image is damaged, a part is missing"
    return "the file ends before its end marker, it is truncated"


def _pixel_chunks(data: bytes) -> bytes:
    """The PNG without what its pixels do not depend on: colour profiles, texts, thumbnails, animations."""
    view, parts = memoryview(data), [memoryview(data)[:8]]
    for chunk, start, end in png_chunks(data):
        if chunk in _PIXEL_CHUNKS:
            parts.append(view[start - 8 : end + 4])
        if chunk == b"IEND":
            break
    return data if sum(map(len, parts)) == len(data) else b"".join(parts)


def _decode(data: bytes, name: str, header: ImageHeader) -> NDArray[Any]:
    """Upright pixels as stored: (H, W), or (H, W, 3) RGB."""
    if header.format == "JPEG":
        return decode_jpeg(data, name)
    if header.format in _BY_PILLOW:
        pixels: NDArray[Any] = _decode_with_pillow(data, name, "RGB")
    else:
        cv2 = _opencv()
        upright = cv2.IMREAD_IGNORE_ORIENTATION if header.format != "TIFF" else 0  # OpenCV turns TIFFs in any case
        pixels = _decode_with_opencv(data, name, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | upright)
        if pixels.ndim == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
        if header.format == "TIFF":
            return pixels
    return np.ascontiguousarray(_turn(pixels, image_orientation(data)))


def _decode_as_stored(data: bytes, name: str, header: ImageHeader, channels: int) -> NDArray[Any]:
    """(H, W, channels) RGB, RGBA or whatever the file holds, upright."""
    pixels = decode_tiff(data, name) if tiff_tags(data) else _decode_unchanged(data, name, header)
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    if not is_jpeg(data):
        pixels = _turn(pixels, image_orientation(data))
    if pixels.shape[2] != channels:
        raise DataError(
            f"{name}: the image has {pixels.shape[2]} channels, not {channels}. "
            f"Open the data set with channels={pixels.shape[2]}, or convert the file."
        )
    return np.ascontiguousarray(pixels)


def _decode_unchanged(data: bytes, name: str, header: ImageHeader) -> NDArray[Any]:
    """(H, W), or (H, W, C) as RGB or RGBA, not turned but for JPEG."""
    if is_jpeg(data):
        return decode_jpeg(data, name)
    if header.format in _BY_PILLOW:
        return _decode_with_pillow(data, name, "RGB")
    pixels = _decode_with_opencv(data, name, _opencv().IMREAD_UNCHANGED)
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels


def _decode_with_opencv(data: bytes, name: str, flags: int) -> NDArray[Any]:
    """Pixels as OpenCV gives them: BGR, BGRA or grey."""
    cv2 = _opencv()
    encoded = _pixel_chunks(data) if is_png(data) else data
    try:
        with quiet_decoders():
            pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise DataError(
            f"{name}: the image cannot be decoded ({' '.join(str(error).split())}). Convert it to PNG or JPEG."
        ) from error
    if pixels is None:
        raise DataError(f"{name}: the image is truncated or damaged. {_COPY_AGAIN}")
    return pixels


def _turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Upright pixels from those stored with an EXIF orientation of 1 to 8 (EXIF 2.32, section 4.6.4)."""
    if orientation >= _FIRST_TURNED:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _scale_to_peak(pixels: NDArray[Any], data: bytes) -> NDArray[Any]:
    """Pixels of a PGM or PPM scaled to the full range: its header gives the value of white, which decoders ignore."""
    header = re.match(rb"P[2356]" + rb"(?:\s|#[^\n]*\n)+(\d+)" * 3 + rb"\s", data[:_PNM_HEADER])  # width, height, white
    if header is None:
        return pixels
    white = np.iinfo(pixels.dtype).max
    peak = int(header[3])
    if peak == white or not 0 < peak <= white:
        return pixels
    return np.minimum((pixels.astype(np.uint32) * white + peak // 2) // peak, white).astype(pixels.dtype)


def _decode_with_pillow(data: bytes, name: str, mode: str | None = None) -> NDArray[np.uint8]:
    """Pixels in a mode of Pillow; without one the indices of a palette image, of which OpenCV gives only colours."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit here is MAX_PIXELS
            image = Image.open(io.BytesIO(data), formats=["PNG", *_BY_PILLOW])
        with image:
            return _take_pixels(image, mode or image.mode)
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: the image is truncated or damaged ({error}). {_COPY_AGAIN}") from error


def _take_pixels(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    """Pixels of a Pillow image in some mode; of a large one in bands, because each copy of it takes memory."""
    image.load()
    rows = max(_BAND // image.width, 1)
    if image.height <= rows:
        return np.array(image if image.mode == mode else image.convert(mode), np.uint8)
    bands = (image.crop((0, top, image.width, min(top + rows, image.height))) for top in range(0, image.height, rows))
    pixels: NDArray[np.uint8] | None = None
    top = 0
    for band in bands:
        part = np.asarray(band if band.mode == mode else band.convert(mode), np.uint8)
        if pixels is None:
            pixels = np.empty((image.height, *part.shape[1:]), np.uint8)
        pixels[top : top + len(part)] = part
        top += len(part)
    assert pixels is not None, "an image has rows"
    return pixels
