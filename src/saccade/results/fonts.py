"""Text as pixels, in any script for which this machine has a font.

OpenCV 4's Hershey fonts know ASCII only. Pillow draws DejaVu Sans, which matplotlib carries (Latin, Greek, Cyrillic,
Hebrew, Arabic, ...). Names it has no glyphs for are drawn with an installed font that has them all, or else with the
Chinese-Japanese-Korean font inside OpenCV 5.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_text", "font_file", "text_mask"]

Mask = NDArray[np.uint8]


@functools.lru_cache(maxsize=2048)
def text_mask(text: str, size: int) -> Mask:
    """Coverage of every pixel by the letters.

    Args:
        text: One line.
        size: Height of the font in pixels.

    Returns:
        (height, width) uint8, 255 inside a letter. The height depends on ``size`` alone, so that lines align.
    """
    path = font_file(text)
    mask = _opencv_mask(text, size) if path is None else None
    if mask is None:
        mask = _pillow_mask(text, _truetype(str(path or _default_file()), size))
    mask.flags.writeable = False  # shared by the cache
    return mask


def fit_text(text: str, size: int, max_width: int, smallest: int = 9) -> Mask:
    """``text_mask`` that is never wider than ``max_width``: first smaller letters, then an ellipsis.

    Args:
        text: One line.
        size: Height of the font in pixels, if there is room.
        max_width: Pixels there are.
        smallest: Font height below which letters are left out instead.
    """
    while size > smallest and text_mask(text, size).shape[1] > max_width:
        size -= 1
    mask = text_mask(text, size)
    while mask.shape[1] > max_width and len(text) > 1:
        text = text[:-2].rstrip() + "…" if text.endswith("…") else text[:-1].rstrip() + "…"
        mask = text_mask(text, size)
        if text == "…":
            break
    return mask[:, :max_width]


@functools.lru_cache(maxsize=1024)
def font_file(text: str) -> Path | None:
    """A font with a glyph for every character of ``text``: DejaVu Sans if it can, else an installed one, else None."""
    default = _default_file()
    if text.isascii():
        return default
    wanted = {ord(character) for character in text if not character.isspace()}
    if wanted <= _characters(default):
        return default
    return next((path for path in _installed_files() if wanted <= _characters(path)), None)


@functools.cache
def _default_file() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@functools.cache
def _installed_files() -> tuple[Path, ...]:
    from matplotlib import font_manager

    return tuple(Path(name) for name in sorted(font_manager.findSystemFonts()))


@functools.cache
def _characters(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (OSError, RuntimeError):  # bitmap and broken fonts lie in system folders too
        return frozenset()


@functools.lru_cache(maxsize=64)
def _truetype(path: str, size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(path, size)


def _pillow_mask(text: str, font: Any) -> Mask:
    from PIL import Image, ImageDraw

    ascent, descent = font.getmetrics()
    left, _, right, _ = font.getbbox(text)
    image = Image.new("L", (max(1, int(right - left)), ascent + descent))
    ImageDraw.Draw(image).text((-left, 0), text, fill=255, font=font)
    return np.array(image, np.uint8)


def _opencv_mask(text: str, size: int) -> Mask | None:
    import cv2

    if not hasattr(cv2, "FontFace"):  # OpenCV 4
        return None
    height = _pillow_mask("x", _truetype(str(_default_file()), size)).shape[0]
    canvas = np.zeros((height, 2 * size * (len(text) + 1)), np.uint8)
    cv2.putText(canvas, text, (size, round(0.76 * height)), (255,), cv2.FontFace("uni"), size)
    columns = np.flatnonzero(canvas.any(axis=0))
    return canvas[:, columns[0] : columns[-1] + 1].copy() if len(columns) else None
