"""Images that are read window by window, so that one of any size costs the memory of a tile.

Arrays, memory-mapped arrays, ``.npy`` files and uncompressed TIFF files stay where they are; everything else has to be
decoded whole and is subject to the limit of :mod:`saccade.data.images.decode`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import MAX_PIXELS, read_image, upright_size
from saccade.data.images.tiff import PILLOW_ERRORS
from saccade.data.transforms.resize import shift_pixels
from saccade.engine.predict.sources import AS_GIVEN, Skips, SourceImage, SourceOptions, expand_source, to_pixels
from saccade.errors import DataError
from saccade.structures.reading import require_regular

__all__ = ["LargeImage", "open_images"]


@dataclass(frozen=True)
class LargeImage:
    """Image that is read window by window and need not be in memory.

    Args:
        name: File, or a name such as ``array-3``.
        pixels: (H, W) or (H, W, C), uint8 or uint16; perhaps mapped from a file.
        channels: What a window has, 1 or 3.
        position: Number of the image in the source, for messages.
        frame: Number of the frame in its video, camera or stream; None of an image of its own.
        seconds: Time of that frame.

    Example:
        >>> image = LargeImage("strip.png", np.arange(6, dtype=np.uint8).reshape(1, 6), channels=1)
        >>> image.window(0, -2, size=(1, 5), fill=99)[0, :, 0], image.window(0, -2, size=(1, 5), mirror=True)[0, :, 0]
        (array([99, 99,  0,  1,  2], dtype=uint8), array([2, 1, 0, 1, 2], dtype=uint8))
    """

    name: str
    pixels: NDArray[Any]
    channels: int
    position: int = 0
    frame: int | None = None
    seconds: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Size of the image, (height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def window(self, top: int, left: int, size: tuple[int, int], fill: int = 114, mirror: bool = False) -> NDArray[Any]:
        """Read the pixels of a window, (h, w, channels) uint8.

        Args:
            top: First row; may be negative.
            left: First column; may be negative.
            size: (height, width) of the window, which may reach past the image.
            fill: Grey value outside of the image.
            mirror: Continue the image outside by its mirror image instead (Ronneberger et al. 2015, figure 2).
        """
        height, width = self.size
        rows, columns = np.arange(top, top + size[0]), np.arange(left, left + size[1])
        inside = top >= 0 and left >= 0 and top + size[0] <= height and left + size[1] <= width
        if mirror and not inside:
            block = self.pixels[np.ix_(_reflect(rows, height), _reflect(columns, width))]
            return to_pixels(block, self.channels, self.position)
        y, x = max(top, 0), max(left, 0)
        block = self.pixels[y : max(top + size[0], 0), x : max(left + size[1], 0)]
        return shift_pixels(to_pixels(block, self.channels, self.position), size, y - top, x - left, fill)


def open_images(
    source: Any, channels: int, skips: Skips | None = None, options: SourceOptions = AS_GIVEN
) -> Iterator[LargeImage]:
    """Open the images of a source one by one, mapped from their files where the format allows it.

    Args:
        source: Anything ``engine.predict.sources.iter_source`` takes, and ``.npy`` files of shape (H, W[, C]).
        channels: What the network takes, 1 or 3.
        skips: What happens to things that are no images; an error if not given.
        options: How the source is searched.

    Raises:
        DataError: If nothing is there, or a thing is no image, or too large to be decoded whole.

    Example:
        >>> np.save("scene.npy", np.zeros((300, 400, 3), np.uint8))
        >>> [(image.name, image.size) for image in open_images("scene.npy", channels=3)]
        [('scene.npy', (300, 400))]
    """
    skips = skips or Skips()
    for position, item in enumerate(expand_source(source, skips, options)):
        image = skips.attempt(item.name, partial(_open, item, channels, position))
        if image is not None:
            yield image


def _open(item: SourceImage, channels: int, position: int) -> LargeImage:
    pixels = _open_pixels(item, channels, position)
    return LargeImage(item.name, pixels, channels, position, item.frame, item.seconds)


def _open_pixels(item: SourceImage, channels: int, position: int) -> NDArray[Any]:
    content = item.content
    if isinstance(content, Path):
        return _open_file(content, channels)
    if isinstance(content, bytes):
        return read_image(content, channels, name=item.name)
    if (
        isinstance(content, np.ndarray)
        and content.dtype in (np.uint8, np.uint16)
        and content.ndim in (2, 3)
        and content.size
    ):
        to_pixels(content[:1, :1], channels, position)  # what is no image is refused now, not in the middle
        pixels: NDArray[Any] = content
        return pixels
    # What a value of other types means follows from all of them.
    return to_pixels(content, channels, position)


def _open_file(path: Path, channels: int) -> NDArray[Any]:
    require_regular(path)  # a pipe would be waited for without end
    if path.suffix.lower() == ".npy":
        try:
            with path.open("rb") as file:
                if file.read(6) != b"\x93NUMPY":  # numpy.load takes archives and pickles as well
                    raise ValueError("it does not begin as one")
            pixels: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, TypeError, ArithmeticError, MemoryError, SyntaxError) as error:
            raise DataError(f"{path}: this is no array file ({error}). Write it with numpy.save.") from error
        if pixels.ndim not in (2, 3) or pixels.dtype != np.uint8 or not pixels.size:
            raise DataError(
                f"{path}: expected pixels (H, W[, C]) as uint8, got {pixels.dtype} {pixels.shape}. "
                "Save the image as bytes 0..255."
            )
        return pixels
    mapped = _map_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else None
    if mapped is not None:
        return mapped
    height, width = upright_size(path)
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{path}: {width}x{height} pixels exceed the limit of {MAX_PIXELS:,} for a file that has to be decoded "
            "whole. Save it as a .npy array or as an uncompressed TIFF with 8 bits, which are read in parts."
        )
    return read_image(path, channels)


def _map_tiff(path: Path) -> NDArray[Any] | None:
    """The pixels of a TIFF that stores them as they are, in order and in one place, mapped; None of any other."""
    from PIL import TiffImagePlugin

    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Image.open would refuse large images; here nothing is decoded.
            tags = dict(TiffImagePlugin.TiffImageFile(file).tag_v2)
            return _map_plain(path, tags)
    except PILLOW_ERRORS:
        return None  # the decoder raises the error that names the fault


def _map_plain(path: Path, tags: dict[int, Any]) -> NDArray[Any] | None:
    """The pixels that the directory of a TIFF describes, mapped; None if they are not stored as they are."""
    from PIL import TiffImagePlugin

    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    samples = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    starts, lengths = tags.get(TiffImagePlugin.STRIPOFFSETS), tags.get(TiffImagePlugin.STRIPBYTECOUNTS)
    expected = {
        TiffImagePlugin.COMPRESSION: (1,),
        TiffImagePlugin.PLANAR_CONFIGURATION: (1,),
        TiffImagePlugin.FILLORDER: (1,),
        TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: (1, 2),  # 0 is black where the file is grey; RGB
        _ORIENTATION: (1,),
    }
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    plain = all(tags.get(tag, 1) in values for tag, values in expected.items()) and set(bits) == {8}
    if not plain or samples not in (1, 3, 4) or starts is None or lengths is None:
        return None
    starts, lengths = np.atleast_1d(starts).astype(np.int64), np.atleast_1d(lengths).astype(np.int64)
    in_one_place = len(starts) == len(lengths) and bool((starts[1:] == starts[:-1] + lengths[:-1]).all())
    if not in_one_place or (lengths < 0).any() or lengths.sum() != height * width * samples:
        return None
    if path.stat().st_size < starts[0] + lengths.sum():
        return None
    return np.memmap(path, np.uint8, "r", int(starts[0]), (height, width, samples))


_ORIENTATION = 274


def _reflect(indices: NDArray[Any], length: int) -> NDArray[Any]:
    """Indices continued by mirroring at the first and the last one, which are not repeated."""
    period = max(2 * (length - 1), 1)
    folded = indices % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(indices)
