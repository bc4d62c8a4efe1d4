"""Warping of boxes of any shape to images of one size, with some of their surroundings (R-CNN)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError

__all__ = ["warp_regions"]


def warp_regions(images: Tensor, boxes_xyxy: Tensor, size: int, context: int = 0) -> Tensor:
    """Warp boxes to squares by bilinear interpolation, whatever their aspect ratio.

    Girshick et al. 2014, R-CNN (arXiv 1311.2524), section 2.1 and appendix A, "warp" with context padding: a box fills
    the square but for ``context`` pixels on each side, which show what surrounds it. Where that lies outside of the
    image, it is 0: the mean, in images that are normalised.

    Args:
        images: (B, C, H, W), normalised.
        boxes_xyxy: (B, R, 4), pixels; boxes without area give one colour.
        size: Side S of the squares, pixels.
        context: Pixels of the square on each side of the box; less than half of ``size``.

    Returns:
        (B, R, C, S, S).

    Raises:
        ConfigError: If the context leaves nothing for the box.

    Example:
        >>> image = torch.arange(4.0).expand(1, 1, 4, 4)
        >>> box = torch.tensor([[[0.0, 0.0, 4.0, 2.0]]])
        >>> warp_regions(image, box, size=4)[0, 0, 0, 1].tolist()
        [0.0, 1.0, 2.0, 3.0]
        >>> warp_regions(image, box, size=6, context=1)[0, 0, 0, 2].tolist()
        [0.0, 0.0, 1.0, 2.0, 3.0, 0.0]
    """
    if not 0 <= 2 * context < size:
        raise ConfigError(f"a context of {context} pixels on each side leaves nothing of a square of {size}.")
    B, C, H, W = images.shape
    R = boxes_xyxy.shape[1]
    boxes_xyxy = boxes_xyxy.to(images.dtype)
    # Centres of the pixels of the square, in sides of the box: 0..1 inside of it, beyond that in the context.
    steps = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5 - context) / (size - 2 * context)
    low, side = boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    positions = low[..., None, :] + side[..., None, :] * steps[:, None]  # (B, R, S, 2): x of columns, y of rows
    # The sampler counts from -1 to 1, between the outer edges of the image.
    scaled = positions * (2 / images.new_tensor([W, H])) - 1
    x = scaled[..., None, :, 0].expand(-1, -1, size, -1)
    y = scaled[..., :, None, 1].expand(-1, -1, -1, size)
    grid = torch.stack((x, y), dim=-1).reshape(B, R * size, size, 2)
    warped = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.view(B, C, R, size, size).transpose(1, 2)
