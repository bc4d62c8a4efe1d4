"""Targets of bottom-up keypoint networks: heatmaps of parts, and part affinity fields along limbs.

Cao et al. 2017, "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", arXiv 1611.08050, section 2.
Coordinates are pixels of the canvas; the centre of cell x lies at ``(x + 0.5) * stride``. Shapes: B images, N people, P
parts, L limbs, M limbs of all people, H rows and W columns of cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["draw_fields", "draw_heatmaps", "labelled_cells", "mirror_maps"]

LIMBS_AT_ONCE = 256  # drawn in one go: of more, the memory would grow with the people


def draw_heatmaps(points: Tensor, known: Tensor, size: tuple[int, int], stride: int, sigma: float) -> Tensor:
    """Heatmaps of parts: a Gaussian of height 1 around each point, the maximum where people meet (equation 7).

    The maximum, and not the mean, keeps the peaks of two people who stand close to each other apart.

    Args:
        points: (B, N, P, 2), x and y in pixels.
        known: (B, N, P) bool; other points leave no trace.
        size: (H, W).
        stride: Pixels a cell is wide.
        sigma: Standard deviation in pixels.

    Returns:
        (B, P, H, W), 0..1.

    Example:
        >>> points, known = torch.tensor([[[[4.0, 4.0]], [[20.0, 4.0]]]]), torch.ones(1, 2, 1, dtype=torch.bool)
        >>> draw_heatmaps(points, known, size=(1, 4), stride=8, sigma=7.0)
        tensor([[[[1.0000, 0.5205, 1.0000, 0.5205]]]])
    """
    B, N, P, _ = points.shape
    heatmaps = points.new_zeros(B, P, *size)
    y, x = _centres(size, stride, points)
    for person in range(N):  # one at a time: all at once would need N times the memory
        own = points[:, person]
        across = torch.exp(-(x - own[..., :1]).square() / (2 * sigma**2))  # (B, P, W)
        down = torch.exp(-(y - own[..., 1:]).square() / (2 * sigma**2)) * known[:, person, :, None]
        heatmaps = torch.maximum(heatmaps, down[..., None] * across[..., None, :])
    return heatmaps


def draw_fields(
    points: Tensor,
    known: Tensor,
    limbs: Sequence[tuple[int, int]],
    size: tuple[int, int],
    stride: int,
    limb_width: float,
) -> Tensor:
    """Part affinity fields: the direction of the limb at every cell that it covers, the mean where people overlap.

    A limb covers what is at most ``limb_width`` from its line, and as far beyond its ends, as in the authors' code
    (the paper's equation 8 ends it at the points, which leaves limbs that are shorter than a cell without any).

    Args:
        points: (B, N, P, 2), x and y in pixels.
        known: (B, N, P) bool; a limb needs both of its ends.
        limbs: L pairs of parts.
        size: (H, W).
        stride: Pixels a cell is wide.
        limb_width: Largest distance from the limb, pixels.

    Returns:
        (B, 2 L, H, W): x and y of the unit vector of each limb, zero elsewhere.

    Example:
        >>> points, known = torch.tensor([[[[4.0, 4.0], [28.0, 4.0]]]]), torch.ones(1, 1, 2, dtype=torch.bool)
        >>> draw_fields(points, known, [(0, 1)], size=(3, 4), stride=8, limb_width=4.0)[0, 0]
        tensor([[1., 1., 1., 1.],
                [0., 0., 0., 0.],
                [0., 0., 0., 0.]])
    """
    B = len(points)
    first, second = (torch.tensor(ends, device=points.device) for ends in zip(*limbs, strict=True))
    start, end = points[:, :, first], points[:, :, second]  # (B, N, L, 2)
    length = (end - start).norm(dim=-1)
    image, person, limb = (known[:, :, first] & known[:, :, second] & (length > 0)).nonzero(as_tuple=True)
    start, length = start[image, person, limb], length[image, person, limb]  # (M, 2), (M,): the limbs that there are
    unit = (end[image, person, limb] - start) / length[:, None]

    total = points.new_zeros(B * len(limbs), 2, *size)
    people = points.new_zeros(B * len(limbs), 1, *size)
    y, x = _centres(size, stride, points)
    for some in torch.arange(len(length), device=points.device).split(LIMBS_AT_ONCE):
        dx, dy = x - start[some, :1], y - start[some, 1:]  # (m, W), (m, H)
        ux, uy = unit[some, 0, None], unit[some, 1, None]
        along = (uy * dy)[..., None] + (ux * dx)[:, None]  # (m, H, W)
        aside = (ux * dy)[..., None] - (uy * dx)[:, None]
        covered = (aside.abs() <= limb_width) & (along >= -limb_width)
        covered &= along <= (length[some] + limb_width)[:, None, None]
        field = image[some] * len(limbs) + limb[some]
        total.index_add_(0, field, unit[some, :, None, None] * covered[:, None])
        people.index_add_(0, field, covered[:, None].to(people.dtype))
    return (total / people.clamp(min=1)).view(B, 2 * len(limbs), *size)


def labelled_cells(boxes_xyxy: Tensor, labelled: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Cells in which a missing person is a mistake.

    These are all but those in boxes of people whose points nobody labelled; where such a box and that of labelled
    people overlap, the cells count, as in the authors' code.

    Args:
        boxes_xyxy: (B, N, 4), pixels.
        labelled: (B, N) bool, people with labelled points; the others are crowds and people without them, and padding.
        size: (H, W).
        stride: Pixels a cell is wide.

    Returns:
        (B, 1, H, W), 1 where the loss counts, else 0. A cell is in a box if its centre is.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0, 24, 8], [0, 0, 8, 8]]])
        >>> labelled = torch.tensor([[False, True]])
        >>> labelled_cells(boxes, labelled, size=(1, 4), stride=8)
        tensor([[[[1., 0., 0., 1.]]]])
    """
    y, x = _centres(size, stride, boxes_xyxy)
    x1, y1, x2, y2 = boxes_xyxy[..., None].unbind(2)  # (B, N, 1)
    inside = ((y > y1) & (y < y2))[..., None] & ((x > x1) & (x < x2))[:, :, None]  # (B, N, H, W)
    hidden = (inside & ~labelled[..., None, None]).any(1, keepdim=True)
    seen = (inside & labelled[..., None, None]).any(1, keepdim=True)
    return (seen | ~hidden).to(boxes_xyxy.dtype)


def mirror_maps(
    heatmaps: Tensor, fields: Tensor, part_order: Sequence[int], limb_order: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Maps of a mirrored image, brought back: columns, left and right, and the sign of x exchanged.

    Args:
        heatmaps: (B, P, H, W), of the mirrored image.
        fields: (B, 2 L, H, W), of the mirrored image.
        part_order: For each part the one that a mirror makes of it.
        limb_order: For each limb the one that a mirror makes of it, and -1 if that runs the other way, else 1.

    Returns:
        Both, in cells of the image as it is.

    Example:
        >>> heatmaps, fields = torch.tensor([[[[1.0, 0]], [[0, 2.0]]]]), torch.tensor([[[[3.0, 5]], [[4.0, 6]]]])
        >>> heatmaps, fields = mirror_maps(heatmaps, fields, part_order=(1, 0), limb_order=((0, 1),))
        >>> heatmaps[0, :, 0].tolist(), fields[0, :, 0].tolist()
        ([[2.0, 0.0], [0.0, 1.0]], [[-5.0, -3.0], [6.0, 4.0]])
    """
    limbs = torch.tensor([limb for limb, _ in limb_order], device=fields.device)
    signs = fields.new_tensor([[-sign, sign] for _, sign in limb_order])  # the mirror turns x round, not y
    pairs = fields.unflatten(1, (-1, 2))[:, limbs] * signs[..., None, None]
    return heatmaps[:, list(part_order)].flip(-1), pairs.flatten(1, 2).flip(-1)


def _centres(size: tuple[int, int], stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the rows and of the columns, pixels."""
    y, x = ((torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * stride for count in size)
    return y, x
