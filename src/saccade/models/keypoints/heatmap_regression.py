"""Heatmap matching: regress a Gaussian blob at each point, read the highest cell.

Paper: Jonathan Tompson, Arjun Jain, Yann LeCun, Christoph Bregler, "Joint Training of a Convolutional Network and a
Graphical Model for Human Pose Estimation", NeurIPS 2014, arXiv 1406.2984; here as the baseline that Nibali et al. 2018
(arXiv 1801.07372) compare DSNT with.

Every point has a target heatmap with a Gaussian blob, and the network is trained to match it, cell by cell. That is
easy to learn, because every cell has a target of its own; but the loss does not know the distance, and the argmax that
reads the heatmap knows only whole cells.

    image          3 x 224 x 224
    backbone     512 x  28 x  28    ResNet with stride 8
    1x1            K x  28 x  28    one heatmap a point, height 1 at the point
    argmax         K x 2            centre of the highest cell

Differences from the paper: the network is the one of ``dsnt``, so that only the output layer differs. The squared error
is summed over the cells of a heatmap and then averaged over the points that have a ground truth, so that a learning
rate does not depend on the number of cells.

Published weights: none.
"""

from __future__ import annotations

from torch import Tensor

from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.keypoints.base import HeatmapModel, PeakReader, matching_loss
from saccade.models.registry import register_model

__all__ = ["HeatmapRegression", "heatmap_regression"]

PAPER = "Tompson et al., NeurIPS 2014, arXiv 1406.2984"


class HeatmapRegression(HeatmapModel):
    """Heatmap regression: the network of DSNT without its transform.

    Args:
        num_classes: Points, K.
        backbone: Builder name of a classifier with feature maps.
        output_stride: Pixels of the image a heatmap cell is wide.
        sigma: Standard deviation of the Gaussian that stands for a point, in heatmap cells.
        refine: How a point is read within its cell: see :class:`~saccade.models.keypoints.base.PeakReader`.

    Example:
        >>> model = saccade.create_model("heatmap_regression", num_classes=5)
        >>> model(torch.zeros(1, 3, 64, 64))["heatmaps"].shape
        torch.Size([1, 5, 8, 8])
    """

    def __init__(self, num_classes: int, backbone: str, output_stride: int, sigma: float, refine: str = "none") -> None:
        super().__init__(num_classes, backbone, output_stride, sigma)
        self.read_peaks = PeakReader(refine, sigma, output_stride)
        self.decoded_keys = self.read_peaks.decoded_keys

    def forward(self, images: Tensor) -> Outputs:
        """``heatmaps`` (B, K, h, w), about 0 to 1."""
        return {"heatmaps": self.heatmap_logits(images)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``heatmap``: squared error against Gaussians of height 1 at ``keypoints`` (B, N, K, 3)."""
        heatmaps = self(images)["heatmaps"]
        points, visible = self.point_targets(targets, (heatmaps.shape[-2], heatmaps.shape[-1]))
        return {"heatmap": matching_loss(heatmaps, points, visible, self.sigma)}

    def decode(self, outputs: Outputs) -> Decoded:
        """One object: ``keypoints`` (B, 1, K, 2) in pixels, ``point_scores`` (B, 1, K), the height of each peak."""
        return self.read_peaks(outputs["heatmaps"])


@register_model("keypoints", PAPER)
def heatmap_regression(
    num_classes: int = 68,
    backbone: str = "resnet18",
    sigma: float = 1.0,
    output_stride: int = 8,
    refine: str = "none",
    weights: str | None = None,
) -> HeatmapRegression:
    """Heatmap matching over any registered classifier that has feature maps.

    Args:
        num_classes: Points.
        backbone: Builder name of the classifier.
        sigma: Standard deviation of the blobs, in heatmap cells.
        output_stride: Pixels of the image a heatmap cell is wide.
        refine: How a point is read within its cell: none (its centre, as in the paper), quarter or dark.
        weights: As everywhere.

    Example:
        >>> heatmap_regression(num_classes=5, output_stride=4).output_stride
        4
    """
    return HeatmapRegression(num_classes, backbone, output_stride, sigma, refine)
