"""TIFF files of any number of channels, which neither OpenCV nor Pillow reads: satellite and medical images.

An image of n interleaved channels is stored like a grey image of n times its width, and one of separate planes like
n grey images. So the directory of the file is rewritten as that of grey images, and Pillow decompresses them (OpenCV
does not report damaged blocks).
"""

from __future__ import annotations

import io
import logging
import mmap
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.tiff_blocks import DEFLATE, LZW, PACKBITS, UNCOMPRESSED, block_fault
from saccade.errors import DataError

__all__ = [
    "BITS",
    "HEIGHT",
    "ORIENTATION",
    "PILLOW_ERRORS",
    "SAMPLES",
    "WIDTH",
    "decode_tiff",
    "has_many_channels",
    "tiff_fault",
    "tiff_tags",
]

# Tags (TIFF 6.0, section 8).
WIDTH, HEIGHT, ORIENTATION = 256, 257, 274
BITS, _COMPRESSION, _PHOTOMETRIC, SAMPLES, _ROWS_PER_STRIP, _PLANAR = 258, 259, 262, 277, 278, 284
_FILL_ORDER, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 266, 317, 322, 323, 339
_YCBCR = 6  # photometric interpretation in which blocks may hold fewer samples than pixels
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts

_MAGIC = (b"II*\0", b"MM\0*")
_KINDS = {1: "B", 3: "H", 4: "I"}
# Codecs that work on bytes whatever the samples mean.
_CODECS = (UNCOMPRESSED, LZW, PACKBITS, *DEFLATE)
_PREDICTED_CODECS = (LZW, *DEFLATE)
_MAX_BLOCK = 1 << 30  # bytes of a strip or tile

Buffer = bytes | mmap.mmap

# Without a handler of its own Python prints what Pillow logs about a file; the message here names the file.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# What Pillow raises on files that are no image, or a damaged one.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)


def tiff_tags(data: Buffer) -> dict[int, int]:
    """Integer fields of the first directory of a TIFF or EXIF structure: first value by tag; empty if broken.

    Example:
        >>> from PIL import Image
        >>> Image.new("L", (64, 48)).save("grey.tif")
        >>> tags = tiff_tags(Path("grey.tif").read_bytes())
        >>> tags[HEIGHT], tags[WIDTH]
        (48, 64)
    """
    return {tag: values[0] for tag, entry in _directory(data).items() if (values := _values(data, entry, limit=1))}


def has_many_channels(data: Buffer) -> bool:
    """Whether this is a TIFF whose channels are neither grey nor RGB, with or without alpha.

    Example:
        >>> from PIL import Image
        >>> Image.new("RGB", (64, 48)).save("colour.tif")
        >>> has_many_channels(Path("colour.tif").read_bytes())
        False
    """
    tags = tiff_tags(data)
    samples = tags.get(SAMPLES, 1)
    return samples > 4 or (samples > 2 and tags.get(_PHOTOMETRIC) in (0, 1))


def tiff_fault(data: bytes) -> str:
    """Why the pixels of a TIFF cannot be read as its directory states; empty if nothing is found, or it is no TIFF.

    Every strip or tile has to lie in the file and to decode to its full size (:mod:`saccade.data.images.tiff_blocks`).

    Example:
        >>> from PIL import Image
        >>> Image.new("L", (64, 48)).save("grey.tif")
        >>> data = Path("grey.tif").read_bytes()
        >>> tiff_fault(data), tiff_fault(data[:-100])
        ('', 'strip 0 ends behind the file, it is truncated')
    """
    found = _directory(data)
    tags = tiff_tags(data)
    tiled = _TILES[0] in found
    where, counts = _TILES if tiled else _STRIPS
    if WIDTH not in tags or HEIGHT not in tags or where not in found or counts not in found:
        return ""  # of a kind that decoders know better, such as JPEG in TIFF 6.0's own manner
    width, height, samples = tags[WIDTH], tags[HEIGHT], max(tags.get(SAMPLES, 1), 1)
    if not width * height:
        return "it has no pixels"
    planes = samples if tags.get(_PLANAR) == 2 else 1
    bits = tags.get(BITS, 1) * (samples // planes)
    rows = tags.get(_TILE_HEIGHT, 0) if tiled else min(tags.get(_ROWS_PER_STRIP) or height, height)
    row_bytes = ((tags.get(_TILE_WIDTH, 0) if tiled else width) * bits + 7) // 8
    full = rows * row_bytes
    if not 0 < full <= _MAX_BLOCK:
        return f"its {'tiles' if tiled else 'strips'} are of {full:,} bytes"
    down = -(-height // rows)
    number = down * (-(-width // tags[_TILE_WIDTH]) if tiled else 1) * planes
    offsets, lengths = _values(data, found[where]), _values(data, found[counts])
    if min(len(offsets), len(lengths)) < number:
        return "its directory does not state where all of its pixels are"
    codec, reverse = tags.get(_COMPRESSION, UNCOMPRESSED), tags.get(_FILL_ORDER) == 2
    checked = codec in _CODECS and tags.get(_PHOTOMETRIC) != _YCBCR
    for block, (offset, length) in enumerate(zip(offsets[:number], lengths, strict=False)):
        name = f"{'tile' if tiled else 'strip'} {block}"
        if offset + length > len(data):
            return f"{name} ends behind the file, it is truncated"
        last = not tiled and block % down == down - 1
        size = (height - (down - 1) * rows) * row_bytes if last else full
        fault = block_fault(data[offset : offset + length], codec, size, full, reverse) if checked else ""
        if fault:
            return f"{name} is damaged: {fault}"
    return ""


def decode_tiff(data: bytes, name: str) -> NDArray[Any]:
    """Pixels of the first image of a TIFF with all its channels, as stored; orientation is not applied.

    Args:
        data: The file.
        name: What messages call it.

    Returns:
        (H, W, C), uint8 or uint16.

    Raises:
        DataError: If the file is damaged, or of a kind that is not read.

    Example:
        >>> from PIL import Image
        >>> Image.new("RGBA", (6, 4), (1, 2, 3, 4)).save("bands.tif")
        >>> decode_tiff(Path("bands.tif").read_bytes(), "bands.tif")[0, 0].tolist()
        [1, 2, 3, 4]
    """
    found = _directory(data)
    tags = tiff_tags(data)
    height, width, samples = tags.get(HEIGHT, 0), tags.get(WIDTH, 0), tags.get(SAMPLES, 1)
    bits, formats = (_values(data, found[tag]) if tag in found else () for tag in (BITS, _SAMPLE_FORMAT))
    codec = tags.get(_COMPRESSION, 1)
    if len(set(bits)) != 1 or bits[0] not in (8, 16) or set(formats) - {1}:
        raise DataError(
            f"{name}: the TIFF has {'/'.join(map(str, sorted(set(bits))))} bits a sample"
            f"{', not whole numbers' if set(formats) - {1} else ''}; only whole numbers of 8 and 16 bits are read. "
            "Convert the file."
        )
    if codec not in _CODECS:
        raise DataError(f"{name}: a TIFF of {samples} channels in compression {codec} is not read. Save it as LZW.")
    tiled = _TILES[0] in found
    blocks = [_values(data, found[tag]) if tag in found else () for tag in (_TILES if tiled else _STRIPS)]
    planes = samples if tags.get(_PLANAR) == 2 else 1
    block_width = tags.get(_TILE_WIDTH, 0) if tiled else width
    if not blocks[0] or len(blocks[0]) != len(blocks[1]) or len(blocks[0]) % planes or not block_width:
        raise DataError(f"{name}: the TIFF does not state where its pixels are. Copy it again, or save it anew.")
    wider = samples // planes
    share = len(blocks[0]) // planes
    layout = (
        {_TILE_WIDTH: [block_width * wider], _TILE_HEIGHT: [tags.get(_TILE_HEIGHT, 0)]}
        if tiled
        else {_ROWS_PER_STRIP: [min(tags.get(_ROWS_PER_STRIP) or height, height)]}
    )
    decoded = []
    for plane in range(planes):
        own = [list(values[plane * share : (plane + 1) * share]) for values in blocks]
        where = dict(zip(_TILES if tiled else _STRIPS, own, strict=True))
        grey = {WIDTH: [width * wider], HEIGHT: [height], BITS: [bits[0]], _COMPRESSION: [codec], _PHOTOMETRIC: [1]}
        patched = _with_directory(data, {**grey, **where, SAMPLES: [1], **layout})
        decoded.append(_decode_grey(patched, (height, width, wider), name))
    pixels = np.concatenate(decoded, axis=2)
    if tags.get(_PREDICTOR) == 2 and codec in _PREDICTED_CODECS:
        for left in range(0, width, block_width):  # each sample is stored as the difference to its left neighbour
            part = pixels[:, left : left + block_width]
            pixels[:, left : left + block_width] = np.cumsum(part, axis=1, dtype=pixels.dtype)
    return pixels


def _decode_grey(data: bytes, shape: tuple[int, int, int], name: str) -> NDArray[Any]:
    """Pixels of a grey TIFF, split into channels."""
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The class itself, because Image.open would count n times the pixels against its limit.
            pixels = np.array(TiffImageFile(io.BytesIO(data))).reshape(shape)
    except PILLOW_ERRORS as error:
        raise DataError(
            f"{name}: the TIFF is truncated or damaged ({error}). Copy it again, or remove it from the data set."
        ) from error
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _directory(data: Buffer) -> dict[int, tuple[str, int, int]]:
    """Entries of the first directory by tag: code of the values, how many there are, offset of the first."""
    if data[:4] not in _MAGIC:
        return {}
    order = "<" if data[:2] == b"II" else ">"
    entries: dict[int, tuple[str, int, int]] = {}
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for position in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", data, position)
            code = _KINDS.get(kind)
            if code is not None and number > 0:
                # Values of up to four bytes are in the entry itself.
                inside = struct.calcsize(code) * number <= 4
                where = position + 8 if inside else struct.unpack_from(order + "I", data, position + 8)[0]
                entries[tag] = (order + code, number, where)
    except struct.error:
        pass  # the directory ends early; its first entries are still valid
    return entries


def _values(data: Buffer, entry: tuple[str, int, int], limit: int | None = None) -> tuple[int, ...]:
    """Values of an entry; none if they are beyond the end of the file."""
    code, number, where = entry
    number = number if limit is None else min(number, limit)
    if where + number * struct.calcsize(code) > len(data):
        return ()
    return struct.unpack_from(f"{code[0]}{number}{code[1]}", data, where)


def _with_directory(data: bytes, tags: dict[int, list[int]]) -> bytes:
    """Bytes of a TIFF with another directory of 32-bit numbers at its end; offsets into the file stay valid."""
    order = "<" if data[:2] == b"II" else ">"
    body = data + b"\0" * (len(data) % 2)
    entries = b""
    for tag in sorted(tags):
        values = struct.pack(f"{order}{len(tags[tag])}I", *tags[tag])
        kind = 4
        if tag in (BITS, _COMPRESSION, _PHOTOMETRIC, SAMPLES):
            kind, values = 3, struct.pack(order + "HH", tags[tag][0], 0)
        if len(values) > 4:
            values, body = struct.pack(order + "I", len(body)), body + values
        entries += struct.pack(order + "HHI", tag, kind, len(tags[tag])) + values
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
    return data[:4] + struct.pack(order + "I", len(body)) + body[8:] + directory
