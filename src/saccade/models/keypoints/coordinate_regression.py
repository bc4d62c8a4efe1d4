"""Coordinate regression: a fully connected layer reads all points from the pooled features.

Paper: Alexander Toshev, Christian Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014, arXiv
1312.4659: the first stage, a classifier whose last layer gives two numbers a joint; here as the second baseline that
Nibali et al. 2018 (arXiv 1801.07372) compare DSNT with.

There is no heatmap, so nothing is read by argmax and the loss is the distance itself. What Nibali et al. hold against
it is that such a layer does not generalise over locations, as convolutions do: where a point lies has to be learnt as a
function of the features.

    image          3 x 224 x 224
    backbone     512 x   7 x   7    ResNet with stride 32
    mean         512
    linear         K x 2            x and y, -1..1 over the canvas

Differences from the paper: the features are pooled as residual networks do it, so that the layer fits every size of the
canvas, where the paper's AlexNet flattens them. The loss is the distance and not its square, as Nibali et al. train
this baseline. The later stages, which look again at the surroundings of each joint, are left out.

Published weights: none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.losses.dsnt import euclidean_loss, masked_mean
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.keypoints.base import PointModel, first_points, to_pixels
from saccade.models.registry import register_model
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import ClassRows

__all__ = ["CoordinateRegression", "coordinate_regression"]

PAPER = "Toshev and Szegedy, CVPR 2014, arXiv 1312.4659"


class CoordinateRegression(PointModel):
    """Fully connected regression of the points of one object.

    Args:
        num_classes: Points, K.
        backbone: Builder name of a classifier with feature maps.
        output_stride: Stride of the feature map that is pooled.

    Raises:
        ConfigError: If the backbone has no map as fine as that.

    Example:
        >>> model = saccade.create_model("coordinate_regression", num_classes=5)
        >>> model(torch.zeros(1, 3, 64, 64))["points"].shape
        torch.Size([1, 5, 2])
    """

    def __init__(self, num_classes: int, backbone: str, output_stride: int) -> None:
        super().__init__(num_classes, backbone, output_stride)
        if self.feature_strides[-1] > output_stride:
            raise ConfigError(
                f"backbone '{backbone}' ends at stride {self.feature_strides[-1]} at least, and output_stride is "
                f"{output_stride}. Give that stride or more; no heatmaps are enlarged here."
            )
        self.class_rows = dict.fromkeys(("head.weight", "head.bias"), ClassRows(per_class=2))
        self.head = nn.Linear(self.feature_channels[-1], 2 * num_classes)
        # Every point starts in the middle of the image.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def coordinates(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised x and y (B, K, 2), float32, and the feature map (B, C, h, w) that they were read from."""
        x = self.features(pad_to_multiple(images, self.multiple))[-1]
        return self.head(x.mean((2, 3))).float().unflatten(1, (-1, 2)), x

    def forward(self, images: Tensor) -> Outputs:
        """``points`` (B, K, 2), x and y in pixels of the canvas."""
        coordinates, x = self.coordinates(images)
        return {"points": to_pixels(coordinates, x, self.feature_strides[-1])}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``coordinates`` for ``keypoints`` (B, N, K, 3): mean distance of the labelled points, normalised."""
        coordinates, x = self.coordinates(images)
        ground_truth, visible = first_points(targets, (x.shape[-2], x.shape[-1]), self.feature_strides[-1])
        return {"coordinates": masked_mean(euclidean_loss(coordinates, ground_truth), visible)}

    def decode(self, outputs: Outputs) -> Decoded:
        """One object: ``keypoints`` (B, 1, K, 2) in pixels. Nothing tells how sure they are: all scores are 1."""
        points = outputs["points"].unsqueeze(1)
        point_scores = torch.ones_like(points[..., 0])
        return {
            "keypoints": points,
            "point_scores": point_scores,
            "scores": torch.ones_like(point_scores[..., 0]),
            "count": torch.ones_like(points[:, 0, 0, 0], dtype=torch.int64),
        }


@register_model("keypoints", PAPER)
def coordinate_regression(
    num_classes: int = 68, backbone: str = "resnet18", output_stride: int = 32, weights: str | None = None
) -> CoordinateRegression:
    """Fully connected regression of points over any registered classifier that has feature maps.

    Args:
        num_classes: Points; 68 on faces.
        backbone: Builder name of the classifier.
        output_stride: Stride of the feature map that is pooled: 32, or 16 or 8 where the backbone can be dilated.
        weights: As everywhere.

    Example:
        >>> coordinate_regression(num_classes=5).head.out_features
        10
    """
    return CoordinateRegression(num_classes, backbone, output_stride)
