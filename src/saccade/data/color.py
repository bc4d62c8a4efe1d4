"""Transforms of colour. They look every value up in a table of 256, so their cost does not depend on the formula."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.sample import Sample
from saccade.errors import ConfigError

__all__ = ["HSV", "BrightnessContrast"]

_VALUES = np.arange(256, dtype=np.float64)
_HUES = 180  # OpenCV halves the hue circle to fit into a byte


class HSV:
    """Turn the hue, scale saturation and value, each by a random amount; a grey picture has only its value scaled.

    Args:
        hue: Largest turn, +- share of the colour circle.
        saturation: Largest change of the factor, 1 +- this.
        value: Likewise.
    """

    def __init__(self, hue: float, saturation: float, value: float) -> None:
        self.gains = np.array([hue, saturation, value])

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample in other colours.

        Raises:
            ConfigError: If the pixels are not 8-bit RGB or grey.
        """
        _check_bytes(sample, "hsv", (1, 3))
        turn, saturation, value = rng.uniform(-1, 1, 3) * self.gains
        values = _table(_VALUES * (1 + value))
        if sample.image.shape[2] == 1:
            return replace(sample, image=cv2.LUT(sample.image, values).reshape(sample.image.shape))
        hues = ((_VALUES + turn * _HUES) % _HUES).astype(np.uint8)
        # Plane by plane, a table lookup costs half of what it costs on interleaved channels.
        planes = cv2.split(cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV))
        tables = (hues, _table(_VALUES * (1 + saturation)), values)
        merged = cv2.merge([cv2.LUT(plane, table) for plane, table in zip(planes, tables, strict=True)])
        return replace(sample, image=cv2.cvtColor(merged, cv2.COLOR_HSV2RGB))


class BrightnessContrast:
    """Scale all values, and their distance from the picture's mean, each by a random factor.

    Args:
        brightness: Largest change of the factor on the values, 1 +- this.
        contrast: Largest change of the factor on the distance from the mean.
    """

    def __init__(self, brightness: float, contrast: float) -> None:
        self.brightness = brightness
        self.contrast = contrast

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample in another light.

        Raises:
            ConfigError: If the pixels are not 8-bit.
        """
        _check_bytes(sample, "brightness and contrast", None)
        brighter, stronger = 1 + rng.uniform(-1, 1, 2) * (self.brightness, self.contrast)
        mean = float(sample.image.mean())
        table = _table(((_VALUES - mean) * stronger + mean) * brighter)
        return replace(sample, image=cv2.LUT(sample.image, table).reshape(sample.image.shape))


def _table(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _check_bytes(sample: Sample, name: str, channels: tuple[int, ...] | None) -> None:
    image: NDArray[Any] = sample.image
    if image.dtype != np.uint8 or (channels is not None and image.shape[2] not in channels):
        raise ConfigError(
            f"augment.{name} needs 8-bit pictures{' of 1 or 3 channels' if channels else ''}, but "
            f"{sample.info.path} has {image.dtype} {image.shape}. Set it to zero for this data set."
        )
