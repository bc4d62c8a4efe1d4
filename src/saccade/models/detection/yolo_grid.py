"""Base of the YOLOs whose cells predict boxes without anchors and one set of classes: v1, and what Darknet builds so.

What makes a network itself, its layers, stands in its own file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.detection.base import Assignment, Detector, match_one_to_one, unpack_targets
from saccade.models.detection.yolov1_loss import Grid, cell_owners, decode_grid, yolov1_loss
from saccade.ops.candidates import top_pairs
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.class_rows import ClassRows

__all__ = ["GridYOLO"]


class GridYOLO(Detector):
    """Detector of a grid: each cell has some boxes with a confidence, and is for one object of one class.

    A subclass builds its layers and implements ``raw_outputs``.

    Args:
        num_classes: Classes without background.
        grid: Cells of the one canvas that the network takes.
        boxes_a_cell: Boxes that each predicts.

    Attributes:
        cells: How many there are.
        head_rows: Layout of the last layer, for ``class_rows``.
    """

    def __init__(self, num_classes: int, grid: Grid, boxes_a_cell: int) -> None:
        super().__init__(num_classes, NmsSettings(0.5, score_threshold=0.005, pre_nms=1000, max_detections=100))
        self.grid = grid
        self.boxes_a_cell = boxes_a_cell
        self.cells = grid.rows * grid.columns
        self.head_rows = ClassRows(groups=self.cells, after=5 * boxes_a_cell * self.cells)

    def raw_outputs(self, images: Tensor) -> Tensor:
        """What the last layer gives, (B, cells x (classes + 5 boxes)): all classes, then confidences, then boxes."""
        raise NotImplementedError

    def grid_of(self, size: tuple[int, int]) -> Grid:
        """Cells of another canvas (height, width)."""
        return self.grid._replace(height=size[0], width=size[1])

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs of the S cells, row by row.

        Args:
            images: (B, C, height, width) of the one size that the network takes.

        Returns:
            ``classes`` (B, S, num_classes), ``confidence`` (B, S, boxes), ``boxes`` (B, S, boxes, 4).
        """
        count = self.cells * self.boxes_a_cell
        parts = self.raw_outputs(images).flatten(1).split((self.cells * self.num_classes, count, 4 * count), dim=1)
        classes, confidence, boxes = parts
        return {
            "classes": classes.reshape(-1, self.cells, self.num_classes),
            "confidence": confidence.reshape(-1, self.cells, self.boxes_a_cell),
            "boxes": boxes.reshape(-1, self.cells, self.boxes_a_cell, 4),
        }

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Five squared errors (equation 3), see :func:`saccade.models.detection.yolov1_loss.yolov1_loss`."""
        boxes_xyxy, labels = unpack_targets(targets)
        return yolov1_loss(self(images), boxes_xyxy, labels, self.grid)

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression, scored by class probability times confidence (equation 1).

        Both are cut off at 0 and 1.
        """
        classes, confidence = outputs["classes"].float().clamp(0, 1), outputs["confidence"].float().clamp(0, 1)
        scores = (classes[:, :, None] * confidence[..., None]).flatten(1, 2)
        scores, rows, labels = top_pairs(scores, self.nms.pre_nms)
        boxes = decode_grid(outputs["boxes"].float(), self.grid).flatten(1, 2)
        boxes = boxes.gather(1, rows[..., None].expand(-1, -1, 4))
        canvas = self.grid.canvas(boxes.device).repeat(2)
        return batched_nms(torch.minimum(boxes.clamp(min=0), canvas), scores, labels, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) that can have a cell of their own, (N,) bool: of several with their centres in one, one.

        Args:
            boxes_xyxy: Objects of one image, pixels of the canvas.
            size: Canvas (height, width).
        """
        grid = self.grid_of(size)
        # Each object as an image of its own: all cells that would be theirs.
        labels = torch.zeros(len(boxes_xyxy), 1, dtype=torch.int64)
        owners = cell_owners(boxes_xyxy[:, None].float(), labels, grid)
        return match_one_to_one(owners >= 0)

    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Cells that are responsible for an object, which depends on the objects alone."""
        boxes_xyxy, labels = unpack_targets(targets)
        regions = self.grid.regions(boxes_xyxy.device)
        return Assignment(
            regions_xyxy=regions,
            levels=torch.zeros(len(regions), dtype=torch.int64, device=regions.device),
            level_names=(f"{self.grid.rows} x {self.grid.columns} cells",),
            owners=cell_owners(boxes_xyxy, labels, self.grid),
        )
