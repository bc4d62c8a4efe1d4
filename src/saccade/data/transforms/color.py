"""Random colour transforms: HSV, brightness and contrast, AlexNet's PCA shift.

Every value goes through a table of 256 entries, so the cost does not depend on the formula.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.structures.sample import Sample

__all__ = ["HSV", "BrightnessContrast", "PCAColor", "check_uint8"]

_VALUES = np.arange(256, dtype=np.float64)
_HUES = 180  # OpenCV halves the hue circle, so that it is within a byte

# Principal components of the RGB values of ImageNet, scaled to 0..1: strengths, and directions as columns. The paper
# does not print them; these are the ones that Facebook's reproduction of ResNet found on a part of the training set
# (fb.resnet.torch, datasets/imagenet.lua, BSD licence) and that nearly everybody has used since.
_STRENGTHS = np.array([0.2175, 0.0188, 0.0045])
_DIRECTIONS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


class HSV:
    """Random shift of hue and scaling of saturation and value; of a grey image only the value is scaled.

    Args:
        hue: Largest shift, +- share of the colour circle.
        saturation: Largest change of the factor, 1 +- this.
        value: Likewise.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((1, 1)))
        >>> sample = Sample(np.array([[[200, 100, 50]]], np.uint8), {}, info)
        >>> HSV(hue=0.1, saturation=0.5, value=0.3)(sample, np.random.default_rng(0)).image.tolist()
        [[[145, 100, 61]]]
    """

    def __init__(self, hue: float, saturation: float, value: float) -> None:
        self.gains = np.array([hue, saturation, value])

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Change the colours.

        Raises:
            ConfigError: If the pixels are not 8-bit RGB or grey.
        """
        check_uint8(sample, "hsv", (1, 3))
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
    """Random brightness and contrast: scales all values, and their distance from the image's mean.

    Args:
        brightness: Largest change of the factor on the values, 1 +- this.
        contrast: Largest change of the factor on the distance from the mean.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((1, 2)))
        >>> sample = Sample(np.array([[[50], [150]]], np.uint8), {}, info)
        >>> BrightnessContrast(brightness=0.2, contrast=0.5)(sample, np.random.default_rng(0)).image.tolist()
        [[[65], [146]]]
    """

    def __init__(self, brightness: float, contrast: float) -> None:
        self.brightness = brightness
        self.contrast = contrast

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Change brightness and contrast.

        Raises:
            ConfigError: If the pixels are not 8-bit.
        """
        check_uint8(sample, "brightness and contrast")
        brighter, stronger = 1 + rng.uniform(-1, 1, 2) * (self.brightness, self.contrast)
        mean = float(sample.image.mean())
        table = _table(((_VALUES - mean) * stronger + mean) * brighter)
        return replace(sample, image=cv2.LUT(sample.image, table).reshape(sample.image.shape))


class PCAColor:
    """Random shift of all pixels along the principal colours of photographs (Krizhevsky et al. 2012, section 4.1).

    To every pixel the same ``sum of direction * strength * alpha`` is added, with one alpha of N(0, sigma) for each of
    the three components. It changes the brightness and tint of the light, not the object.

    Args:
        sigma: Standard deviation of alpha (0.1 in the paper).

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((1, 2)))
        >>> sample = Sample(np.array([[[50, 50, 50], [150, 150, 150]]], np.uint8), {}, info)
        >>> PCAColor(sigma=0.1)(sample, np.random.default_rng(3)).image.tolist()
        [[[43, 43, 44], [143, 143, 144]]]
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Shift the colours.

        Raises:
            ConfigError: If the pixels are not 8-bit RGB.
        """
        check_uint8(sample, "pca", (3,))
        shift = 255.0 * _DIRECTIONS @ (_STRENGTHS * rng.normal(0.0, self.sigma, 3))
        planes = [
            cv2.LUT(plane, _table(_VALUES + offset))
            for plane, offset in zip(cv2.split(sample.image), shift, strict=True)
        ]
        return replace(sample, image=cv2.merge(planes))


def _table(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def check_uint8(sample: Sample, name: str, channels: tuple[int, ...] = ()) -> None:
    """Refuse images that are not 8-bit or have another number of channels than a transform handles.

    Args:
        sample: Holds the image.
        name: Field of the augmentation that asks for the transform.
        channels: Numbers of channels that it takes; any if empty.

    Raises:
        ConfigError: If the pixels are not 8-bit, or their channels not among ``channels``.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "scan.tif", Geometry.identity((4, 4)))
        >>> check_uint8(Sample(np.zeros((4, 4, 1), np.uint16), {}, info), "jpeg")
        Traceback (most recent call last):
        saccade.errors.ConfigError: augment.jpeg needs 8-bit images, but scan.tif has uint16 (4, 4, 1). ...
    """
    image: NDArray[Any] = sample.image
    if image.dtype != np.uint8 or (channels and image.shape[2] not in channels):
        counts = " or ".join(map(str, channels))
        of = f" of {counts} channel{'s' if counts != '1' else ''}" if channels else ""
        raise ConfigError(
            f"augment.{name} needs 8-bit images{of}, but {sample.info.path} has {image.dtype} {image.shape}. "
            "Set it to zero for this data set."
        )
