"""The four ways to find objects of all sizes that figure 1 of the FPN paper sets side by side, behind one interface.

Paper: Tsung-Yi Lin, Piotr Dollar, Ross Girshick, Kaiming He, Bharath Hariharan, Serge Belongie, "Feature Pyramid
Networks for Object Detection", CVPR 2017, arXiv 1612.03144.

    (a) image      the image at five scales, the backbone on each, its last map of each: every level knows much, and
                   the backbone works 21 times as much
    (b) single     the last map alone, with the anchors of all sizes: fast, and coarse
    (c) hierarchy  the maps C3, C4, C5 as they are, and two more by strided convolutions: fine levels know little
    (d) fpn        the same maps, with what coarse levels know added to the fine ones from the top down

Each takes the images and the backbone and gives maps of one width, so that the same head can follow. All but (b) give
five levels of stride 8 to 128. Maps enter through a 1x1 convolution and leave through a 3x3 one, as in the paper's own
comparison (section 5.1, table 1), so that top-down additions are the only difference between (c) and (d).

Differences from the paper: there the baseline of (b) has C4 or C5, here always C5; (a) is not trained in the paper.
The coarse levels P6 and P7 are RetinaNet's (arXiv 1708.02002, section 4, footnote 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.fpn import FeaturePyramid
from saccade.errors import ConfigError, did_you_mean
from saccade.models.classification.base import Classifier

__all__ = [
    "PYRAMIDS",
    "HierarchyPyramid",
    "ImagePyramid",
    "Pyramid",
    "PyramidDesign",
    "SingleMap",
    "TopDownPyramid",
    "build_pyramid",
]

PyramidDesign = Literal["fpn", "single", "hierarchy", "image"]

_STRIDES = (8, 16, 32)  # of C3, C4 and C5
_LEVELS = (8, 16, 32, 64, 128)
_FACTORS = (4, 2, 1, -2, -4)  # of the image pyramid; negative: smaller


class Pyramid(nn.Module):
    """Interface of the designs: feature maps of one width out of images and a backbone.

    Args:
        backbone: Classifier without its head, with feature maps of stride 8, 16 and 32. It is only looked at.
        channels: Of every map that comes out.

    Raises:
        ConfigError: If the backbone has no such maps.

    Attributes:
        strides: Of the maps that come out, pixels.
        octaves: For each of them, the levels (0 is the finest) whose anchors it carries.

    Example:
        >>> from saccade.models.classification.base import build_backbone
        >>> backbone = build_backbone("resnet18")
        >>> pyramid = build_pyramid("hierarchy", backbone, channels=32)
        >>> [tuple(one.shape[1:]) for one in pyramid(torch.zeros(1, 3, 128, 128), backbone)]
        [(32, 16, 16), (32, 8, 8), (32, 4, 4), (32, 2, 2), (32, 1, 1)]
    """

    strides: tuple[int, ...] = _LEVELS
    octaves: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,), (3,), (4,))

    def __init__(self, backbone: Classifier, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self._indices = _maps_of_strides(backbone)
        self._in_channels = tuple(backbone.feature_channels[index] for index in self._indices)

    def forward(self, images: Tensor, backbone: Classifier) -> list[Tensor]:
        """Maps (B, channels, H, W), fine to coarse, of images (B, 3, H, W)."""
        raise NotImplementedError

    def _maps(self, images: Tensor, backbone: Classifier) -> list[Tensor]:
        """C3, C4 and C5."""
        maps = backbone.features(images)
        return [maps[index] for index in self._indices]


class TopDownPyramid(Pyramid):
    """Feature pyramid network, figure 1(d).

    Args:
        backbone: See :class:`Pyramid`.
        channels: Of every map that comes out.
        extra: What P6 is made from: ``c5`` (the RetinaNet paper) or ``p5`` (torchvision's published weights).
    """

    def __init__(self, backbone: Classifier, channels: int = 256, extra: Literal["c5", "p5"] = "c5") -> None:
        super().__init__(backbone, channels)
        self.fpn = FeaturePyramid(self._in_channels, channels, extra=extra)

    def forward(self, images: Tensor, backbone: Classifier) -> list[Tensor]:
        """P3 to P7."""
        levels: list[Tensor] = self.fpn(self._maps(images, backbone))
        return levels


class HierarchyPyramid(Pyramid):
    """Maps of the backbone, each for itself, and P6 and P7 from C5: figure 1(c).

    Args:
        backbone: See :class:`Pyramid`.
        channels: Of every map that comes out.
    """

    def __init__(self, backbone: Classifier, channels: int = 256) -> None:
        super().__init__(backbone, channels)
        self.laterals = nn.ModuleList(_lateral(own, channels) for own in self._in_channels)
        self.p6 = nn.Conv2d(self._in_channels[-1], channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        _initialise(self)

    def forward(self, images: Tensor, backbone: Classifier) -> list[Tensor]:
        """Five levels of stride 8 to 128."""
        maps = self._maps(images, backbone)
        levels = [lateral(one) for lateral, one in zip(self.laterals, maps, strict=True)]
        p6 = self.p6(maps[-1])
        return [*levels, p6, self.p7(F.relu(p6))]


class SingleMap(Pyramid):
    """Last map of the backbone with the anchors of all levels: figure 1(b).

    Args:
        backbone: See :class:`Pyramid`.
        channels: Of the map that comes out.
    """

    strides = (32,)
    octaves = ((0, 1, 2, 3, 4),)

    def __init__(self, backbone: Classifier, channels: int = 256) -> None:
        super().__init__(backbone, channels)
        self.lateral = _lateral(self._in_channels[-1], channels)
        _initialise(self)

    def forward(self, images: Tensor, backbone: Classifier) -> list[Tensor]:
        """One map of stride 32."""
        return [self.lateral(self._maps(images, backbone)[-1])]


class ImagePyramid(Pyramid):
    """Last map of the backbone at five scales of the image, from 4 times its side to a quarter: figure 1(a).

    BatchNorm of the backbone counts each scale as a batch of its own, and its running statistics are those of all of
    them.

    Args:
        backbone: See :class:`Pyramid`.
        channels: Of every map that comes out.
    """

    def __init__(self, backbone: Classifier, channels: int = 256) -> None:
        super().__init__(backbone, channels)
        self.lateral = _lateral(self._in_channels[-1], channels)
        _initialise(self)

    def forward(self, images: Tensor, backbone: Classifier) -> list[Tensor]:
        """Five levels of stride 8 to 128, all from C5."""
        scaled = [_scaled(images, factor) for factor in _FACTORS]
        return [self.lateral(self._maps(one, backbone)[-1]) for one in scaled]


PYRAMIDS: dict[str, Callable[[Classifier, int], Pyramid]] = {
    "fpn": TopDownPyramid,
    "single": SingleMap,
    "hierarchy": HierarchyPyramid,
    "image": ImagePyramid,
}
"""The designs by name."""


def build_pyramid(design: PyramidDesign, backbone: Classifier, channels: int = 256) -> Pyramid:
    """One of the designs over a backbone.

    Args:
        design: ``fpn``, ``single``, ``hierarchy`` or ``image``.
        backbone: Classifier without its head, with feature maps of stride 8, 16 and 32.
        channels: Of every map that comes out.

    Raises:
        ConfigError: If there is no such design, or the backbone lacks these maps.

    Example:
        >>> from saccade.models.classification.base import build_backbone
        >>> backbone = build_backbone("resnet18")
        >>> [tuple(one.shape) for one in build_pyramid("single", backbone, 64)(torch.zeros(1, 3, 64, 64), backbone)]
        [(1, 64, 2, 2)]
    """
    if design not in PYRAMIDS:
        raise ConfigError(
            f"pyramid is '{design}'; it must be one of {', '.join(PYRAMIDS)}.{did_you_mean(str(design), PYRAMIDS)}"
        )
    return PYRAMIDS[design](backbone, channels)


def _maps_of_strides(backbone: Classifier) -> tuple[int, ...]:
    """Places of C3, C4 and C5 among the feature maps of a backbone; of equal strides the last."""
    own: Sequence[int] = backbone.feature_strides
    if not set(_STRIDES) <= set(own):
        raise ConfigError(
            f"backbone '{backbone.builder_name}' has feature maps of stride {', '.join(map(str, own))}, and a pyramid "
            "needs 8, 16 and 32. Choose another backbone, such as resnet18."
        )
    return tuple(len(own) - 1 - own[::-1].index(stride) for stride in _STRIDES)


def _lateral(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1), nn.Conv2d(channels, channels, 3, padding=1))


def _initialise(module: nn.Module) -> None:
    """As in the feature pyramid network."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def _scaled(images: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return images
    if factor > 1:
        return F.interpolate(images, scale_factor=float(factor), mode="bilinear")
    return F.avg_pool2d(images, -factor, ceil_mode=True)  # the mean over an area keeps fine patterns from folding
