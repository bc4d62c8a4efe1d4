r"""SPP-Net for detection: one pass of the convolutions an image, and regions pooled from its feature map.

Paper: Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for
Visual Recognition", ECCV 2014, arXiv 1406.4729, section 4 and appendix A.

R-CNN runs its convolutions over each of 2,000 overlapping proposals. SPP-Net runs them once, over the whole image, maps
every proposal to a window of the last feature map, and pools the window by a pyramid of grids into a vector of one
length. What then differs between proposals is two fully connected layers: 24 to 102 times faster at test, as the paper
counts, at the same accuracy.

    images (B, 3, H, W)            proposals (B, P, 4)
      |  backbone                    |  first cell  floor(x1 / S) + 1, last cell  ceil(x2 / S) - 1
      |  (B, K, H / S, W / S)        |  windows (B, P, 4)
      \--- spatial pyramid pooling --/   maxima of 6x6, 3x3, 2x2, 1x1 cells of each window    (B, P, 50 K)
           |  fc6, fc7                                                                         (B, P, 4096)
           |  softmax, support vector machines, box regressors       as in R-CNN, the same three steps

A location x' of the map looks at the image around pixel S x', where every layer pads half of its kernel; the window
holds the locations whose centres lie inside of the proposal (appendix A).

Fine-tuning trains the fully connected layers alone: what lies below the pooling is fixed (section 4.1), which a recipe
asks for by ``freeze.trainable = "head"``. Background is what overlaps an object by 0.1 to 0.5.

Differences from the paper: one scale, that of the canvas, where the paper pools each proposal from the one of five
scales at which it is nearest to 224 x 224 pixels. A window in which no centre lies, of a proposal smaller than S, is
the location nearest to its middle; the paper does not say. Negatives of the support vector machines that overlap each
other by more than 0.7 are kept. Regression uses the features of the support vector machines (fc7), not those of the
pyramid. Backbones are any classifier; see :func:`saccade.models.classification.trunks.build_trunk` for their last
map. Scores are sigmoid(2 m) of the margins m.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.spatial_pyramid_pool import SpatialPyramidPool
from saccade.models.classification.base import Classifier
from saccade.models.classification.spp_net import start_layers
from saccade.models.classification.trunks import build_trunk
from saccade.models.detection.region_svm import RegionDetector, RegionRules
from saccade.models.detection.roi_branches import RegionSampling
from saccade.models.registry import register_model

__all__ = ["SPPNet", "map_windows", "spp_net", "spp_net_alexnet"]

_PAPER = "He et al., ECCV 2014, arXiv 1406.4729"


def map_windows(boxes_xyxy: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Windows of a feature map that boxes of the image cover (appendix A).

    Left and upper side: ``floor(x / S) + 1``; right and lower side: ``ceil(x / S) - 1``; both belong to the window.

    Args:
        boxes_xyxy: (..., 4), pixels.
        stride: S, pixels between neighbouring locations of the map.
        size: Height and width of the map.

    Returns:
        (..., 4): first column, first row, last column, last row; within the map, and at least one location.

    Example:
        >>> map_windows(torch.tensor([[31.0, 16.0, 100.0, 64.0], [17.0, 17.0, 20.0, 20.0]]), 16, (8, 8)).tolist()
        [[2.0, 2.0, 6.0, 3.0], [1.0, 1.0, 1.0, 1.0]]
    """
    scaled = boxes_xyxy / stride
    first, last = scaled[..., :2].floor() + 1, scaled[..., 2:].ceil() - 1
    middle = ((scaled[..., :2] + scaled[..., 2:]) / 2).round()
    none = first > last
    first, last = torch.where(none, middle, first), torch.where(none, middle, last)
    limits = boxes_xyxy.new_tensor([size[1] - 1, size[0] - 1])
    return torch.cat((torch.minimum(first.clamp(min=0), limits), torch.minimum(last.clamp(min=0), limits)), dim=-1)


class SPPNet(RegionDetector):
    """SPP-Net's detector over any backbone.

    Args:
        backbone: Classifier without its head, whose last feature map is pooled.
        num_classes: C, without background.
        levels: Cells along a side of each grid of the pyramid.
        hidden: Outputs of fc6 and fc7.
        dropout: Dropout rate behind both.

    Example:
        >>> model = spp_net(num_classes=2, hidden=64).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64), proposals=torch.tensor([[[8.0, 8, 40, 48]]]))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 100, 4]), torch.Size([1]))
    """

    head_names = ("fc6", "fc7", "head")
    rules = RegionRules(sampling=RegionSampling(count=128, background=0.1), regression_iou=0.5)

    def __init__(
        self, backbone: Classifier, num_classes: int, levels: Sequence[int], hidden: int, dropout: float
    ) -> None:
        super().__init__(num_classes, hidden)
        self.backbone = backbone
        self.pyramid = SpatialPyramidPool(levels)
        self.fc6 = nn.Linear(backbone.feature_channels[-1] * self.pyramid.bins, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        start_layers(self.fc6, self.fc7)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.input_spec = replace(
            backbone.input_spec, size=(512, 512), resize="letterbox", align="top_left", pad_multiple=32
        )

    @property
    def feature_settings(self) -> Mapping[str, Any]:
        """Grids of the pyramid."""
        return {"levels": list(self.pyramid.levels)}

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return list(self.backbone.features(images))

    def region_features(self, images: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Features (B, R, hidden) of boxes (B, R, 4): windows of one feature map an image."""
        conv5 = self.features(images)[-1]
        windows = map_windows(boxes_xyxy.float(), self.feature_strides[-1], (conv5.shape[2], conv5.shape[3]))
        x = self.pyramid(conv5, windows)  # (B, R, K * bins)
        x = self.dropout(F.relu(self.fc6(x)))
        return self.dropout(F.relu(self.fc7(x)))


@register_model("detection", _PAPER)
def spp_net_alexnet(num_classes: int = 20, weights: str | None = None) -> SPPNet:
    """SPP-Net over conv5 of the AlexNet of 2012, the nearest of its day to the paper's ZF-5: 50 bins, fc6 and fc7 4096.

    Example:
        >>> with torch.device("meta"):
        ...     model = spp_net_alexnet()
        >>> model.pyramid.bins, model.fc6.in_features, model.input_spec.size
        (50, 12800, (600, 1000))
    """
    model = SPPNet(build_trunk("alexnet_2012"), num_classes, (6, 3, 2, 1), 4096, 0.5)
    model.input_spec = replace(
        model.backbone.input_spec, size=(600, 1000), resize="shorter_side", align="top_left", pad_multiple=16
    )
    return model


@register_model("detection", _PAPER)
def spp_net(
    num_classes: int = 20,
    backbone: str = "resnet18",
    levels: tuple[int, ...] = (6, 3, 2, 1),
    hidden: int = 4096,
    dropout: float = 0.5,
    weights: str | None = None,
) -> SPPNet:
    """SPP-Net over the last feature map of any backbone.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of a classifier with feature maps.
        levels: Cells along a side of each grid of the pyramid; (4, 2, 1) is that of figure 3.
        hidden: Outputs of fc6 and fc7.
        dropout: Dropout rate behind both.
        weights: Checkpoint to start from, such as one of ``spp_net_classifier``.

    Example:
        >>> model = spp_net(num_classes=3, levels=(4, 2, 1), hidden=64)
        >>> targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}]
        >>> list(model.loss(torch.zeros(1, 3, 64, 64), targets, proposals=torch.tensor([[[0.0, 0, 30, 40]]])))
        ['classification']
    """
    return SPPNet(build_trunk(backbone), num_classes, levels, hidden, dropout)
