r"""Layers that tell what is in a region and where exactly: two fully connected ones, and the scores and codes.

    region (C, P, P) --- flatten --- fc6 --- ReLU --- fc7 --- ReLU --- cls_score: 1 + classes
                                                                   \-- bbox_pred: 4 a class, or 4

Girshick 2015, Fast R-CNN (arXiv 1504.08083), sections 2.1 and 3.1: fc6 and fc7 are those of VGG-16 there; over a
feature pyramid they are new and have 1,024 units (Lin et al. 2017, FPN, arXiv 1612.03144, section 4.2).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BoxPredictor", "TwoLayerHead"]


class TwoLayerHead(nn.Module):
    """Two fully connected layers over the regions.

    Args:
        in_channels: C of the regions.
        size: P, cells along a side of a region.
        hidden: Units of each layer.
        dropout: Share of units that training leaves out behind each layer (0.5 with the layers of VGG-16).

    Attributes:
        out_channels: Units of the last layer.

    Example:
        >>> TwoLayerHead(in_channels=8, size=7, hidden=32)(torch.zeros(5, 8, 7, 7)).shape
        torch.Size([5, 32])
    """

    def __init__(self, in_channels: int, size: int, hidden: int = 1024, dropout: float = 0.0) -> None:
        super().__init__()
        self.out_channels = hidden
        self.fc6 = nn.Linear(in_channels * size * size, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, regions: Tensor) -> Tensor:
        """Regions (N, C, P, P) to features (N, hidden)."""
        x = self.dropout(F.relu(self.fc6(regions.flatten(1))))
        return self.dropout(F.relu(self.fc7(x)))


class BoxPredictor(nn.Module):
    """Scores of background and classes, and box codes.

    Args:
        in_channels: Features of a region.
        num_classes: Classes without background.
        class_wise: Whether each class, background included, has codes of its own; otherwise there is one box a region.

    Example:
        >>> logits, codes = BoxPredictor(32, num_classes=3)(torch.zeros(5, 32))
        >>> logits.shape, codes.shape
        (torch.Size([5, 4]), torch.Size([5, 16]))
    """

    def __init__(self, in_channels: int, num_classes: int, class_wise: bool = True) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, 1 + num_classes)
        self.bbox_pred = nn.Linear(in_channels, 4 * (1 + num_classes) if class_wise else 4)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):  # section 3.1 of Fast R-CNN
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, in_channels) to logits (N, 1 + num_classes), background first, and codes (N, 4 x boxes)."""
        return self.cls_score(features), self.bbox_pred(features)
