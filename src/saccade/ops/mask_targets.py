"""Masks of objects as a network over regions learns them: cut out at a region and resampled to a small grid.

Letters: B images, N objects an image (padded), P regions, m cells along a side of a target.

RoIAlign averages bilinear samples at regular distances, and the weights of a sample are those of its row times those of
its column. So a target is two small matrices around the mask, one for the rows of its cells and one for the columns,
whatever the number of samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mask_targets"]

_REGIONS = 16  # worked on at a time; their masks are floating point in the meantime


@torch.no_grad()
def mask_targets(
    crops: Tensor, origins: Tensor, objects: tuple[Tensor, Tensor], boxes_xyxy: Tensor, canvas: Tensor, size: int = 28
) -> Tensor:
    """Share of each cell of a region that an object covers, by RoIAlign with about one sample a pixel.

    He et al. 2017, Mask R-CNN (arXiv 1703.06870), section 3.1: "the mask target is the intersection between an RoI and
    its associated ground-truth mask". The same numbers as RoIAlign (sampling ratio 0) of masks as large as the image,
    where they are zero outside of their crop.

    Args:
        crops: Masks cropped to the boxes of their objects, (B, N, h, w), as ``pad_targets`` makes them.
        origins: (B, N, 2) x and y of each crop on the canvas.
        objects: Image and row of the object that each region shows, (P,) int64 each.
        boxes_xyxy: Regions (P, 4), pixels of the canvas.
        canvas: Height and width of each image, (B, 2).
        size: m.

    Returns:
        (P, m, m) float32, 0..1.

    Example:
        >>> crops, origins = torch.ones(1, 1, 2, 2), torch.tensor([[[4, 0]]])  # pixels 4 and 5 of rows 0 and 1
        >>> objects = torch.tensor([0]), torch.tensor([0])
        >>> mask_targets(crops, origins, objects, torch.tensor([[2.0, 0.0, 6.0, 4.0]]), torch.tensor([[8, 8]]), size=2)
        tensor([[[0.1875, 0.5625],
                 [0.0000, 0.0000]]])
    """
    targets = boxes_xyxy.new_zeros(len(boxes_xyxy), size, size, dtype=torch.float32)
    if not len(targets):
        return targets
    boxes = boxes_xyxy.float()
    # Regions of like size side by side: what they need of their masks is of like size, too.
    for rows in (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).argsort().split(_REGIONS):
        image, row = (index[rows] for index in objects)
        start = origins[image, row]
        x1, y1, x2, y2 = boxes[rows].unbind(1)
        x = _cell_weights(x1, x2 - x1, canvas[image, 1], start[:, 0], crops.shape[3], size)
        y = _cell_weights(y1, y2 - y1, canvas[image, 0], start[:, 1], crops.shape[2], size)
        masks = crops[image, row, : y.shape[2], : x.shape[2]].float()
        with torch.autocast(boxes.device.type, enabled=False):  # ground truth, which a loss in half precision asks for
            targets[rows] = y @ masks @ x.mT
    return targets


def _cell_weights(low: Tensor, side: Tensor, limit: Tensor, start: Tensor, length: int, size: int) -> Tensor:
    """Weights (P, m, used) of the pixels of crops, along one axis, in the cells of regions.

    Args:
        low: (P,) where the regions begin.
        side: (P,) their length; one pixel at least.
        limit: (P,) length of the canvas; its last pixel counts for all that lies beyond its centre.
        start: (P,) where the crops begin.
        length: Of the crops; what comes out may be shorter, where nothing behind it is used.
        size: m.
    """
    side = side.clamp(min=1.0)
    samples = (side / size).ceil()  # along a cell, of each region
    most = int(samples.max())
    number = torch.arange(most, device=low.device)
    cells = torch.arange(size, device=low.device)[:, None]
    width = (side / size)[:, None, None]
    place = low[:, None, None] + width * cells + width * (number + 0.5) / samples[:, None, None]  # (P, m, S)
    last = (limit - 1)[:, None, None].to(place.dtype)
    counts = (number < samples[:, None, None]) & (place >= -1) & (place <= last + 1)
    place = torch.minimum(place.clamp(min=0), last)
    before = place.floor()
    share = place - before
    pixels = torch.stack((before, torch.minimum(before + 1, last)), dim=-1).long() - start[:, None, None, None]
    weights = torch.stack((1 - share, share), dim=-1) * (counts / samples[:, None, None])[..., None]
    inside = (pixels >= 0) & (pixels < length)
    used = max(1, int(torch.where(inside, pixels, 0).amax()) + 1)
    whole = weights.new_zeros(len(low), size, used)
    index = torch.where(inside, pixels, 0).flatten(2)
    return whole.scatter_add_(2, index, torch.where(inside, weights, 0.0).flatten(2))
