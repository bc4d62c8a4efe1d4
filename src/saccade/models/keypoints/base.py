"""Bases of networks that find the points of one object: backbone, heatmaps, targets, coordinates in pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.losses.dsnt import masked_mean
from saccade.models.base import Decoded, Model, Targets
from saccade.models.classification.base import build_backbone
from saccade.ops.heatmap_peaks import heatmap_peaks, smooth_heatmaps
from saccade.ops.heatmaps import gaussian
from saccade.ops.padding import pad_to_multiple
from saccade.structures.batch import pad_targets
from saccade.structures.class_rows import linear_rows

__all__ = ["REFINEMENTS", "HeatmapModel", "PeakReader", "PointModel", "first_points", "matching_loss", "to_pixels"]

REFINEMENTS = ("none", "quarter", "dark")


class PointModel(Model):
    """Base of networks that find K points of one object over any classifier with feature maps.

    A backbone that can trade stride for dilation does so, down to stride 8.

    Args:
        num_classes: Points, K.
        backbone: Builder name of a classifier with feature maps.
        output_stride: Stride that its coarsest feature map should have.

    Example:
        >>> saccade.create_model("coordinate_regression", num_classes=5).feature_strides
        (2, 4, 8, 16, 32)
    """

    task = "keypoints"
    single_object = True
    target_names = ("keypoints",)
    decoded_keys: tuple[str, ...] = ("keypoints", "point_scores", "scores", "count")
    head_names = ("head",)

    def __init__(self, num_classes: int, backbone: str, output_stride: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = build_backbone(backbone, output_stride=max(8, output_stride))
        self.feature_channels, self.feature_strides = self.backbone.feature_channels, self.backbone.feature_strides
        self.multiple = max(self.feature_strides)
        self.input_spec = replace(
            self.backbone.input_spec, size=(224, 224), resize="letterbox", pad_multiple=self.multiple
        )
        self.stage_names = tuple(f"backbone.{name}" for name in self.backbone.stage_names)

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps of the backbone."""
        return self.backbone.features(images)


class HeatmapModel(PointModel):
    """Base of heatmap networks: a backbone, then one heatmap a point by a 1x1 convolution.

    Where the coarsest feature map is still coarser than ``output_stride``, the heatmaps are enlarged bilinearly.

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

    class_rows = linear_rows("head")  # points are the classes

    def __init__(self, num_classes: int, backbone: str, output_stride: int, sigma: float) -> None:
        super().__init__(num_classes, backbone, output_stride)
        self.output_stride = output_stride
        self.sigma = sigma
        stride = self.feature_strides[-1]
        if stride % output_stride:
            raise ConfigError(
                f"backbone '{backbone}' ends at stride {stride}, which is no multiple of output_stride {output_stride}."
            )
        self.enlarge = stride // output_stride
        self.head = nn.Conv2d(self.feature_channels[-1], num_classes, 1)
        # Nearly flat heatmaps at first, so that every point starts in the middle of the image.
        nn.init.normal_(self.head.weight, std=0.01)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def heatmap_logits(self, images: Tensor) -> Tensor:
        """(B, K, h, w) float32 of images (B, 3, H, W) of any size; h is H / output_stride, rounded up."""
        logits = self.head(self.features(pad_to_multiple(images, self.multiple))[-1]).float()
        if self.enlarge > 1:
            logits = F.interpolate(logits, scale_factor=self.enlarge, mode="bilinear", align_corners=False)
        return logits

    def point_targets(self, targets: Targets, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points of the object of each image: :func:`first_points` at this network's stride."""
        return first_points(targets, size, self.output_stride)


def first_points(
    targets: Targets, size: tuple[int, int], output_stride: int, cell_centre: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Points of the object of each image.

    Args:
        targets: ``keypoints`` (B, N, K, 3) in pixels of the canvas; of several objects the first is taken, but data
            with several in an image are cropped or refused before a run (:mod:`saccade.data.derived.object_crops`).
        size: (h, w) of the heatmaps.
        output_stride: Pixels of the canvas a heatmap cell is wide.
        cell_centre: Where in its cell a heatmap's value lies, 0..1 from its first edge.

    Returns:
        Normalised x and y (B, K, 2), and whether the point has a ground truth (B, K), bool.

    Example:
        >>> points, labelled = first_points({"keypoints": torch.tensor([[[[16.0, 8, 2]]]])}, (4, 8), output_stride=4)
        >>> points.tolist(), labelled.tolist()
        ([[[0.0, 0.0]]], [[True]])
    """
    first = pad_targets(targets)["keypoints"][:, 0].float()
    cells = first[..., :2] / output_stride + (0.5 - cell_centre)
    return cells * 2 / first.new_tensor(size[::-1]) - 1, first[..., 2] > 0


def matching_loss(heatmaps: Tensor, points: Tensor, visible: Tensor, sigma: float) -> Tensor:
    """Squared error against Gaussians of height 1, summed over cells, averaged over the labelled points.

    Args:
        heatmaps: (B, K, h, w).
        points: (B, K, 2), normalised.
        visible: (B, K) bool, which points have a ground truth.
        sigma: Standard deviation of the Gaussians in cells.

    Example:
        >>> points, visible = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool)
        >>> round(matching_loss(torch.zeros(1, 1, 9, 9), points, visible, sigma=1.0).item(), 3)  # about pi
        3.142
    """
    error = heatmaps - gaussian(points, (heatmaps.shape[-2], heatmaps.shape[-1]), sigma, peak_one=True)
    return masked_mean(error.square().sum((-2, -1)), visible)


class PeakReader:
    """Reads one object from heatmaps: the highest cell of each, refined, in pixels of the canvas.

    Args:
        refine: ``none`` (the centre of the cell), ``quarter`` (a quarter of a cell towards the higher neighbour) or
            ``dark`` (Zhang et al. 2020: the maximum of the smoothed heatmap's Taylor expansion).
        sigma: Standard deviation of the Gaussians that were learnt, in cells.
        output_stride: Pixels of the canvas a heatmap cell is wide.
        cell_centre: Where in its cell a heatmap's value lies, 0..1 from its first edge.

    Attributes:
        decoded_keys: Keys of what it reads. Heatmaps are among them where they are refined, so that test-time
            augmentation averages them before they are read.

    Raises:
        ConfigError: If the refinement is unknown.

    Example:
        >>> PeakReader("dark", sigma=2.0, output_stride=4).decoded_keys[-1]
        'smoothed_heatmaps'
    """

    def __init__(self, refine: str, sigma: float, output_stride: int, cell_centre: float = 0.5) -> None:
        if refine not in REFINEMENTS:
            raise ConfigError(f"refine is '{refine}'.{did_you_mean(refine, REFINEMENTS)}")
        self.sigma, self.output_stride, self.cell_centre = sigma, output_stride, cell_centre
        self.refine: Literal["none", "quarter", "newton"]
        self.refine = "newton" if refine == "dark" else "quarter" if refine == "quarter" else "none"
        kept = {"none": (), "quarter": ("heatmaps",), "newton": ("smoothed_heatmaps",)}[self.refine]
        # Who reads merged heatmaps takes the middle of a cell for its centre.
        self.kept: tuple[str, ...] = kept if cell_centre == 0.5 else ()
        self.decoded_keys = (*HeatmapModel.decoded_keys, *self.kept)

    def __call__(self, heatmaps: Tensor) -> Decoded:
        """``keypoints`` (B, 1, K, 2), ``point_scores`` (B, 1, K), ``scores``, ``count``, and the heatmaps if kept."""
        maps = smooth_heatmaps(heatmaps, self.sigma) if self.refine == "newton" else heatmaps
        cells, values = heatmap_peaks(maps, self.refine)
        point_scores = values.clamp(0.0, 1.0)
        return {
            "keypoints": ((cells + (self.cell_centre - 0.5)) * self.output_stride).unsqueeze(1),
            "point_scores": point_scores.unsqueeze(1),
            "scores": point_scores.mean(dim=1, keepdim=True),
            "count": torch.ones_like(values[:, 0], dtype=torch.int64),
            **dict.fromkeys(self.kept, maps),
        }


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
