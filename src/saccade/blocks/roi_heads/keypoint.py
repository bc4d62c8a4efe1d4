r"""Last layers of a keypoint head: a heatmap of 4m x 4m cells for each keypoint of a region.

    features (C, m, m) --- deconvolution 4x4 / 2 --- bilinear x 2 --- logits (keypoints, 4m, 4m)

He et al. 2017, Mask R-CNN (arXiv 1703.06870), section 5 "Implementation Details": m = 14, behind eight convolutions of
512 channels (:class:`~saccade.blocks.roi_heads.mask.ConvHead`).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["KeypointPredictor"]


class KeypointPredictor(nn.Module):
    """Heatmap logits of each keypoint at four times the resolution of the features.

    Args:
        in_channels: Of the features.
        num_keypoints: Keypoints of an object.

    Example:
        >>> KeypointPredictor(16, num_keypoints=17)(torch.zeros(5, 16, 14, 14)).shape
        torch.Size([5, 17, 56, 56])
    """

    def __init__(self, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = nn.ConvTranspose2d(in_channels, num_keypoints, 4, stride=2, padding=1)
        nn.init.kaiming_normal_(self.kps_score_lowres.weight, mode="fan_out", nonlinearity="relu")
        assert self.kps_score_lowres.bias is not None
        nn.init.zeros_(self.kps_score_lowres.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, m, m) to logits (N, num_keypoints, 4m, 4m)."""
        return F.interpolate(self.kps_score_lowres(features), scale_factor=2.0, mode="bilinear", align_corners=False)
