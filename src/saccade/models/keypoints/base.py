"""Base of networks with one heatmap a point: backbone, resolution, targets, and coordinates in pixels."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Model, Targets
from saccade.models.classification.base import build_backbone
from saccade.ops.padding import pad_to_multiple
from saccade.structures.batch import pad_targets
from saccade.structures.class_rows import linear_rows

__all__ = ["HeatmapModel", "to_pixels"]


class HeatmapModel(Model):
    """Base of heatmap networks: a backbone, then one heatmap a point by a 1x1 convolution.

    A backbone that can trade stride for dilation does so (down to stride 8); where its coarsest feature map is still
    coarser than ``output_stride``, the heatmaps are enlarged bilinearly.

    Args:
        num_classes: Points, K.
        backbone: Builder name of a classifier with feature maps.
        output_stride: Pixels of the image a heatmap cell is wide.
        sigma: Standard deviation of the Gaussian that stands for a point, in heatmap cells.

    Raises:
        ConfigError: If the stride of the backbone's coarsest feature map is no multiple of ``output_stride``.

    Example:
        >>> model = saccade.create_model("dsnt", num_classes=5).eval()
        >>> model.predict(torch.zeros(2, 3, 64, 64))["keypoints"].shape
        torch.Size([2, 1, 5, 2])
    """

    task = "keypoints"
    target_names = ("keypoints",)
    decoded_keys = ("keypoints", "point_scores", "scores", "count")
    head_names = ("head",)
    class_rows = linear_rows("head")  # points are the classes

    def __init__(self, num_classes: int, backbone: str, output_stride: int, sigma: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.output_stride = output_stride
        self.sigma = sigma
        self.backbone = build_backbone(backbone, output_stride=max(8, output_stride))
        self.feature_channels, self.feature_strides = self.backbone.feature_channels, self.backbone.feature_strides
        stride = self.feature_strides[-1]
        if stride % output_stride:
            raise ConfigError(
                f"backbone '{backbone}' ends at stride {stride}, which is no multiple of output_stride {output_stride}."
            )
        self.enlarge = stride // output_stride
        self.multiple = max(self.feature_strides)
        self.head = nn.Conv2d(self.feature_channels[-1], num_classes, 1)
        # Nearly flat heatmaps at first, so that every point starts in the middle of the image.
        nn.init.normal_(self.head.weight, std=0.01)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        self.input_spec = replace(
            self.backbone.input_spec, size=(224, 224), resize="letterbox", pad_multiple=self.multiple
        )
        self.stage_names = tuple(f"backbone.{name}" for name in self.backbone.stage_names)

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps of the backbone."""
        return self.backbone.features(images)

    def heatmap_logits(self, images: Tensor) -> Tensor:
        """(B, K, h, w) float32 of images (B, 3, H, W) of any size; h is H / output_stride, rounded up."""
        logits = self.head(self.features(pad_to_multiple(images, self.multiple))[-1]).float()
        if self.enlarge > 1:
            logits = F.interpolate(logits, scale_factor=self.enlarge, mode="bilinear", align_corners=False)
        return logits

    def point_targets(self, targets: Targets, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points of the first object of each image.

        Args:
            targets: ``keypoints`` (B, N, K, 3) in pixels of the canvas.
            size: (h, w) of the heatmaps.

        Returns:
            Normalised x and y (B, K, 2), and whether the point has a ground truth (B, K), bool.
        """
        first = pad_targets(targets)["keypoints"][:, 0].float()
        height, width = size
        extent = first.new_tensor((width, height)) * self.output_stride
        return first[..., :2] * 2 / extent - 1, first[..., 2] > 0


def to_pixels(coordinates: Tensor, heatmaps: Tensor, output_stride: int) -> Tensor:
    """Normalised coordinates to pixels of the canvas.

    Args:
        coordinates: x and y, (B, K, 2), -1 and 1 at the borders of the heatmaps.
        heatmaps: (B, K, h, w); only the shape matters.
        output_stride: Pixels of the canvas a heatmap cell is wide.

    Returns:
        (B, K, 2), pixels.

    Example:
        >>> to_pixels(torch.zeros(1, 1, 2), torch.zeros(1, 1, 4, 8), output_stride=8).tolist()
        [[[32.0, 16.0]]]
    """
    height, width = heatmaps.shape[-2:]
    extent = coordinates.new_tensor((width, height)) * output_stride
    return (coordinates + 1) / 2 * extent
