"""Pixels of any depth and colour mode as 8 bits a value: one rule for files, arrays and Pillow images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.tiff import PILLOW_ERRORS
from saccade.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["pillow_pixels", "to_uint8"]

_BAND = 1 << 22  # values that are scaled at a time, so that no second copy of a large image is made
_WHITE_16 = 65535
# Modes of Pillow whose values are an image's brightness as it is; all others are first converted to colours.
_PLAIN_MODES = ("L", "RGB", "1", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_uint8(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Scale pixels to 8 bits by what their type means.

    - 8 bits stay; true and false become white and black.
    - 16 bits become ``round(value / 257)``, which takes 0..65535 to 0..255 exactly.
    - Wider whole numbers, as some tools write 16 bits, are taken for 16 bits where one is above 255. Where none is,
      they may as well be 8 bits, so they are refused.
    - Fractions are 0..1.

    Args:
        pixels: Any shape.
        name: What messages call the image.

    Returns:
        The same shape; the same array where nothing changes.

    Raises:
        DataError: If values are outside of the range of their type, are not finite, or of a type that is no brightness.

    Example:
        >>> to_uint8(np.array([0, 257, 65535], np.uint16), "a.png"), to_uint8(np.array([0.0, 0.5, 1.0]), "array")
        (array([  0,   1, 255], dtype=uint8), array([  0, 128, 255], dtype=uint8))
        >>> to_uint8(np.array([0, 200]), "array")
        Traceback (most recent call last):
        saccade.errors.DataError: array: pixels are int64 from 0 to 200, of which the value of white is not known.
        Convert them to uint8 (0..255), uint16 (0..65535) or float (0..1).
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if not pixels.size:
        return np.zeros(pixels.shape, np.uint8)
    kind = pixels.dtype.kind
    if kind not in "uif":
        raise DataError(f"{name}: pixels are {pixels.dtype}, no numbers of brightness. {_remedy()}")
    low, high = pixels.min(), pixels.max()
    if kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"{name}: a pixel is not finite. Replace it, and give fractions of 0..1.")
        if low < 0 or high > 1:
            raise DataError(
                f"{name}: pixels are fractions from {low:g} to {high:g}, not of 0..1. "
                "Divide them by the value of white."
            )
        return _by_bands(pixels, lambda band: np.rint(band * 255.0))
    if pixels.dtype != np.uint16 and not (low >= 0 and 255 < high <= _WHITE_16):
        raise DataError(
            f"{name}: pixels are {pixels.dtype} from {low} to {high}, of which the value of white is not known. "
            + _remedy()
        )
    return _by_bands(pixels, lambda band: (band.astype(np.uint32) + 128) // 257)


def pillow_pixels(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Upright pixels of a Pillow image, by the rules of files: grey or RGB, transparency dropped, orientation applied.

    Args:
        image: In any mode.
        name: What messages call it.

    Returns:
        (H, W, 1) or (H, W, 3).

    Raises:
        DataError: If it cannot be decoded, or its values are no brightness (:func:`to_uint8`).

    Example:
        >>> from PIL import Image
        >>> pillow_pixels(Image.new("I;16", (6, 4), 65535), "depth")[0, 0]
        array([255], dtype=uint8)
        >>> pillow_pixels(Image.new("CMYK", (6, 4)), "print").shape
        (4, 6, 3)
    """
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("LA", "La"):
            image = image.getchannel("L")
        elif image.mode not in _PLAIN_MODES:
            image = image.convert("RGBA" if image.mode == "RGBa" else "RGB").convert("RGB")
        pixels = np.asarray(image)
    except PILLOW_ERRORS as error:
        raise DataError(
            f"{name}: the image of mode {image.mode} cannot be read ({error}). Convert it to RGB."
        ) from error
    pixels = to_uint8(pixels, name)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _remedy() -> str:
    return f"Convert them to uint8 (0..255), uint16 (0..{_WHITE_16}) or float (0..1)."


def _by_bands(pixels: NDArray[Any], scale: Any) -> NDArray[np.uint8]:
    """Scaled pixels, some rows at a time."""
    scaled = np.empty(pixels.shape, np.uint8)
    rows = max(_BAND // max(pixels[:1].size, 1), 1)
    for start in range(0, len(pixels), rows):
        scaled[start : start + rows] = scale(pixels[start : start + rows])
    return scaled
