"""Heatmaps: of keypoints (soft-argmax, Gaussian targets, concentration of the mass), and of object centres.

Coordinates of keypoints are normalised: the image covers -1 to 1 in x and in y, and the centre of cell x (counted from
0) of n is at (2x + 1) / n - 1, so that no cell centre lies on the border. Centres of objects are whole cells. Shapes: B
images, K keypoints, C classes, M objects an image (padded), H rows and W columns of cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "draw_gaussians",
    "expectation",
    "gaussian",
    "gaussian_radius",
    "local_peaks",
    "normalized_cells",
    "peak_mass",
]


def normalized_cells(count: int, like: Tensor) -> Tensor:
    """Normalised centres of a row of cells, ``(2x + 1) / count - 1``.

    Args:
        count: Number of cells.
        like: Tensor whose dtype and device the result has.

    Returns:
        (count,).

    Example:
        >>> normalized_cells(4, torch.zeros(1)).tolist()
        [-0.75, -0.25, 0.25, 0.75]
    """
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1


def expectation(heatmaps: Tensor) -> Tensor:
    """Expected coordinates of each heatmap, or soft-argmax: the differentiable spatial-to-numerical transform (DSNT).

    ``mu = (<Z, X>, <Z, Y>)`` for heatmap Z and the coordinates X, Y of its cells (Nibali et al. 2018, arXiv
    1801.07372).

    Args:
        heatmaps: (B, K, H, W), each of sum one.

    Returns:
        (B, K, 2), x and y, normalised.

    Example:
        >>> heatmaps = torch.zeros(1, 1, 4, 4)
        >>> heatmaps[0, 0, 0, 2] = heatmaps[0, 0, 0, 3] = 0.5
        >>> expectation(heatmaps).tolist()
        [[[0.5, -0.75]]]
    """
    x = (heatmaps.sum(-2) * normalized_cells(heatmaps.shape[-1], heatmaps)).sum(-1)
    y = (heatmaps.sum(-1) * normalized_cells(heatmaps.shape[-2], heatmaps)).sum(-1)
    return torch.stack((x, y), dim=-1)


def gaussian(means: Tensor, size: tuple[int, int], sigma: float, peak_one: bool = False) -> Tensor:
    """Isotropic Gaussians on a grid of cells: the target heatmaps of keypoints.

    Args:
        means: (B, K, 2), x and y, normalised.
        size: (H, W) of the grid.
        sigma: Standard deviation in cells.
        peak_one: Height 1 at the mean, as heatmap matching needs it, instead of sum one.

    Returns:
        (B, K, H, W).

    Example:
        >>> heatmaps = gaussian(torch.tensor([[[0.0, 0.0]]]), (5, 5), sigma=1.0)
        >>> heatmaps.shape, round(heatmaps.sum().item(), 4), heatmaps.argmax().item()
        (torch.Size([1, 1, 5, 5]), 1.0, 12)
    """
    sides = []
    for axis, count in ((1, size[0]), (0, size[1])):
        # distance in cells: the whole range of 2 is `count` cells
        distance = (normalized_cells(count, means) - means[..., axis : axis + 1]) * (count / 2)
        exponent = -0.5 * (distance / sigma) ** 2
        # An isotropic Gaussian is the product of its sides; softmax norms each without dividing by an underflowed sum.
        sides.append(exponent.exp() if peak_one else exponent.softmax(dim=-1))
    return sides[0].unsqueeze(-1) * sides[1].unsqueeze(-2)


def peak_mass(heatmaps: Tensor, radius: int = 2) -> Tensor:
    """Confidence of a keypoint: largest share of a heatmap's mass inside a square of ``2 * radius + 1`` cells.

    It is near one for a single narrow peak, and small where the mass is spread out or has several peaks.

    Args:
        heatmaps: (B, K, H, W), each of sum one.
        radius: Cells on every side of the middle one.

    Returns:
        (B, K), 0..1.

    Example:
        >>> narrow, flat = gaussian(torch.zeros(1, 1, 2), (16, 16), sigma=0.5), torch.full((1, 1, 16, 16), 1 / 256)
        >>> peak_mass(torch.cat((narrow, flat), dim=1))
        tensor([[1.0000, 0.0977]])
    """
    side = 2 * radius + 1
    mass = F.avg_pool2d(heatmaps, side, stride=1, padding=radius) * side**2
    return mass.amax((-2, -1)).clamp(max=1.0)


def gaussian_radius(sizes: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Radius of an object's Gaussian: how far from its centre a peak still costs less (Law and Deng 2018, section 3.2).

    A box whose corners move by at most the radius, so the idea, keeps an IoU of ``min_overlap`` with the object. The
    authors of CornerNet and CenterNet solve the quadratic equations of that without dividing by the leading
    coefficient; their root, with which the published networks were trained, is 4 * ``min_overlap`` times as large as
    the exact one, and it is the one that is computed here.

    Args:
        sizes: (..., 2), width and height in cells.
        min_overlap: IoU, 0..1.

    Returns:
        (...,) float, cells, not rounded.

    Example:
        >>> gaussian_radius(torch.tensor([[20.0, 20.0], [4.0, 30.0], [0.5, 0.5]]))
        tensor([5.4664, 2.0310, 0.1367])
    """
    around, area = min_overlap * sizes.sum(-1), sizes.prod(-1)
    return (around.square() + 4 * min_overlap * (1 - min_overlap) * area).sqrt() - around


@torch.no_grad()
def draw_gaussians(cells: Tensor, radii: Tensor, labels: Tensor, num_classes: int, size: tuple[int, int]) -> Tensor:
    """Heatmaps of object centres: a Gaussian of height 1 around each, the highest where several overlap.

    The standard deviation is a sixth of the diameter ``2 * radius + 1``, and a Gaussian ends at its radius in x and in
    y (Zhou et al. 2019, section 3). All objects of a batch are drawn at once, in time proportional to the cells that
    they cover.

    Args:
        cells: (B, M, 2) int64, column and row of each centre.
        radii: (B, M) int64, cells.
        labels: (B, M) int64; negative for rows that are not drawn.
        num_classes: C.
        size: (H, W) of the grid.

    Returns:
        (B, C, H, W) float32, exactly 1 at centres and only there.

    Example:
        >>> cells, labels = torch.tensor([[[1, 0], [3, 0]]]), torch.tensor([[0, 0]])
        >>> draw_gaussians(cells, torch.tensor([[1, 0]]), labels, num_classes=1, size=(1, 5))
        tensor([[[[0.1353, 1.0000, 0.1353, 1.0000, 0.0000]]]])
    """
    B, _ = labels.shape
    height, width = size
    heatmaps = torch.zeros(B * num_classes * height * width, device=labels.device)
    image, row = (labels >= 0).nonzero(as_tuple=True)
    label, radius, centre = labels[image, row], radii[image, row], cells[image, row]

    # One entry a cell of the square of each object, the squares behind one another.
    side = 2 * radius + 1
    counts = side * side
    owner = torch.repeat_interleave(counts)
    within = torch.arange(owner.shape[0], device=labels.device) - (counts.cumsum(0) - counts)[owner]
    dy = within.div(side[owner], rounding_mode="floor") - radius[owner]
    dx = within % side[owner] - radius[owner]
    x, y = centre[owner, 0] + dx, centre[owner, 1] + dy
    sigma = side[owner] / 6
    heights = torch.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = ((image * num_classes + label)[owner] * height + y) * width + x
    heatmaps.scatter_reduce_(0, index[inside], heights[inside], "amax")
    return heatmaps.view(B, num_classes, height, width)


def local_peaks(heatmaps: Tensor) -> Tensor:
    """Cells that are the highest of their 3x3 neighbourhood: instead of suppression (Zhou et al. 2019, section 4).

    Of neighbours with the same value, as low precision makes them, the first is the peak.

    Args:
        heatmaps: (B, C, H, W), in any order-preserving form: probabilities or logits.

    Returns:
        (B, C, H, W) bool.

    Example:
        >>> local_peaks(torch.tensor([[[[0.1, 0.7, 0.7, 0.2, 0.3]]]])).tolist()
        [[[[False, True, False, False, True]]]]
    """
    height, width = heatmaps.shape[-2:]
    highest = F.max_pool2d(heatmaps, 3, stride=1, padding=1)
    around = F.pad(heatmaps, (1, 1, 1, 1), value=torch.finfo(heatmaps.dtype).min)
    above = F.max_pool2d(around[..., :height, :], (1, 3), stride=1)
    before = torch.maximum(above, around[..., 1 : height + 1, :width])
    return (heatmaps == highest) & (heatmaps > before)
