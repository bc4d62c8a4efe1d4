"""Random corruptions that leave the ground truth as it is: blur, JPEG artefacts, erased rectangles."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from saccade.data.transforms.color import check_uint8
from saccade.structures.sample import Sample

__all__ = ["Blur", "JPEGArtefacts", "RandomErasing"]


class Blur:
    """Random Gaussian blur, of any depth and any number of channels.

    Args:
        probability: How often, 0..1.
        sigma: Range of the standard deviation, pixels of the canvas.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> image = np.zeros((7, 7, 1), np.uint8)
        >>> image[3, 3] = 255
        >>> sample = Sample(image, {}, ImageInfo(0, "photo.jpg", Geometry.identity((7, 7))))
        >>> Blur(probability=1.0, sigma=(1.0, 1.0))(sample, np.random.default_rng(0)).image[3, :, 0].tolist()
        [1, 6, 25, 40, 25, 6, 1]
    """

    def __init__(self, probability: float, sigma: tuple[float, float] = (0.1, 2.0)) -> None:
        self.probability = probability
        self.sigma = sigma

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Blur the image, or return the sample as it is."""
        if rng.random() >= self.probability:
            return sample
        blurred = cv2.GaussianBlur(sample.image, (0, 0), rng.uniform(*self.sigma), borderType=cv2.BORDER_REFLECT_101)
        return replace(sample, image=blurred.reshape(sample.image.shape))


class JPEGArtefacts:
    """Random JPEG artefacts: the image is encoded at low quality and decoded again.

    Args:
        probability: How often, 0..1.
        quality: Range of the quality, 1..100, both ends included.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
        >>> sample = Sample(image, {}, ImageInfo(0, "photo.jpg", Geometry.identity((16, 16))))
        >>> stored = JPEGArtefacts(probability=1.0, quality=(10, 20))(sample, np.random.default_rng(0))
        >>> stored.image.shape, bool((stored.image != image).any())
        ((16, 16, 3), True)
    """

    def __init__(self, probability: float, quality: tuple[int, int] = (30, 95)) -> None:
        self.probability = probability
        self.quality = quality

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Encode and decode the image, or return the sample as it is.

        Raises:
            ConfigError: If the pixels are not 8-bit RGB or grey.
        """
        if rng.random() >= self.probability:
            return sample
        check_uint8(sample, "jpeg", (1, 3))
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        grey = sample.image.shape[2] == 1
        pixels = sample.image if grey else cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        stored = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR))
        return replace(sample, image=stored[..., None] if grey else cv2.cvtColor(stored, cv2.COLOR_BGR2RGB))


class RandomErasing:
    """Random erasing: a rectangle of the image becomes noise (Zhong et al. 2020, section 3.2).

    Each pixel and channel gets a random value of its own. The ground truth stays as it is: the network learns to
    recognise an object by its visible part. A hundred rectangles are tried; if none is small enough for the image,
    nothing is erased.

    Args:
        probability: How often, 0..1.
        area: Range of the rectangle's share of the image's area.
        aspect: Smallest height / width; the largest is its inverse.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> sample = Sample(np.zeros((100, 100, 1), np.uint8), {}, ImageInfo(0, "x", Geometry.identity((100, 100))))
        >>> erased = RandomErasing(probability=1.0, area=(0.2, 0.2))(sample, np.random.default_rng(0))
        >>> round(float((erased.image > 0).mean()), 2)  # a 256th of the noise is zero
        0.2
    """

    def __init__(self, probability: float, area: tuple[float, float] = (0.02, 0.4), aspect: float = 0.3) -> None:
        self.probability = probability
        self.area = area
        self.aspect = aspect

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Erase a rectangle, or return the sample as it is.

        Raises:
            ConfigError: If the pixels are not 8-bit.
        """
        if rng.random() >= self.probability:
            return sample
        check_uint8(sample, "erase")
        rows, columns, channels = sample.image.shape
        for _ in range(100):
            area = rows * columns * rng.uniform(*self.area)
            aspect = rng.uniform(self.aspect, 1 / self.aspect)
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < height < rows and 0 < width < columns:
                top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
                image = sample.image.copy()
                image[top : top + height, left : left + width] = rng.integers(
                    0, 256, (height, width, channels), np.uint8
                )
                return replace(sample, image=image)
        return sample
