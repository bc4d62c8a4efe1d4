r"""SSDLite: SSD with depthwise separable convolutions, over MobileNetV2 and MobileNetV3.

Mark Sandler, Andrew Howard, Menglong Zhu, Andrey Zhmoginov, Liang-Chieh Chen, "MobileNetV2: Inverted Residuals and
Linear Bottlenecks", CVPR 2018, arXiv 1801.04381, section 6.2; Andrew Howard et al., "Searching for MobileNetV3", ICCV
2019, arXiv 1905.02244, section 6.3.

Every 3x3 convolution that SSD adds to its backbone becomes a depthwise 3x3 and a 1x1, which cuts parameters and
multiply-adds of the predictors by an order of magnitude. The first feature map is what the first unit of stride 32
expands its input to, the second the network's last.

    images (B, 3, 320, 320), RGB, -1..1
      |  MobileNetV3-Large to the expansion of C4     672 x 20 x 20    6 boxes a location at every level
      |  its end, widths of C5 halved                 480 x 10 x 10
      |  1x1 256, depthwise 3x3 / 2, 1x1              512 x  5 x  5
      |  1x1 128, depthwise 3x3 / 2, 1x1              256 x  3 x  3
      |  the same                                     256 x  2 x  2
      |  1x1  64, depthwise 3x3 / 2, 1x1              128 x  1 x  1        3234 boxes in all
      each map:  depthwise 3x3, 1x1 -> codes (B, A, 4)      depthwise 3x3, 1x1 -> logits (B, A, 1 + num_classes)

Differences from the papers: matching, loss and decoding are SSD's. Scales go from 0.2 to 0.95, six shapes at every
level, as in torchvision's network, and its thresholds of suppression; the papers print neither. A network over any
classifier is :func:`ssdlite`: MobileNets give the expansions before each halving, others their feature maps.

Published weights: torchvision (COCO).
"""

from __future__ import annotations

from typing import Final

from torch import nn

from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.mobilenet_v3 import LARGE, MobileNetV3, UnitRow
from saccade.models.detection.ssd import SSD, DefaultBoxes, linear_scales
from saccade.models.detection.ssd_parts import ClassifierFeatures, SSDHead
from saccade.models.registry import register_model
from saccade.ops.anchors import default_shapes
from saccade.ops.nms import NmsSettings
from saccade.structures.input_spec import InputSpec

__all__ = ["ssdlite", "ssdlite320_mobilenet_v2", "ssdlite320_mobilenet_v3_large"]

_V2 = "Sandler et al., CVPR 2018, arXiv 1801.04381"
_V3 = "Howard et al., ICCV 2019, arXiv 1905.02244"

# Half as many channels from C4 to the end: table 6 of the MobileNetV3 paper, marked by a dagger.
_REDUCED: Final = (
    *LARGE[:12],
    UnitRow(5, 672, 80, True, True, 2),
    UnitRow(5, 480, 80, True, True, 1),
    UnitRow(5, 480, 80, True, True, 1),
)


def _ssdlite(
    body: Classifier,
    num_classes: int,
    size: int,
    levels: int,
    finest_stride: int,
    scales: tuple[float, float],
    hard_negative_ratio: float | None,
) -> SSD:
    features = ClassifierFeatures(body, levels, finest_stride, lite=True)
    boxes = DefaultBoxes(default_shapes(linear_scales(levels, *scales), ((2, 3),) * levels), (None,) * levels)
    head = SSDHead(features.out_channels, boxes.per_location, num_classes, lite=True)
    spec = InputSpec(size=(size, size), mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
    nms = NmsSettings(0.55, score_threshold=0.001, pre_nms=1000, max_detections=300)
    model = SSD(features, head, boxes, num_classes, spec, nms, hard_negative_ratio)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.03
    return model


@register_model(task="detection", paper=_V3)
def ssdlite320_mobilenet_v3_large(
    num_classes: int = 90, hard_negative_ratio: float | None = 3.0, weights: str | None = None
) -> SSD:
    """SSDLite over MobileNetV3-Large with a reduced end; 3.4 M parameters and 0.58 G multiply-adds at 90 classes.

    Args:
        num_classes: Classes without background; 90 are the category ids of COCO, 80 of which have a name.
        hard_negative_ratio: See :class:`saccade.models.detection.ssd.SSD`.
        weights: As everywhere.

    Example:
        >>> model = ssdlite320_mobilenet_v3_large(num_classes=3).eval()
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 320, 320))][:2]
        [(672, 20, 20), (480, 10, 10)]
    """
    body = MobileNetV3(_REDUCED, hidden=1280)
    body.remove_head()
    return _ssdlite(body, num_classes, 320, 6, 16, (0.2, 0.95), hard_negative_ratio)


@register_model(task="detection", paper=_V2)
def ssdlite320_mobilenet_v2(
    num_classes: int = 80, hard_negative_ratio: float | None = 3.0, weights: str | None = None
) -> SSD:
    """SSDLite over MobileNetV2; 4.5 M parameters, 0.85 G multiply-adds (table 6: 4.3 M, 0.8 G).

    Args:
        num_classes: Classes without background.
        hard_negative_ratio: See :class:`saccade.models.detection.ssd.SSD`.
        weights: As everywhere.

    Example:
        >>> model = ssdlite320_mobilenet_v2(num_classes=3).eval()
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 320, 320))][:2]
        [(576, 20, 20), (1280, 10, 10)]
    """
    return _ssdlite(build_backbone("mobilenet_v2"), num_classes, 320, 6, 16, (0.2, 0.95), hard_negative_ratio)


@register_model(task="detection", paper=_V2)
def ssdlite(
    num_classes: int = 80,
    backbone: str = "mobilenet_v3_large",
    size: int = 320,
    levels: int = 6,
    finest_stride: int = 16,
    scales: tuple[float, float] = (0.2, 0.95),
    hard_negative_ratio: float | None = 3.0,
    weights: str | None = None,
) -> SSD:
    """SSDLite over any classifier, without a paper of its own.

    Args:
        num_classes: Classes without background.
        backbone: Builder of a classifier.
        size: Side of the square canvas, pixels.
        levels: Feature maps: those of the backbone from ``finest_stride`` on, then extra ones of half the side each.
        finest_stride: Stride of the finest map; 8 where objects are small.
        scales: Scale of the default boxes of the finest and of the coarsest map, shares of the canvas.
        hard_negative_ratio: See :class:`saccade.models.detection.ssd.SSD`.
        weights: As everywhere.

    Example:
        >>> model = ssdlite(num_classes=3, finest_stride=8, levels=4, scales=(0.07, 0.5))
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 256, 320))]
        [(240, 32, 40), (672, 16, 20), (960, 8, 10), (512, 4, 5)]
    """
    return _ssdlite(build_backbone(backbone), num_classes, size, levels, finest_stride, scales, hard_negative_ratio)
