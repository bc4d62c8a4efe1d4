"""What spoils an image and leaves its ground truth alone: blur, JPEG's blocks, erased rectangles."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from saccade.data.transforms.color import check_bytes
from saccade.structures.sample import Sample

__all__ = ["Blur", "JPEGArtefacts", "RandomErasing"]


class Blur:
    """Gaussian blur; any depth, any channels.

    Args:
        probability: How often, 0..1.
        sigma: Range of the standard deviation, pixels of the canvas.
    """

    def __init__(self, probability: float, sigma: tuple[float, float] = (0.1, 2.0)) -> None:
        self.probability = probability
        self.sigma = sigma

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, blurred or not."""
        if rng.random() >= self.probability:
            return sample
        blurred = cv2.GaussianBlur(sample.image, (0, 0), rng.uniform(*self.sigma), borderType=cv2.BORDER_REFLECT_101)
        return replace(sample, image=blurred.reshape(sample.image.shape))


class JPEGArtefacts:
    """The image after it was stored as a JPEG of low quality.

    Args:
        probability: How often, 0..1.
        quality: Range of the quality, 1..100, both ends included.
    """

    def __init__(self, probability: float, quality: tuple[int, int] = (30, 95)) -> None:
        self.probability = probability
        self.quality = quality

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, stored and read again, or as it was.

        Raises:
            ConfigError: If the pixels are not 8-bit RGB or grey.
        """
        if rng.random() >= self.probability:
            return sample
        check_bytes(sample, "jpeg", (1, 3))
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        grey = sample.image.shape[2] == 1
        pixels = sample.image if grey else cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        stored = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR))
        return replace(sample, image=stored[..., None] if grey else cv2.cvtColor(stored, cv2.COLOR_BGR2RGB))


class RandomErasing:
    """A random rectangle becomes noise (Zhong et al. 2020, section 3.2; random values, one for each pixel and channel).

    The ground truth stays as it is: what is hidden must be told from what is left. A hundred rectangles are tried; if
    none fits into the image, nothing is erased.

    Args:
        probability: How often, 0..1.
        area: Range of the rectangle's share of the image's area.
        aspect: Smallest height / width; the largest is its inverse.
    """

    def __init__(self, probability: float, area: tuple[float, float] = (0.02, 0.4), aspect: float = 0.3) -> None:
        self.probability = probability
        self.area = area
        self.aspect = aspect

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, with or without a hole.

        Raises:
            ConfigError: If the pixels are not 8-bit.
        """
        if rng.random() >= self.probability:
            return sample
        check_bytes(sample, "erase")
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
