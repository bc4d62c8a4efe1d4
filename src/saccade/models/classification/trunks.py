"""Trunks of classifiers for detectors that pool regions from one feature map."""

from __future__ import annotations

from typing import Any

from torch import nn

from saccade.models.classification.alexnet import AlexNet, AlexNet2012
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.vgg import VGG

__all__ = ["build_trunk"]


def build_trunk(name: str, stride: int = 16) -> Classifier:
    """Convolutions of a classifier, all of which its last feature map depends on.

    Networks of 2012 to 2014 lose their last pooling, which takes the map from stride 16 to 32: regions are pooled
    instead (Girshick 2015, Fast R-CNN, section 2.2). The other poolings of VGG round sizes up, as in the framework that
    it was published for; on canvases of whole strides that changes nothing. Later networks trade the stride of their
    last stage for dilation where they can, and keep it where they cannot.

    Args:
        name: Builder name of a classifier with feature maps.
        stride: Of the last map, where the network has the choice.

    Example:
        >>> [build_trunk(name).feature_strides[-1] for name in ("vgg11", "alexnet", "resnet18", "efficientnet_b0")]
        [16, 16, 16, 32]
    """
    options: dict[str, Any] = {"output_stride": stride}
    body = build_backbone(name, **options)
    if isinstance(body, VGG) and stride == 16:
        last = body.trunk[-1]
        assert isinstance(last, nn.Sequential)
        last[-1] = nn.Identity()
        for module in body.trunk.modules():
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True
        body.feature_strides = (*body.feature_strides[:-1], 16)
    elif isinstance(body, AlexNet | AlexNet2012) and stride == 16:
        body.trunk = nn.Sequential(*list(body.trunk)[:-1])
        body.feature_strides, body.feature_channels = body.feature_strides[:-1], body.feature_channels[:-1]
    return body
