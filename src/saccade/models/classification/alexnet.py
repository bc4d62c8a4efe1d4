"""AlexNet: the network that won ImageNet in 2012, and its one-column successor.

Papers: Alex Krizhevsky, Ilya Sutskever, Geoffrey E. Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NeurIPS 2012; Alex Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, arXiv
1404.5997.

LeNet's plan, a hundred times larger: convolutions that shrink the feature map and widen the channels, then fully
connected layers. What made it trainable is the ReLU, which does not saturate; what made it general is dropout in the
large layers, and images that are cropped, mirrored and tinted anew each time they are seen. It was trained on two cards
of 3 GB, each with half of the kernels; the halves are connected in conv3 and the fully connected layers only.

    2012, two columns                          2014, one column
    image            3 x 227 x 227             image            3 x 224 x 224
    conv1 11x11 / 4  96 x 55 x 55              conv1 11x11 / 4  64 x 55 x 55
    LRN, pool 3x3/2  96 x 27 x 27              pool 3x3 / 2     64 x 27 x 27
    conv2 5x5, g=2  256 x 27 x 27              conv2 5x5       192 x 27 x 27
    LRN, pool 3x3/2 256 x 13 x 13              pool 3x3 / 2    192 x 13 x 13
    conv3 3x3       384 x 13 x 13              conv3 3x3       384 x 13 x 13
    conv4 3x3, g=2  384 x 13 x 13              conv4 3x3       256 x 13 x 13
    conv5 3x3, g=2  256 x 13 x 13              conv5 3x3       256 x 13 x 13
    pool 3x3 / 2    256 x  6 x  6              pool 3x3 / 2    256 x  6 x  6
    fc6, fc7        4096                       fc6, fc7        4096
    fc8             1000                       fc8             1000

Differences from the paper: the paper of 2012 gives 224 x 224, but 55 locations at stride 4 need (55 - 1) * 4 + 11 = 227
pixels; ``alexnet_2012`` takes 227 without padding, which is the usual reading (the other, 224 with three pixels of
padding in all, sees the same pixels). Pooling windows of 3 at stride 2 overlap, as in section 3.4. Normalisation is the
paper's, whose alpha is not divided by the window (see ``blocks.local_response_norm``). ``alexnet`` has no paper's
initialisation to follow and takes He's. Images of other sizes reach 6 x 6 locations by adaptive pooling.

Published weights: torchvision publishes the one-column form.
"""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.fully_convolutional import linear_as_convolution
from saccade.blocks.local_response_norm import LocalResponseNorm
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["AlexNet", "AlexNet2012", "alexnet", "alexnet_2012"]

PAPER_2012 = "Krizhevsky et al., NeurIPS 2012"
PAPER_2014 = "Krizhevsky 2014, arXiv 1404.5997"


class _AlexNet(Classifier):
    """Base of both AlexNets: a convolutional trunk, pooling to 6 x 6, three fully connected layers.

    Args:
        trunk: Convolutions up to the last pooling; its poolings are ``nn.MaxPool2d``.
        num_classes: Outputs of fc8.
        fc_channels: Outputs of fc6 and fc7.
        dropout: Dropout rate before fc6 and fc7 (section 4.2).
    """

    head_names = ("classifier.6",)
    class_rows = linear_rows("classifier.6")
    unused_by_features = ("classifier",)

    def __init__(self, trunk: nn.Sequential, num_classes: int, fc_channels: int, dropout: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.trunk = trunk
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, fc_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(fc_channels, fc_channels),
            nn.ReLU(inplace=True),
            nn.Linear(fc_channels, num_classes),
        )
        convolutions = [name for name, module in trunk.named_children() if isinstance(module, nn.Conv2d)]
        self.stage_names = (*(f"trunk.{name}" for name in convolutions), "classifier.1", "classifier.4")
        first = trunk[0]
        assert isinstance(first, nn.Conv2d)
        widths = [module.out_channels for module in trunk.children() if isinstance(module, nn.Conv2d)]
        self.feature_channels = (widths[0], widths[1], widths[-1], widths[-1])
        self.feature_strides = (4, 8, 16, 32)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of conv1, conv2, conv5 and pool5, at strides 4, 8, 16 and 32; images (B, 3, H, W).

        The image is padded so that each window of 11 pixels is centred on its 4, and pooling windows start inside the
        feature map: feature maps then have H / stride locations, aligned with the pixels.
        """
        first = self.trunk[0]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(first.padding, tuple)
        inside = first.padding[0]
        x = F.pad(images, (3 - inside, 4 - inside, 3 - inside, 4 - inside))
        maps = []
        for module in self.trunk:
            if isinstance(module, nn.MaxPool2d):
                maps.append(x)
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            else:
                x = module(x)
        return [*maps, x]

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes) of images (B, 3, H, W) with H, W >= 63."""
        x = F.adaptive_avg_pool2d(self.trunk(images), 6)  # (B, 256, 6, 6); nothing to do at the network's own size
        return {"logits": self.classifier(x.flatten(1))}

    def to_fully_convolutional(self) -> nn.Sequential:
        """Fully convolutional form: (B, 3, H, W) of any size to logits (B, num_classes, h, w), with the same weights.

        At the network's own size the output has one location, which holds its logits.
        """
        _, fc6, _, _, fc7, _, fc8 = self.classifier
        assert isinstance(fc6, nn.Linear)
        assert isinstance(fc7, nn.Linear)
        assert isinstance(fc8, nn.Linear)
        rate = self.dropout_rate
        return nn.Sequential(
            self.trunk,
            nn.Dropout(rate), linear_as_convolution(fc6, 6), nn.ReLU(inplace=True),
            nn.Dropout(rate), linear_as_convolution(fc7), nn.ReLU(inplace=True),
            linear_as_convolution(fc8),
        ).train(self.training)  # fmt: skip


class AlexNet(_AlexNet):
    """AlexNet in one column: the form of 2014, whose weights torchvision publishes.

    Args:
        num_classes: Outputs of fc8.
        fc_channels: Outputs of fc6 and fc7.
        dropout: Dropout rate before fc6 and fc7.

    Example:
        >>> AlexNet(num_classes=3, fc_channels=64)(torch.zeros(1, 3, 224, 224))["logits"].shape
        torch.Size([1, 3])
    """

    input_spec = IMAGENET_SPEC

    def __init__(self, num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5) -> None:
        trunk = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, padding=2), nn.ReLU(inplace=True),  # (B, 64, 55, 55)
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True),  # (B, 192, 27, 27)
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),  # (B, 384, 13, 13)
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),  # (B, 256, 6, 6)
        )  # fmt: skip
        super().__init__(trunk, num_classes, fc_channels, dropout)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)


class AlexNet2012(_AlexNet):
    """AlexNet in two columns: the network that won ImageNet in 2012 (figure 2).

    Args:
        num_classes: Outputs of fc8.
        fc_channels: Outputs of fc6 and fc7.
        dropout: Dropout rate before fc6 and fc7.

    Example:
        >>> model = AlexNet2012(num_classes=3, fc_channels=64)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(96, 16, 16), (256, 8, 8), (256, 4, 4), (256, 2, 2)]
    """

    # "We trained our network on the (centered) raw RGB values of the pixels" (section 2).
    input_spec = replace(IMAGENET_SPEC, size=(227, 227), std=(1.0, 1.0, 1.0), crop_fraction=227 / 256)

    def __init__(self, num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5) -> None:
        trunk = nn.Sequential(
            nn.Conv2d(3, 96, 11, 4), nn.ReLU(inplace=True), LocalResponseNorm(),  # (B, 96, 55, 55)
            nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), LocalResponseNorm(),  # (B, 256, 27, 27)
            nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),  # (B, 384, 13, 13): both columns are seen
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),  # (B, 256, 6, 6)
        )  # fmt: skip
        super().__init__(trunk, num_classes, fc_channels, dropout)
        # Section 5: N(0, 0.01); biases of conv2, conv4, conv5 and the hidden fully connected layers are 1, so that
        # ReLUs get positive inputs from the start; the others are 0.
        ones = {self.trunk[4], self.trunk[10], self.trunk[12], self.classifier[1], self.classifier[4]}
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.constant_(module.bias, 1.0 if module in ones else 0.0)


@register_model("classification", PAPER_2014)
def alexnet(
    num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None
) -> AlexNet:
    """AlexNet in one column (2014); 61.1 M parameters, 0.71 G multiply-adds.

    Example:
        >>> alexnet(num_classes=3, fc_channels=64)(torch.zeros(1, 3, 224, 224))["logits"].shape
        torch.Size([1, 3])
    """
    return AlexNet(num_classes, fc_channels, dropout)


@register_model("classification", PAPER_2012, Reported(params=60e6, top1=59.3, source="sections 1 and 6 (one CNN)"))
def alexnet_2012(
    num_classes: int = 1000, fc_channels: int = 4096, dropout: float = 0.5, weights: str | None = None
) -> AlexNet2012:
    """AlexNet in two columns (2012); 61.0 M parameters, 0.72 G multiply-adds."""
    return AlexNet2012(num_classes, fc_channels, dropout)
