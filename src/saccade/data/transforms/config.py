"""Settings of augmentation, for every task.

Transforms move boxes, masks, label maps and keypoints together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from saccade.structures.configuration import known_fields

__all__ = ["AugmentConfig", "PolicyName"]

PolicyName = Literal["none", "randaugment", "autoaugment", "trivialaugment"]


@known_fields
@dataclass
class AugmentConfig:
    """Settings of the random transforms of training images.

    The default is none but the model's own resize rule.

    Example:
        >>> config = AugmentConfig(mosaic=1.0, flip=0.5, hsv=(0.015, 0.7, 0.4))
        >>> config.flip, config.mixup
        (0.5, 0.0)
    """

    mosaic: float = 0.0  # probability of joining several images
    mosaic_tiles: Literal[4, 9] = 4  # how many
    mixup: float = 0.0  # probability of blending with another image
    mixup_alpha: float = 1.5  # Beta(alpha, alpha) of the blend
    cutmix: float = 0.0  # probability of a rectangle of another image, if not blended; classification
    cutmix_alpha: float = 1.0  # Beta(alpha, alpha) of the area that is left
    copy_paste: float = 0.0  # probability of objects of another image, cut out along their masks
    flip: float = 0.0  # probability of a left-right mirror
    flip_vertical: float = 0.0  # probability, top to bottom
    rotate90: float = 0.0  # probability of a random quarter turn
    degrees: float = 0.0  # rotation, +-
    translate: float = 0.0  # shift, +- share of the canvas
    scale: tuple[float, float] = (1.0, 1.0)  # zoom range
    shear: float = 0.0  # degrees, +-
    perspective: float = 0.0  # largest inward move of a corner, share of half the side
    hsv: tuple[float, float, float] = (0.0, 0.0, 0.0)  # gains of hue, saturation, value
    brightness: float = 0.0  # +- share
    contrast: float = 0.0  # +- share
    pca: float = 0.0  # AlexNet's shift of colour: standard deviation along ImageNet's principal colours (0.1 there)
    crop: tuple[int, int] | None = None  # random crop (height, width) of the image before the resize rule
    resized_crop: tuple[float, float] | None = None  # Inception's crop instead of the resize rule: share of the area
    resized_crop_aspect: tuple[float, float] = (0.75, 4 / 3)  # range of its width / height
    iou_crop: float = 0.0  # probability of SSD's crop around objects
    expand: float = 0.0  # probability of SSD's larger canvas, filled with the network's mean
    expand_largest: float = 4.0  # sides of that canvas, 1 to this many times the image's
    elastic: float = 0.0  # U-Net's deformation: standard deviation in pixels of a coarse grid
    policy: PolicyName = "none"  # torchvision's random sequences of operations; classification
    policy_magnitude: int = 9  # strength of RandAugment's operations, 0..30
    policy_operations: int = 2  # RandAugment's operations an image
    blur: float = 0.0  # probability of a Gaussian blur
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels
    jpeg: float = 0.0  # probability of JPEG artefacts
    jpeg_quality: tuple[int, int] = (30, 95)  # 1..100
    erase: float = 0.0  # probability of a rectangle of noise
    erase_area: tuple[float, float] = (0.02, 0.4)  # its share of the image
    multiscale: tuple[int, ...] = ()  # canvas sides to draw from
    multiscale_range: tuple[float, float] | None = None  # or factors on the usual canvas: (0.5, 1.5)
    multiscale_every: int = 10  # steps between two draws
    fill: int = 114  # grey value of uncovered pixels
    extra: tuple[str, ...] = ()  # transforms of your own, module:name, after all that move pixels, before the colours
