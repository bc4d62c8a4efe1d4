"""Text rendering to pixel masks, in any script for which this machine has a font.

OpenCV 4's Hershey fonts cover ASCII only. Pillow draws DejaVu Sans, which matplotlib ships (Latin, Greek, Cyrillic,
Hebrew, Arabic, ...). Names it has no glyphs for are drawn with an installed font that has them all, or else with the
Chinese-Japanese-Korean font inside OpenCV 5.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.structures.text import printable

__all__ = ["font_file", "render_text", "render_text_within", "stamp_text"]

Mask = NDArray[np.uint8]

_MOST_LETTERS = 200


@functools.lru_cache(maxsize=2048)
def render_text(text: str, size: int) -> Mask:
    """Render a line of text as a mask: coverage of every pixel by the letters.

    Args:
        text: One line.
        size: Height of the font in pixels.

    Returns:
        (height, width) uint8, 255 inside a letter. The height depends on ``size`` alone, so that lines align.

    Example:
        >>> mask = render_text("dog", size=20)
        >>> mask.shape[0] == render_text("Ägypten", size=20).shape[0], int(mask.max())
        (True, 255)
    """
    path = font_file(text)
    mask = _opencv_mask(text, size) if path is None else None
    if mask is None:
        mask = _pillow_mask(text, _truetype(str(path or _default_file()), size))
    mask.flags.writeable = False  # shared by the cache
    return mask


def render_text_within(text: str, size: int, max_width: int, smallest: int = 9) -> Mask:
    """Render a line of text no wider than ``max_width``: first with smaller letters, then shortened by an ellipsis.

    Args:
        text: One line; what is no letter (control characters, line breaks) is drawn as its escape.
        size: Height of the font in pixels, if there is room.
        max_width: Width available in pixels.
        smallest: Font height below which letters are left out instead.

    Example:
        >>> render_text_within("a very long class name", size=20, max_width=60).shape[1] <= 60
        True
    """
    text = printable(text, limit=_MOST_LETTERS)
    while size > smallest and render_text(text, size).shape[1] > max_width:
        size -= 1
    mask = render_text(text, size)
    while mask.shape[1] > max_width and len(text) > 1:
        text = text[:-2].rstrip() + "…" if text.endswith("…") else text[:-1].rstrip() + "…"
        mask = render_text(text, size)
        if text == "…":
            break
    return mask[:, :max_width]


def stamp_text(canvas: NDArray[np.uint8], mask: Mask, left: int, top: int, color: tuple[int, int, int]) -> None:
    """Draw rendered letters onto an image, in place; the part outside is cut.

    Args:
        canvas: (H, W, 3) RGB.
        mask: Of :func:`render_text`.
        left: Column of its upper left pixel.
        top: Row of that pixel.
        color: (red, green, blue) of the letters.

    Example:
        >>> canvas = np.zeros((40, 60, 3), np.uint8)
        >>> stamp_text(canvas, render_text("dog", size=20), left=5, top=5, color=(255, 200, 0))
        >>> canvas.max(axis=(0, 1)).tolist()
        [255, 200, 0]
    """
    left, top = max(0, left), max(0, top)
    area = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    alpha = mask[: area.shape[0], : area.shape[1], None].astype(np.float32) / 255
    area[:] = np.rint(area * (1 - alpha) + np.asarray(color, np.float32) * alpha).astype(np.uint8)


@functools.lru_cache(maxsize=1024)
def font_file(text: str) -> Path | None:
    """File of a font with a glyph for every character: DejaVu Sans if possible, else an installed one, else None.

    Args:
        text: One line.

    Example:
        >>> font_file("dog").name
        'DejaVuSans.ttf'
    """
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
    except (OSError, RuntimeError):  # system folders hold bitmap and broken fonts too
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
