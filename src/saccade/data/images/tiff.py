"""TIFF files of any number of channels, which neither OpenCV nor Pillow reads: satellite and medical images.

An image of n interleaved channels is stored like a grey image of n times its width, and one of separate planes like
n grey images. So the directory of the file is rewritten as that of grey images, and Pillow decompresses them (OpenCV
does not report damaged blocks).
"""

from __future__ import annotations

import io
import mmap
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError

__all__ = ["HEIGHT", "ORIENTATION", "WIDTH", "decode_tiff", "has_many_channels", "is_cut_short", "tiff_tags"]

# Tags (TIFF 6.0, section 8).
WIDTH, HEIGHT, ORIENTATION = 256, 257, 274
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS_PER_STRIP, _PLANAR = 258, 259, 262, 277, 278, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 317, 322, 323, 339
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts

_MAGIC = (b"II*\0", b"MM\0*")
_KINDS = {1: "B", 3: "H", 4: "I"}
# Codecs that work on bytes whatever the samples mean: none, LZW, deflate (two numbers), PackBits.
_CODECS = (1, 5, 8, 32773, 32946)
_PREDICTED_CODECS = (5, 8, 32946)
_MAX_VALUES = 1 << 30

Buffer = bytes | mmap.mmap


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
    samples = tags.get(_SAMPLES, 1)
    return samples > 4 or (samples > 2 and tags.get(_PHOTOMETRIC) in (0, 1))


def is_cut_short(data: bytes) -> bool:
    """Whether the pixels of a TIFF, as its directory places them, are beyond its end.

    Example:
        >>> from PIL import Image
        >>> Image.new("L", (64, 48)).save("grey.tif")
        >>> data = Path("grey.tif").read_bytes()
        >>> is_cut_short(data), is_cut_short(data[:-100])
        (False, True)
    """
    found = _directory(data)
    for offsets, counts in (_STRIPS, _TILES):
        if offsets in found and counts in found:
            blocks = zip(_values(data, found[offsets]), _values(data, found[counts]), strict=False)
            return any(offset + count > len(data) for offset, count in blocks)
    return False


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
    height, width, samples = tags.get(HEIGHT, 0), tags.get(WIDTH, 0), tags.get(_SAMPLES, 1)
    bits, formats = (_values(data, found[tag]) if tag in found else () for tag in (_BITS, _SAMPLE_FORMAT))
    codec = tags.get(_COMPRESSION, 1)
    if len(set(bits)) != 1 or bits[0] not in (8, 16) or set(formats) - {1}:
        raise DataError(
            f"{name}: the TIFF has {'/'.join(map(str, sorted(set(bits))))} bits a sample"
            f"{', not whole numbers' if set(formats) - {1} else ''}; only whole numbers of 8 and 16 bits are read. "
            "Convert the file."
        )
    if codec not in _CODECS:
        raise DataError(f"{name}: a TIFF of {samples} channels in compression {codec} is not read. Save it as LZW.")
    if not 0 < height * width * samples <= _MAX_VALUES:
        raise DataError(f"{name}: {width}x{height} pixels of {samples} channels are too many. Cut it into tiles.")
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
        grey = {WIDTH: [width * wider], HEIGHT: [height], _BITS: [bits[0]], _COMPRESSION: [codec], _PHOTOMETRIC: [1]}
        patched = _with_directory(data, {**grey, **where, _SAMPLES: [1], **layout})
        decoded.append(_decode_grey(patched, (height, width, wider), name))
    pixels = np.concatenate(decoded, axis=2)
    if tags.get(_PREDICTOR) == 2 and codec in _PREDICTED_CODECS:
        for left in range(0, width, block_width):  # each sample is stored as the difference to its left neighbour
            part = pixels[:, left : left + block_width]
            pixels[:, left : left + block_width] = np.cumsum(part, axis=1, dtype=pixels.dtype)
    return pixels


def _decode_grey(data: bytes, shape: tuple[int, int, int], name: str) -> NDArray[Any]:
    """Pixels of a grey TIFF, split into channels."""
    from PIL import Image
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The class itself, because Image.open would count n times the pixels against its limit.
            pixels = np.array(TiffImageFile(io.BytesIO(data))).reshape(shape)
    except (
        OSError,
        SyntaxError,
        ValueError,
        KeyError,
        TypeError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
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
        if tag in (_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES):
            kind, values = 3, struct.pack(order + "HH", tags[tag][0], 0)
        if len(values) > 4:
            values, body = struct.pack(order + "I", len(body)), body + values
        entries += struct.pack(order + "HHI", tag, kind, len(tags[tag])) + values
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
    return data[:4] + struct.pack(order + "I", len(body)) + body[8:] + directory
