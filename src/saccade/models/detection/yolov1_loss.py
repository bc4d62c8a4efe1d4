"""Assignment and five-term loss of YOLOv1 (Redmon et al. 2016, arXiv 1506.02640, section 2.2).

A grid cell is responsible for the object whose centre lies in it, and of its boxes the one that overlaps the object
most is; all others only learn that there is nothing. Letters: B images, M objects an image (padded), S grid cells, A
boxes a cell, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.models.base import Outputs
from saccade.ops.boxes import xyxy_to_cxcywh
from saccade.ops.iou import aligned_iou
from saccade.ops.matching import NEGATIVE

__all__ = ["Grid", "cell_owners", "decode_grid", "encode_grid", "responsible_boxes", "yolov1_loss"]

_COORDINATES, _NO_OBJECT = 5.0, 0.5  # lambda_coord and lambda_noobj


class Grid(NamedTuple):
    """Grid of cells over a canvas, row by row.

    Example:
        >>> grid = Grid(rows=7, columns=7, height=448, width=448)
        >>> grid.cells(torch.device("cpu"))[8].tolist(), grid.regions(torch.device("cpu"))[8].tolist()
        ([1.0, 1.0], [64.0, 64.0, 128.0, 128.0])
    """

    rows: int
    columns: int
    height: int  # pixels
    width: int

    def cells(self, device: torch.device) -> Tensor:
        """Column and row of every cell, (S, 2)."""
        places = torch.arange(self.rows * self.columns, device=device)
        return torch.stack((places % self.columns, places.div(self.columns, rounding_mode="floor")), dim=1).float()

    def sides(self, device: torch.device) -> Tensor:
        """Width and height of a cell in pixels, (2,)."""
        return torch.tensor([self.width / self.columns, self.height / self.rows], device=device)

    def canvas(self, device: torch.device) -> Tensor:
        """Width and height of the canvas in pixels, (2,)."""
        return torch.tensor([float(self.width), float(self.height)], device=device)

    def regions(self, device: torch.device) -> Tensor:
        """Cells as boxes xyxy in pixels, (S, 4)."""
        cells, sides = self.cells(device), self.sides(device)
        return torch.cat((cells * sides, (cells + 1) * sides), dim=1)


def decode_grid(raw: Tensor, grid: Grid) -> Tensor:
    """Boxes from what the cells predict: centre in cells from the cell's corner, square roots of the relative sides.

    Args:
        raw: (..., S, A, 4).
        grid: Its S cells.

    Returns:
        Boxes xyxy, (..., S, A, 4), pixels.

    Example:
        >>> grid = Grid(rows=2, columns=2, height=128, width=128)
        >>> decode_grid(torch.full((4, 1, 4), 0.5), grid)[3, 0].tolist()
        [80.0, 80.0, 112.0, 112.0]
    """
    centres = (raw[..., :2] + grid.cells(raw.device)[:, None]) * grid.sides(raw.device)
    half = raw[..., 2:] ** 2 * grid.canvas(raw.device) / 2
    return torch.cat((centres - half, centres + half), dim=-1)


def encode_grid(boxes_xyxy: Tensor, grid: Grid) -> Tensor:
    """What each cell should predict for a box: inverse of :func:`decode_grid`.

    Args:
        boxes_xyxy: A box for each cell, (..., S, 4), pixels.
        grid: Its S cells.

    Returns:
        (..., S, 4).

    Example:
        >>> grid = Grid(rows=1, columns=1, height=64, width=64)
        >>> encode_grid(torch.tensor([[24.0, 24.0, 40.0, 40.0]]), grid).tolist()
        [[0.5, 0.5, 0.5, 0.5]]
    """
    cxcywh = xyxy_to_cxcywh(boxes_xyxy)
    centres = cxcywh[..., :2] / grid.sides(boxes_xyxy.device) - grid.cells(boxes_xyxy.device)
    roots = (cxcywh[..., 2:] / grid.canvas(boxes_xyxy.device)).clamp(min=0).sqrt()
    return torch.cat((centres, roots), dim=-1)


def cell_owners(boxes_xyxy: Tensor, labels: Tensor, grid: Grid) -> Tensor:
    """Object that each cell is responsible for: that whose centre lies in it; of several, the first.

    A centre outside of the canvas counts to the nearest cell, unless the whole object lies outside.

    Args:
        boxes_xyxy: (B, M, 4), pixels.
        labels: (B, M) int64; rows with a negative label own nothing.
        grid: Cells.

    Returns:
        (B, S) int64, row of the object or ``NEGATIVE``.

    Example:
        >>> grid = Grid(rows=1, columns=2, height=64, width=128)
        >>> boxes = torch.tensor([[[70.0, 0.0, 90.0, 30.0], [100.0, 10.0, 120.0, 60.0]]])
        >>> cell_owners(boxes, torch.tensor([[2, 0]]), grid)
        tensor([[-1,  0]])
    """
    B, M = labels.shape
    cells = grid.rows * grid.columns
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    last = torch.tensor([grid.columns - 1.0, grid.rows - 1.0], device=boxes_xyxy.device)
    place = torch.minimum((centres / grid.sides(boxes_xyxy.device)).floor().clamp(min=0), last).long()
    place = place[..., 1] * grid.columns + place[..., 0]
    seen = (boxes_xyxy[..., 2:] >= 0).all(dim=2) & (boxes_xyxy[..., :2] < grid.canvas(boxes_xyxy.device)).all(dim=2)
    number = torch.arange(M, device=labels.device).expand(B, M).masked_fill((labels < 0) | ~seen, M)
    owners = number.new_full((B, cells), M).scatter_reduce_(1, place, number, "amin")
    return owners.masked_fill(owners == M, NEGATIVE)


def responsible_boxes(predicted_xyxy: Tensor, own_xyxy: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Of the boxes of each cell, the one that overlaps the cell's object most.

    Where none overlaps it at all, the one with the smallest root mean square error of centre and sides, relative to the
    canvas, as in Darknet.

    Args:
        predicted_xyxy: (P, A, 4), pixels.
        own_xyxy: Object of each cell, (P, 4), pixels.
        grid: For the size of its canvas.

    Returns:
        Number of the box, (P,) int64, and its IoU with the object, (P,).

    Example:
        >>> predicted = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 30.0, 30.0]]])
        >>> box, overlap = responsible_boxes(predicted, torch.tensor([[0.0, 0.0, 32.0, 32.0]]), Grid(1, 1, 64, 64))
        >>> box.tolist(), round(float(overlap), 3)
        ([1], 0.879)
    """
    own = own_xyxy[:, None].expand_as(predicted_xyxy)
    overlaps = aligned_iou(predicted_xyxy, own)
    canvas = grid.canvas(own.device).repeat(2)
    errors = (((xyxy_to_cxcywh(predicted_xyxy) - xyxy_to_cxcywh(own)) / canvas) ** 2).sum(dim=2)
    best, box = overlaps.max(dim=1)
    return torch.where(best > 0, box, errors.argmin(dim=1)), best


def yolov1_loss(outputs: Outputs, boxes_xyxy: Tensor, labels: Tensor, grid: Grid) -> dict[str, Tensor]:
    """Five squared errors of equation 3, summed over an image and averaged over the images.

    Args:
        outputs: ``boxes`` (B, S, A, 4), ``confidence`` (B, S, A) and ``classes`` (B, S, C), raw.
        boxes_xyxy: Objects, (B, M, 4), pixels.
        labels: (B, M) int64, negative for rows that are not targets.
        grid: Cells.

    Returns:
        ``center`` and ``size`` (weight 5), ``confidence`` of responsible boxes, whose target is their IoU with the
        object, ``no_object`` (weight 0.5) of all others, whose target is 0, and ``class`` of cells with an object.

    Example:
        >>> outputs = {"boxes": torch.full((1, 1, 2, 4), 0.5), "confidence": torch.zeros(1, 1, 2)}
        >>> outputs["classes"] = torch.zeros(1, 1, 3)
        >>> boxes, labels = torch.tensor([[[24.0, 24.0, 40.0, 40.0]]]), torch.tensor([[1]])
        >>> {name: float(term) for name, term in yolov1_loss(outputs, boxes, labels, Grid(1, 1, 64, 64)).items()}
        {'center': 0.0, 'size': 0.0, 'confidence': 1.0, 'no_object': 0.0, 'class': 1.0}
    """
    raw, confidence, classes = outputs["boxes"].float(), outputs["confidence"].float(), outputs["classes"].float()
    owners = cell_owners(boxes_xyxy, labels, grid)
    image, cell = (owners >= 0).nonzero(as_tuple=True)
    target = owners[image, cell]

    # Codes are relative to a cell: boxes are put into their cells before they are compared.
    per_cell = boxes_xyxy.new_zeros(*owners.shape, 4).index_put_((image, cell), boxes_xyxy[image, target])
    own = per_cell[image, cell]
    wanted = encode_grid(per_cell, grid)[image, cell]
    with torch.no_grad():
        box, overlap = responsible_boxes(decode_grid(raw, grid)[image, cell], own, grid)
    errors = (raw[image, cell, box] - wanted) ** 2

    empty = torch.ones_like(confidence).index_put_((image, cell, box), confidence.new_zeros(()))
    one_hot = F.one_hot(labels[image, target], classes.shape[2])
    terms = {
        "center": _COORDINATES * errors[:, :2].sum(),
        "size": _COORDINATES * errors[:, 2:].sum(),
        "confidence": ((overlap - confidence[image, cell, box]) ** 2).sum(),
        "no_object": _NO_OBJECT * (confidence**2 * empty).sum(),
        "class": ((classes[image, cell] - one_hot) ** 2).sum(),
    }
    return {name: term / max(raw.shape[0], 1) for name, term in terms.items()}
