"""Class colours, decided by the class name alone.

A class keeps its colour whatever its index, the model, the data set or the run, so that two reports can be compared
side by side.
"""

from __future__ import annotations

import functools
import hashlib
import math

__all__ = ["CHART_COLORS", "Color", "class_color", "ink_on"]

Color = tuple[int, int, int]

# Series of a chart that are not classes (splits, losses), in this order; readable on light and dark backgrounds.
CHART_COLORS = ("#3b82f6", "#f97316", "#10b981", "#ef4444", "#8b5cf6", "#ca8a04")

# The hash is salted; this salt keeps the classes of the catalogue's sets apart (digits, BCCD, CamVid, VOC), found by
# trying many.
_SALT = "saccade-19784"
# OKLCH lightness and chroma: light enough for black ink, saturated enough to stand out from a photograph.
_TONES = ((0.68, 0.19), (0.79, 0.15), (0.58, 0.21), (0.87, 0.13))
_BACKGROUND: Color = (96, 96, 104)


@functools.lru_cache(maxsize=4096)
def class_color(name: str) -> Color:
    """Colour of a class, the same in every drawing and report.

    Hue and tone come from a hash of the name, in OKLCH (Ottosson 2020), where equal distances are perceived as equal.

    Args:
        name: Class name in any language. ``background`` is grey.

    Returns:
        (red, green, blue), 0..255.

    Example:
        >>> class_color("dog")
        (255, 194, 198)
    """
    if name.lower() == "background":
        return _BACKGROUND
    digest = hashlib.sha256(f"{_SALT}:{name}".encode()).digest()
    hue = int.from_bytes(digest[:4], "big") / 2**32 * 2 * math.pi
    lightness, chroma = _TONES[digest[4] % len(_TONES)]
    return oklch_to_rgb(lightness, chroma, hue)


def oklch_to_rgb(lightness: float, chroma: float, hue: float) -> Color:
    """Convert OKLCH to sRGB; chroma is lowered until the colour is inside the gamut of sRGB.

    Args:
        lightness: 0 (black) to 1 (white).
        chroma: 0 (grey) to about 0.3.
        hue: Radians.

    Example:
        >>> oklch_to_rgb(1.0, 0.0, 0.0)
        (255, 255, 255)
    """
    while True:
        linear = _oklab_to_linear(lightness, chroma * math.cos(hue), chroma * math.sin(hue))
        if chroma < 1e-3 or all(-1e-3 <= value <= 1 + 1e-3 for value in linear):
            red, green, blue = (round(255 * _gamma(min(1.0, max(0.0, value)))) for value in linear)
            return red, green, blue
        chroma *= 0.95


def ink_on(color: Color) -> Color:
    """Text colour on a background: black or white, whichever has the higher contrast (WCAG relative luminance).

    Args:
        color: Background.

    Example:
        >>> ink_on((255, 255, 0)), ink_on((0, 0, 128))
        ((12, 12, 16), (255, 255, 255))
    """
    red, green, blue = ((value / 255) ** 2.2 for value in color)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (12, 12, 16) if luminance > 0.25 else (255, 255, 255)


def _oklab_to_linear(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    # Matrices of Bjoern Ottosson, "A perceptual color space for image processing", 2020.
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
