"""Settings of training-time augmentation, for every task.

Transforms move boxes, masks, label maps and keypoints together.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AugmentConfig"]


@dataclass
class AugmentConfig:
    """What happens to a training picture before the network sees it.

    The default is nothing but the model's own resize rule.
    """

    mosaic: float = 0.0  # probability of joining four pictures
    mixup: float = 0.0  # probability of blending with another picture
    mixup_alpha: float = 1.5  # Beta(alpha, alpha) of the blend
    flip: float = 0.0  # probability of a left-right mirror
    flip_vertical: float = 0.0
    rotate90: float = 0.0  # probability of a random quarter turn
    degrees: float = 0.0  # rotation, +-
    translate: float = 0.0  # shift, +- share of the canvas
    scale: tuple[float, float] = (1.0, 1.0)  # zoom range
    shear: float = 0.0  # degrees, +-
    hsv: tuple[float, float, float] = (0.0, 0.0, 0.0)  # gains of hue, saturation, value
    brightness: float = 0.0  # +- share
    contrast: float = 0.0  # +- share
    crop: tuple[int, int] | None = None  # random crop (height, width) of the picture before the resize rule
    elastic: float = 0.0  # U-Net's deformation: standard deviation in pixels of a coarse grid
    multiscale: tuple[int, ...] = ()  # canvas sides to draw from
    multiscale_every: int = 10  # steps between two draws
    fill: int = 114  # grey value of uncovered pixels
