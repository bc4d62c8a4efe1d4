"""SPP-Net as a classifier: fully connected layers over a canvas of any size.

Paper: Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for
Visual Recognition", ECCV 2014, arXiv 1406.4729.

Convolutions take images of any size; only fully connected layers want a fixed number of inputs. Pooling the last
feature map by grids of fixed numbers of cells gives them that, whatever the canvas, so that a network can train on
several sizes in turn (section 2.3, "Multi-size training") and be tested on another.

    images (B, 3, H, W)
      |  backbone                     (B, K, H / S, W / S)      its last feature map, conv5
      |  spatial pyramid pooling      (B, K (36 + 9 + 4 + 1))   maxima of 6x6, 3x3, 2x2 and 1x1 cells: 50 bins
      |  fc6, fc7 with dropout        (B, 4096)
      |  fc8                          (B, num_classes)

Differences from the paper: it puts the pyramid on networks of its day (ZF-5, Overfeat-5 and -7); here the backbone is
any classifier with feature maps, of which the last one is pooled. The layers begin with N(0, 0.01).

The detector of the same paper is :mod:`saccade.models.detection.spp_net`, whose layers have the same names: it starts
from a checkpoint of this network.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.spatial_pyramid_pool import SpatialPyramidPool
from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier
from saccade.models.classification.trunks import build_trunk
from saccade.models.registry import register_model
from saccade.structures.class_rows import linear_rows

__all__ = ["SPPNetClassifier", "spp_net_classifier", "start_layers"]

PAPER = "He et al., ECCV 2014, arXiv 1406.4729"


class SPPNetClassifier(Classifier):
    """Classifier over a spatial pyramid.

    Args:
        backbone: Classifier without its head, as :func:`saccade.models.classification.trunks.build_trunk` makes it.
        num_classes: Outputs of fc8.
        levels: Cells along a side of each grid of the pyramid.
        hidden: Outputs of fc6 and fc7.
        dropout: Dropout rate behind both.

    Example:
        >>> model = spp_net_classifier(num_classes=3, hidden=64).eval()
        >>> [model(torch.zeros(1, 3, side, side))["logits"].shape for side in (180, 224)]
        [torch.Size([1, 3]), torch.Size([1, 3])]
    """

    head_names = ("fc8",)
    class_rows = linear_rows("fc8")
    unused_by_features = ("fc6", "fc7", "fc8")

    def __init__(
        self, backbone: Classifier, num_classes: int, levels: Sequence[int], hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = backbone
        self.pyramid = SpatialPyramidPool(levels)
        self.fc6 = nn.Linear(backbone.feature_channels[-1] * self.pyramid.bins, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(dropout)
        start_layers(self.fc6, self.fc7, self.fc8)
        self.stage_names = (*(f"backbone.{name}" for name in backbone.stage_names), "fc6", "fc7")
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.input_spec = backbone.input_spec

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return list(self.backbone.features(images))

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes) of images (B, 3, H, W) of any size that the backbone takes."""
        x = self.pyramid(self.features(images)[-1])
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        return {"logits": self.fc8(x)}


def start_layers(*layers: nn.Linear, std: float = 0.01) -> None:
    """Weights of fully connected layers from N(0, std), biases zero.

    Example:
        >>> layer = torch.nn.Linear(512, 64)
        >>> start_layers(layer)
        >>> bool(layer.weight.std() < 0.011), bool((layer.bias == 0).all())
        (True, True)
    """
    for layer in layers:
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)


@register_model("classification", PAPER)
def spp_net_classifier(
    num_classes: int = 1000,
    backbone: str = "resnet18",
    levels: tuple[int, ...] = (6, 3, 2, 1),
    hidden: int = 4096,
    dropout: float = 0.5,
    weights: str | None = None,
) -> SPPNetClassifier:
    """SPP-Net as a classifier over the last feature map of any backbone.

    Args:
        num_classes: Outputs of fc8.
        backbone: Builder name of a classifier with feature maps; ``alexnet_2012`` is nearest to the paper's.
        levels: Cells along a side of each grid of the pyramid.
        hidden: Outputs of fc6 and fc7.
        dropout: Dropout rate behind both.
        weights: Checkpoint to start from.

    Example:
        >>> spp_net_classifier(num_classes=3, backbone="vgg11", hidden=64)(torch.zeros(1, 3, 96, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return SPPNetClassifier(build_trunk(backbone), num_classes, levels, hidden, dropout)
