"""DSNT: keypoints as the mean position of heatmaps, trained as coordinates.

Paper: Aiden Nibali, Zhen He, Stuart Morgan, Luke Prendergast, "Numerical Coordinate Regression with Convolutional
Neural Networks", 2018, arXiv 1801.07372.

Heatmap networks are trained to match a blob and then read by argmax, which has no gradient and knows only whole cells.
Fully connected ones regress coordinates but must learn each location of the image anew. DSNT normalises a heatmap to
probabilities and takes the mean position: that has a gradient, is finer than a cell, adds no parameter and leaves the
network convolutional. The loss is the distance itself; a regulariser keeps the mass in one blob.

    image            3 x 224 x 224
    backbone       512 x  28 x  28    ResNet with stride 8: the last two stages dilated
    1x1              K x  28 x  28    one heatmap a point
    softmax          K x  28 x  28    Z, sum one
    <Z, X>, <Z, Y>   K x 2            X = (2x + 1) / w - 1, Y = (2y + 1) / h - 1

    loss = L_euc(mu, p) + lambda * L_reg(Z, p),  L_reg one of: variance, Kullback-Leibler, Jensen-Shannon (the paper's
    choice)

Differences from the paper: the backbone is any classifier here and ResNet-18 by default, where the paper has ResNets of
34 layers and more and stacked hourglasses. The variance regulariser counts in heatmap cells and not in normalised
units, as the authors' later library does. Points without a ground truth are left out of the loss.
``heatmap_regression`` and ``coordinate_regression`` beside this file are the baselines of the paper's comparison.

Published weights: none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.errors import ConfigError, did_you_mean
from saccade.losses.dsnt import euclidean_loss, js_regularizer, kl_regularizer, masked_mean, variance_regularizer
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.keypoints.base import HeatmapModel, to_pixels
from saccade.models.registry import register_model
from saccade.ops.heatmaps import expectation, peak_mass

__all__ = ["DSNT", "dsnt"]

PAPER = "Nibali et al., 2018, arXiv 1801.07372"

REGULARIZERS = ("js", "kl", "variance", "none")


class DSNT(HeatmapModel):
    """Heatmap network with the differentiable spatial to numerical transform (DSNT).

    Args:
        num_classes: Points, K.
        backbone: Builder name of a classifier with feature maps.
        regularizer: ``js``, ``kl``, ``variance`` or ``none``.
        sigma: Standard deviation that heatmaps should have, in cells.
        output_stride: Pixels of the image a heatmap cell is wide.

    Attributes:
        regularizer_weight: lambda.

    Raises:
        ConfigError: If the regulariser is unknown.

    Example:
        >>> model = saccade.create_model("dsnt", num_classes=5, regularizer="kl")
        >>> {name: tuple(value.shape) for name, value in model(torch.zeros(1, 3, 64, 64)).items()}
        {'heatmaps': (1, 5, 8, 8), 'coordinates': (1, 5, 2)}
    """

    regularizer_weight: float = 1.0

    def __init__(self, num_classes: int, backbone: str, regularizer: str, sigma: float, output_stride: int) -> None:
        super().__init__(num_classes, backbone, output_stride, sigma)
        if regularizer not in REGULARIZERS:
            raise ConfigError(f"dsnt has no regularizer '{regularizer}'.{did_you_mean(regularizer, REGULARIZERS)}")
        self.regularizer = regularizer

    def forward(self, images: Tensor) -> Outputs:
        """``heatmaps`` (B, K, h, w) of sum one and ``coordinates`` (B, K, 2), normalised."""
        heatmaps = self.heatmap_logits(images)
        heatmaps = heatmaps.flatten(2).softmax(dim=-1).view_as(heatmaps)
        return {"heatmaps": heatmaps, "coordinates": expectation(heatmaps)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``coordinates`` and ``regularizer`` for ``keypoints`` (B, N, K, 3): means over the labelled points."""
        outputs = self(images)
        heatmaps = outputs["heatmaps"]
        ground_truth, visible = self.point_targets(targets, (heatmaps.shape[-2], heatmaps.shape[-1]))
        terms = {"coordinates": masked_mean(euclidean_loss(outputs["coordinates"], ground_truth), visible)}
        if self.regularizer == "js":
            penalty = js_regularizer(heatmaps, ground_truth, self.sigma)
        elif self.regularizer == "kl":
            penalty = kl_regularizer(heatmaps, ground_truth, self.sigma)
        elif self.regularizer == "variance":
            penalty = variance_regularizer(heatmaps, self.sigma)
        else:
            return terms
        terms["regularizer"] = self.regularizer_weight * masked_mean(penalty, visible)
        return terms

    def decode(self, outputs: Outputs) -> Decoded:
        """One object: ``keypoints`` (B, 1, K, 2) in pixels, ``point_scores`` (B, 1, K), the mass around each peak."""
        heatmaps, coordinates = outputs["heatmaps"], outputs["coordinates"]
        point_scores = peak_mass(heatmaps).unsqueeze(1)
        return {
            "keypoints": to_pixels(coordinates, heatmaps, self.output_stride).unsqueeze(1),
            "point_scores": point_scores,
            "scores": point_scores.mean(dim=2),
            "count": torch.ones_like(coordinates[:, 0, 0], dtype=torch.int64),
        }


@register_model("keypoints", PAPER)
def dsnt(
    num_classes: int = 68,
    backbone: str = "resnet18",
    regularizer: str = "js",
    sigma: float = 1.0,
    output_stride: int = 8,
    weights: str | None = None,
) -> DSNT:
    """DSNT over any registered classifier that has feature maps; 11.2 M parameters with ResNet-18 and 68 points.

    Args:
        num_classes: Points; 68 on faces.
        backbone: Builder name of the classifier.
        regularizer: ``js``, ``kl``, ``variance`` or ``none``.
        sigma: Standard deviation that heatmaps should have, in cells.
        output_stride: Pixels of the image a heatmap cell is wide; 8 gives 28 x 28 at 224.
        weights: As everywhere.

    Example:
        >>> dsnt(num_classes=5)(torch.zeros(1, 3, 64, 64))["coordinates"].shape
        torch.Size([1, 5, 2])
    """
    return DSNT(num_classes, backbone, regularizer, sigma, output_stride)
