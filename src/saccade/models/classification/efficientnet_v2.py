"""EfficientNetV2: fused MBConv units early, and images that grow during training.

Paper: Mingxing Tan, Quoc V. Le, "EfficientNetV2: Smaller Models and Faster Training", ICML 2021, arXiv 2104.00298.

Depthwise convolutions save operations but not time where feature maps are large and channels few, so early stages
replace expansion and depthwise convolution by one whole 3x3 ("Fused-MBConv"), as a search that counts training time
found. The second half of the paper is about that time: training starts on small images with little regularisation, and
both grow in phases; large images need more regularisation than small ones (section 4; ``saccade.recipes.progressive``).

    S (table 4)           stride  channels  units        M: channels (units)              L: channels (units)
    3x3                     2       24                    24                               32
    Fused-MBConv1, 3x3      1       24        2           24 (3)                           32 (4)
    Fused-MBConv4, 3x3      2       48        4           48 (5)                           64 (7)
    Fused-MBConv4, 3x3      2       64        4           80 (5)                           96 (7)
    MBConv4, 3x3, SE        2      128        6          160 (7)                          192 (10)
    MBConv6, 3x3, SE        1      160        9          176 (14)                         224 (19)
    MBConv6, 3x3, SE        2      256       15          304 (18)                         384 (25)
    MBConv6, 3x3, SE        1                            512 (5)                          640 (7)
    1x1, mean, fc           1     1280                  1280                             1280

Differences from the paper: none in the layers of S, M and L. ``efficientnet_v2_b0`` to ``b3`` are the authors' smaller
networks, which the paper mentions in table 10; they are scaled from their base network as the first paper's are.
BatchNorm has eps 1e-3 as published.

Published weights: torchvision (S, M, L); its names, with ``features`` called ``trunk``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from torch import nn

from saccade.blocks.make_divisible import make_divisible
from saccade.blocks.mbconv import MBRow
from saccade.models.classification.base import IMAGENET_SPEC
from saccade.models.classification.efficientnet import EfficientNet, scale_rows
from saccade.models.registry import Reported, register_model

__all__ = [
    "EfficientNetV2", "efficientnet_v2_b0", "efficientnet_v2_b1", "efficientnet_v2_b2", "efficientnet_v2_b3",
    "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s",
]  # fmt: skip

PAPER = "Tan and Le, ICML 2021, arXiv 2104.00298"

# Table 4: fused, expansion, kernel, stride, channels, units.
S: Final = (
    MBRow(True, 1, 3, 1, 24, 2),
    MBRow(True, 4, 3, 2, 48, 4),
    MBRow(True, 4, 3, 2, 64, 4),
    MBRow(False, 4, 3, 2, 128, 6),
    MBRow(False, 6, 3, 1, 160, 9),
    MBRow(False, 6, 3, 2, 256, 15),
)
M: Final = (
    MBRow(True, 1, 3, 1, 24, 3),
    MBRow(True, 4, 3, 2, 48, 5),
    MBRow(True, 4, 3, 2, 80, 5),
    MBRow(False, 4, 3, 2, 160, 7),
    MBRow(False, 6, 3, 1, 176, 14),
    MBRow(False, 6, 3, 2, 304, 18),
    MBRow(False, 6, 3, 1, 512, 5),
)
L: Final = (
    MBRow(True, 1, 3, 1, 32, 4),
    MBRow(True, 4, 3, 2, 64, 7),
    MBRow(True, 4, 3, 2, 96, 7),
    MBRow(False, 4, 3, 2, 192, 10),
    MBRow(False, 6, 3, 1, 224, 19),
    MBRow(False, 6, 3, 2, 384, 25),
    MBRow(False, 6, 3, 1, 640, 7),
)
# The base of B0 to B3, from the authors' release.
BASE: Final = (
    MBRow(True, 1, 3, 1, 16, 1),
    MBRow(True, 4, 3, 2, 32, 2),
    MBRow(True, 4, 3, 2, 48, 2),
    MBRow(False, 4, 3, 2, 96, 3),
    MBRow(False, 6, 3, 1, 112, 5),
    MBRow(False, 6, 3, 2, 192, 8),
)


class EfficientNetV2(EfficientNet):
    """EfficientNetV2 classifier: EfficientNet's layout with fused MBConv units in the early stages.

    Args:
        rows: Rows of the table, one a stage.
        size: Side of the images at evaluation; training begins with much smaller ones.
        stem: Channels of the stem; those of the first stage if not given.
        last: Channels of the last 1x1.
        num_classes: Outputs of the fc layer.
        dropout: Dropout rate before the fc layer.
        stochastic_depth: Rate of the last unit; lower ones have proportionally less.

    Example:
        >>> model = EfficientNetV2(BASE, size=224, num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(16, 32, 32), (32, 16, 16), (48, 8, 8), (112, 4, 4), (1280, 2, 2)]
    """

    def __init__(
        self,
        rows: Sequence[MBRow],
        size: int,
        stem: int | None = None,
        last: int = 1280,
        num_classes: int = 1000,
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
    ) -> None:
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        stem = rows[0].out_channels if stem is None else stem
        super().__init__(rows, stem, last, num_classes, dropout, stochastic_depth, norm)
        self.input_spec = replace(IMAGENET_SPEC, size=(size, size), crop_fraction=1.0)


def _base(depth: float, width: float, size: int, num_classes: int, stochastic_depth: float) -> EfficientNetV2:
    """EfficientNetV2-B0 to B3, scaled from the base table."""
    stem, last = make_divisible(32 * width), make_divisible(1280 * width)
    return EfficientNetV2(
        scale_rows(BASE, depth, width, at_least=0.0), size, stem, last, num_classes, stochastic_depth=stochastic_depth
    )


@register_model("classification", PAPER, Reported(params=7.4e6, macs=0.7e9, top1=78.7, source="table 10"))
def efficientnet_v2_b0(
    num_classes: int = 1000, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNetV2:
    """EfficientNetV2-B0; 7.1 M parameters, 0.72 G multiply-adds at 224.

    Example:
        >>> efficientnet_v2_b0(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return _base(1.0, 1.0, 224, num_classes, stochastic_depth)


@register_model("classification", PAPER, Reported(params=8.1e6, macs=1.2e9, top1=79.8, source="table 10"))
def efficientnet_v2_b1(
    num_classes: int = 1000, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNetV2:
    """EfficientNetV2-B1; 8.1 M parameters, 1.2 G multiply-adds at 240."""
    return _base(1.1, 1.0, 240, num_classes, stochastic_depth)


@register_model("classification", PAPER, Reported(params=10.1e6, macs=1.7e9, top1=80.5, source="table 10"))
def efficientnet_v2_b2(
    num_classes: int = 1000, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNetV2:
    """EfficientNetV2-B2; 10.1 M parameters, 1.7 G multiply-adds at 260."""
    return _base(1.2, 1.1, 260, num_classes, stochastic_depth)


@register_model("classification", PAPER, Reported(params=14e6, macs=3.0e9, top1=82.1, source="table 10"))
def efficientnet_v2_b3(
    num_classes: int = 1000, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNetV2:
    """EfficientNetV2-B3; 14.4 M parameters, 3.0 G multiply-adds at 300."""
    return _base(1.4, 1.2, 300, num_classes, stochastic_depth)


@register_model("classification", PAPER, Reported(params=22e6, macs=8.8e9, top1=83.9, source="table 7"))
def efficientnet_v2_s(
    num_classes: int = 1000, dropout: float = 0.2, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNetV2:
    """EfficientNetV2-S; 21.5 M parameters, 8.4 G multiply-adds at 384."""
    return EfficientNetV2(S, 384, num_classes=num_classes, dropout=dropout, stochastic_depth=stochastic_depth)


@register_model("classification", PAPER, Reported(params=54e6, macs=24e9, top1=85.1, source="table 7"))
def efficientnet_v2_m(
    num_classes: int = 1000, dropout: float = 0.3, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNetV2:
    """EfficientNetV2-M; 54.1 M parameters, 24.6 G multiply-adds at 480."""
    return EfficientNetV2(M, 480, num_classes=num_classes, dropout=dropout, stochastic_depth=stochastic_depth)


@register_model("classification", PAPER, Reported(params=120e6, macs=53e9, top1=85.7, source="table 7"))
def efficientnet_v2_l(
    num_classes: int = 1000, dropout: float = 0.4, stochastic_depth: float = 0.2, weights: str | None = None
) -> EfficientNetV2:
    """EfficientNetV2-L; 118.5 M parameters, 56.1 G multiply-adds at 480."""
    return EfficientNetV2(L, 480, num_classes=num_classes, dropout=dropout, stochastic_depth=stochastic_depth)
