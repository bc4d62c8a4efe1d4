"""Darknet-19: the classifier that became YOLOv2's backbone.

Paper: Joseph Redmon, Ali Farhadi, "YOLO9000: Better, Faster, Stronger", CVPR 2017, arXiv 1612.08242, section 3.

VGG's 3x3 convolutions with twice the channels after each pooling, and between them 1x1 convolutions that halve the
channels, as in Network in Network: VGG's accuracy for a fifth of its operations. There is no fully connected layer: a
last 1x1 convolution outputs class scores at every location, and their mean over space is the prediction.

    image         3 x 224 x 224
    3x3           32 x 224 x 224
    pool, 3x3     64 x 112 x 112
    pool, 3x3 1x1 3x3               128 x 56 x 56      (the 1x1 has half the channels)
    pool, 3x3 1x1 3x3               256 x 28 x 28
    pool, 3x3 1x1 3x3 1x1 3x3       512 x 14 x 14
    pool, 3x3 1x1 3x3 1x1 3x3      1024 x  7 x  7
    1x1 with bias                  1000 x  7 x  7, mean over space

Differences from the paper: none in the layers (table 6). Its 5.58 billion operations count multiply and add apart.

Published weights: ``darknet19.weights`` of the authors (Darknet's own format, which ``load_weights`` reads).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from saccade.blocks.collect_features import collect_features
from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["DARKNET_SPEC", "Darknet19", "darknet19"]

PAPER = "Redmon and Farhadi, CVPR 2017, arXiv 1612.08242"

# Darknet divides pixels by 255 and subtracts nothing.
DARKNET_SPEC = replace(IMAGENET_SPEC, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0), crop_fraction=1.0)


class Darknet19(Classifier):
    """Darknet-19 classifier: nineteen convolutions, no fully connected layer (table 6).

    Args:
        num_classes: Channels of the last convolution.

    Example:
        >>> model = Darknet19(num_classes=3)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (1024, 2, 2)]
    """

    stage_names = tuple(f"trunk.{number}" for number in range(6))
    head_names = ("head",)
    class_rows = linear_rows("head")
    input_spec = DARKNET_SPEC
    feature_channels = (64, 128, 256, 512, 1024)
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        convolution = partial(ConvNormAct, activation=partial(nn.LeakyReLU, 0.1, inplace=True))
        stages: list[nn.Module] = [convolution(3, 32, 3)]
        channels = 32
        for width, depth in ((64, 1), (128, 3), (256, 3), (512, 5), (1024, 5)):
            layers: list[nn.Module] = [nn.MaxPool2d(2, 2)]
            for number in range(depth):  # 3x3 and 1x1 in turn
                wide = number % 2 == 0
                layers.append(convolution(channels, width if wide else width // 2, 3 if wide else 1))
                channels = width if wide else width // 2
            stages.append(nn.Sequential(*layers))
        self.trunk = nn.Sequential(*stages)
        self.head = nn.Conv2d(channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # Darknet's make_convolutional_layer: He's variance
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps at strides 2 to 32; images (B, 3, H, W)."""
        return collect_features(self.trunk, images, range(1, 6))

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.head(self.trunk(images)).mean((2, 3))}


@register_model(
    "classification",
    PAPER,
    Reported(macs=2.79e9, top1=72.9, source="section 3 (5.58 billion operations; top-1 at 224)"),
)
def darknet19(num_classes: int = 1000, weights: str | None = None) -> Darknet19:
    """Darknet-19; 20.8 M parameters, 2.8 G multiply-adds.

    Example:
        >>> darknet19(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return Darknet19(num_classes)
