"""Assignment of YOLOv5: by the ratio of sides, at every level, to three cells.

Anchors that fit an object are those of which neither side is more than four times, or less than a quarter of, the
object's; there may be several, on several levels, or none. At each level the object is assigned to the cell of its
centre and to the two neighbours that the centre is nearest to. A prediction therefore reaches half a cell beyond its
own, which is why YOLOv5 decodes centres with ``2 sigmoid(t) - 0.5``.

Written from public descriptions of the method.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.models.detection.yolo_cells import CellGrid, CellMatches
from saccade.ops.shapes import RATIO_THRESHOLD, side_ratios

__all__ = ["claim_by_ratio"]


def claim_by_ratio(
    grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor, threshold: float = RATIO_THRESHOLD
) -> CellMatches:
    """Each object claims all anchors that fit its shape, in the cell of its centre and in the two next to it.

    A neighbour outside of the grid is left out, and so is one at a distance of exactly half a cell.

    Args:
        grid: Cells and anchors.
        boxes_xyxy: (B, M, 4), pixels.
        labels: (B, M) int64; rows with a negative label claim nothing.
        threshold: Largest ratio of sides.

    Returns:
        Claims, of which several may be for one row: all of them train.

    Example:
        >>> grid = CellGrid.of([torch.zeros(1, 1, 4, 4)], (8,), [torch.tensor([[8.0, 8.0]])])
        >>> claims = claim_by_ratio(grid, torch.tensor([[[6.0, 7.0, 14.0, 15.0]]]), torch.tensor([[0]]))
        >>> claims.row.tolist()  # centre (10, 11): cell (1, 1), its left and its upper neighbour
        [5, 4, 1]
    """
    anchors, levels, numbers = grid.shapes()
    fits = side_ratios(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], anchors) < threshold
    image, target, anchor = (fits & (labels >= 0)[..., None]).nonzero(as_tuple=True)
    level = levels[anchor]
    strides = torch.tensor(grid.strides, dtype=torch.float32, device=boxes_xyxy.device)[level]
    sides = grid.sides()[level]
    centres = (boxes_xyxy[image, target, :2] + boxes_xyxy[image, target, 2:]) / 2 / strides[:, None]
    own = torch.minimum(centres.floor().clamp(min=0), sides - 1)
    within = centres - own
    step = (within > 0.5).to(within.dtype) - (within < 0.5).to(within.dtype)  # towards the nearer neighbour
    still = torch.zeros_like(step[:, 0])
    moves = torch.stack((step * 0, torch.stack((step[:, 0], still), 1), torch.stack((still, step[:, 1]), 1)), dim=1)
    cells = own[:, None] + moves
    inside = ((cells >= 0) & (cells < sides[:, None])).all(dim=-1)
    inside[:, 1:] &= step != 0
    claim, way = inside.nonzero(as_tuple=True)
    row = grid.row(level[claim], cells[claim, way], numbers[anchor[claim]])
    return CellMatches(image[claim], row, target[claim])
