"""Squared error of boxes that YOLOv2 and v3 learn by, with small boxes weighed up, as in Darknet."""

from __future__ import annotations

from torch import Tensor

from saccade.ops.box_coding import SizeCoding, cell_offsets, encode_cells

__all__ = ["squared_box_error"]


def squared_box_error(
    raw: Tensor,
    boxes_xyxy: Tensor,
    cells: tuple[Tensor, Tensor, Tensor],
    canvas: Tensor,
    xy_scale: Tensor | float = 1.0,
    size: SizeCoding = "exp",
) -> Tensor:
    """Half the squared error of centre and logarithmic sides, times two minus the box's share of the canvas; the sum.

    Args:
        raw: Predicted codes of the positive rows, (P, 4).
        boxes_xyxy: Their objects, (P, 4), pixels.
        cells: Column and row of the cell (P, 2), stride (P,) and anchor (P, 2) in pixels of each row.
        canvas: Height and width, (2,), pixels.
        xy_scale: As in :func:`saccade.ops.box_coding.decode_cells`.
        size: Coding of the sides.

    Example:
        >>> cells = torch.zeros(1, 2), torch.tensor([32.0]), torch.tensor([[16.0, 16.0]])
        >>> box = torch.tensor([[8.0, 8.0, 24.0, 24.0]])  # in the middle of its cell, as large as its anchor
        >>> raw = torch.tensor([[0.0, 0.0, 1.0, 0.0]])  # e times as wide
        >>> squared_box_error(raw, box, cells, torch.tensor([32.0, 32.0]))
        tensor(0.8750)
    """
    wanted = cell_offsets(encode_cells(boxes_xyxy, *cells, xy_scale, size), xy_scale, size)
    errors = ((cell_offsets(raw, xy_scale, size) - wanted) ** 2).sum(dim=1)
    shares = ((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / canvas.flip(0)).prod(dim=1)
    return ((2 - shares.clamp(max=1)) * errors).sum() / 2
