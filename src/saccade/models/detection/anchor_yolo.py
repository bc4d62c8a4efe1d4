"""Base of the YOLOs with anchors, v2 to v5: rows of the grid's cells, decoding, and what the viewer and checker ask.

What makes a version itself stands in its own file: the layers, the anchors, which anchors an object claims, the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.detection.base import Assignment, Detector, match_one_to_one, unpack_targets
from saccade.models.detection.dense import log_odds, map_rows
from saccade.models.detection.yolo_cells import CellGrid, CellMatches, claimed_rows, largest_overlap, owners_of
from saccade.ops.anchors import canvas_size
from saccade.ops.box_coding import SizeCoding, decode_cells
from saccade.ops.candidates import top_candidates, top_pairs
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.class_rows import ClassRows

__all__ = ["AnchorYOLO", "Anchors", "check_anchors"]

# Width and height in pixels of the anchors of each level, fine to coarse.
Anchors = Sequence[Sequence[tuple[float, float]]]

_BOX = 5  # tx, ty, tw, th and objectness stand before the classes


class AnchorYOLO(Detector):
    """Detector whose grid cells predict a box, an objectness and classes for each of their anchors.

    A subclass builds its layers, calls :meth:`reset_predictions`, and implements ``raw_maps``, ``claim`` and
    ``loss_terms``.

    Args:
        num_classes: Classes without background.
        anchors: Width and height of the anchors of each level, fine to coarse, pixels.
        strides: Side of a cell of each level, pixels.
        predictions: Names of the last convolution of each level; they are the head.
        nms: Settings of suppression.
        xy_scales: How far a centre reaches at each level (``ops.box_coding``); 1 if not given.

    Raises:
        ConfigError: If the anchors do not fit the levels.

    Attributes:
        anchor_sizes: Anchors of all levels, (K, 2), pixels; a buffer, so that fitted ones travel with a checkpoint.
        size_coding: How sides are predicted.
        class_scores: ``sigmoid``: each class by itself; ``softmax``: one of them.
        ignore: Overlap of its predicted box with an object from which on a row that is not positive is not negative
            either; None where the paper knows no such rows.
    """

    size_coding: SizeCoding = "exp"
    class_scores: Literal["sigmoid", "softmax"] = "sigmoid"
    ignore: float | None = None

    def __init__(
        self,
        num_classes: int,
        anchors: Anchors,
        strides: Sequence[int],
        predictions: Sequence[str],
        nms: NmsSettings,
        xy_scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_classes, nms)
        sizes = check_anchors(anchors, strides)
        self.feature_strides = tuple(strides)
        self.anchor_counts = tuple(len(level) for level in sizes)
        self.xy_scales = tuple(xy_scales) if xy_scales is not None else (1.0,) * len(self.feature_strides)
        self._first_sizes = sizes
        self.register_buffer("anchor_sizes", self.first_sizes())
        self.anchor_sizes: Tensor
        self.head_names = tuple(predictions)
        self.class_rows = {
            f"{name}.{part}": ClassRows(groups=count, fixed=_BOX)
            for name, count in zip(predictions, self.anchor_counts, strict=True)
            for part in ("weight", "bias")
        }

    def outputs_of(self, level: int) -> int:
        """Channels of the last convolution of a level: of each anchor a box, an objectness, and the classes."""
        return self.anchor_counts[level] * (_BOX + self.num_classes)

    def reset_predictions(self, prior: float = 0.01) -> None:
        """Start with everything background, with probability 1 - ``prior`` (Lin et al. 2017, section 4.1).

        Without it, the objectness of ten thousand anchors fills the first thousand steps.
        """
        for name, count in zip(self.head_names, self.anchor_counts, strict=True):
            layer = self.get_submodule(name)
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            with torch.no_grad():
                layer.bias.view(count, -1)[:, _BOX - 1] = log_odds(prior)

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        """Last map of each level, fine to coarse, (B, anchors x (5 + classes), H, W), anchor by anchor."""
        raise NotImplementedError

    def claim(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, Tensor | None]:
        """Rows that objects claim, and the rank of each claim where a row goes to one object only."""
        raise NotImplementedError

    def loss_terms(
        self, outputs: Outputs, matches: CellMatches, boxes_xyxy: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Weighted loss terms, given the outputs of ``forward`` and the positive rows."""
        raise NotImplementedError

    def grid(self, maps: Sequence[Tensor]) -> CellGrid:
        """Cells and anchors of feature maps (B, C, H, W)."""
        sizes = self.anchor_sizes
        if sizes.is_meta and not maps[0].is_meta:  # of a network without memory, those that it was built with
            sizes = self.first_sizes()
        return CellGrid.of(maps, self.feature_strides, sizes.split(self.anchor_counts))

    def first_sizes(self) -> Tensor:
        """Anchors that it was built with, (K, 2), pixels."""
        return torch.tensor([anchor for level in self._first_sizes for anchor in level])

    def match(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> CellMatches:
        """Positive rows and their objects.

        Args:
            grid: Cells and anchors.
            boxes_xyxy: (B, M, 4), pixels.
            labels: (B, M) int64, negative for rows that are not targets.
        """
        claims, rank = self.claim(grid, boxes_xyxy, _on_canvas(grid, boxes_xyxy, labels))
        rows = sum(own.shape[0] * one.shape[2] * one.shape[3] for own, one in zip(grid.anchors, grid.maps, strict=True))
        return claims if rank is None else claimed_rows(claims, rank, boxes_xyxy.shape[0], rows, labels.shape[1])

    def forward(self, images: Tensor) -> Outputs:
        """Raw outputs of all N rows, level by level, cell by cell, anchor by anchor.

        Args:
            images: (B, 3, H, W).

        Returns:
            ``boxes`` (B, N, 4) raw, ``objectness`` (B, N), ``logits`` (B, N, num_classes); of every row ``points``
            (N, 2) column and row of its cell, ``strides`` (N,) and ``anchors`` (N, 2) in pixels, and ``xy_scales``
            (N,); ``canvas`` (2,) height and width.
        """
        return self.rows(images, self.raw_maps(images))

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Terms ``box``, ``objectness`` and ``class`` of the network's own loss."""
        boxes_xyxy, labels = unpack_targets(targets)
        maps = self.raw_maps(images)
        matches = self.match(self.grid(maps), boxes_xyxy, labels)
        return self.loss_terms(self.rows(images, maps), matches, boxes_xyxy, labels)

    def rows(self, images: Tensor, maps: Sequence[Tensor]) -> Outputs:
        """Maps of :meth:`raw_maps` as the rows that ``forward`` returns."""
        width = _BOX + self.num_classes
        raw = torch.cat([map_rows(level, width) for level in maps], dim=1)
        # A split and no slices, which OpenVINO drops where rows are chosen from them.
        boxes, objectness, logits = raw.split((4, 1, self.num_classes), dim=2)
        points, strides, anchors, levels = self.grid(maps).rows()
        return {
            "boxes": boxes,
            "objectness": objectness[..., 0],
            "logits": logits,
            "points": points,
            "strides": strides,
            "anchors": anchors,
            "xy_scales": anchors.new_tensor(self.xy_scales)[levels],
            "canvas": canvas_size(images),
        }

    def boxes(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        """Decoded boxes of all rows, (B, N, 4), or of some, (B, K) int64 -> (B, K, 4); pixels, not clipped."""
        raw = outputs["boxes"].float()
        points, strides, anchors, scales = (outputs[name] for name in ("points", "strides", "anchors", "xy_scales"))
        if rows is not None:
            raw = raw.gather(1, rows[..., None].expand(-1, -1, 4))
            points, strides, anchors, scales = points[rows], strides[rows], anchors[rows], scales[rows]
        return decode_cells(raw, points, strides, anchors, scales, self.size_coding)

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression, scored by objectness times class probability.

        A row may predict several classes, all with the same box.
        """
        objectness, logits = outputs["objectness"].float().sigmoid(), outputs["logits"].float()
        if self.class_scores == "softmax":
            scores, rows, labels = top_pairs(logits.softmax(dim=2) * objectness[..., None], self.nms.pre_nms)
        else:
            scores, rows, labels = top_candidates(logits, self.nms.pre_nms, objectness)
        boxes = self.boxes(outputs, rows)
        canvas = outputs["canvas"].flip(0).repeat(2)  # width, height, width, height
        return batched_nms(torch.minimum(boxes.clamp(min=0), canvas), scores, labels, self.nms)

    def anchors(self, size: tuple[int, int]) -> Tensor:
        """Anchors of a canvas on the middles of their cells, (N, 4), pixels."""
        points, strides, anchors, _ = self.grid(self._empty_maps(size)).rows()
        return _on_cells(points, strides, anchors)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) that can have a row of their own, (N,) bool: of several that claim one row, one gets it."""
        grid = self.grid(self._empty_maps(size))
        boxes = boxes_xyxy[None].float()
        labels = torch.zeros(1, len(boxes_xyxy), dtype=torch.int64)
        claims, _ = self.claim(grid, boxes, _on_canvas(grid, boxes, labels))
        rows, places = claims.row.unique(return_inverse=True)
        candidates = torch.zeros(len(boxes_xyxy), len(rows), dtype=torch.bool)
        candidates[claims.target, places] = True
        return match_one_to_one(candidates)

    @torch.no_grad()
    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Rows that are positive, which depend on the objects and the canvas alone, and ignored in this state."""
        boxes_xyxy, labels = unpack_targets(targets)
        maps = self.raw_maps(images)
        grid = self.grid(maps)
        points, strides, anchors, levels = grid.rows()
        owners = owners_of(self.match(grid, boxes_xyxy, labels), images.shape[0], len(levels))
        if self.ignore is not None:
            overlap = largest_overlap(self.boxes(self.rows(images, maps)), boxes_xyxy, labels >= 0)
            owners = owners.masked_fill((overlap > self.ignore) & (owners == NEGATIVE), IGNORED)
        return Assignment(
            regions_xyxy=_on_cells(points, strides, anchors),
            levels=levels,
            level_names=tuple(f"stride {stride}" for stride in self.feature_strides),
            owners=owners,
        )

    def set_anchors(self, anchors: Anchors) -> None:
        """Take other anchors, as many a level as before; they travel with the checkpoint.

        Args:
            anchors: Width and height of each level, fine to coarse, pixels.

        Raises:
            ConfigError: If they do not fit the levels.
        """
        sizes = check_anchors(anchors, self.feature_strides)
        counts = tuple(len(level) for level in sizes)
        if counts != self.anchor_counts:
            raise ConfigError(f"anchors has {counts} anchors on its levels; the network has {self.anchor_counts}.")
        self.anchor_sizes.copy_(torch.tensor([anchor for level in sizes for anchor in level]))

    def _empty_maps(self, size: tuple[int, int]) -> list[Tensor]:
        device = None if self.anchor_sizes.is_meta else self.anchor_sizes.device
        return [
            torch.empty(1, 0, *(-(-side // stride) for side in size), device=device) for stride in self.feature_strides
        ]


def _on_canvas(grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> Tensor:
    """Labels (B, M), negative for objects that lie outside of the grid and so have no cell."""
    size = grid.sides()[0] * grid.strides[0]
    inside = (boxes_xyxy[..., 2:] > 0).all(dim=-1) & (boxes_xyxy[..., :2] < size).all(dim=-1)
    return labels.masked_fill(~inside, -1)


def _on_cells(points: Tensor, strides: Tensor, anchors: Tensor) -> Tensor:
    centres = (points + 0.5) * strides[:, None]
    return torch.cat((centres - anchors / 2, centres + anchors / 2), dim=1)


def check_anchors(anchors: Anchors, strides: Sequence[int]) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Anchors as plain tuples.

    Args:
        anchors: Width and height of each level, fine to coarse, pixels.
        strides: Of each level, pixels.

    Raises:
        ConfigError: If there is not a list of positive pairs a level, or if they get smaller where cells get larger.

    Example:
        >>> check_anchors([[(10, 13)], [(30, 61)]], strides=(8, 16))
        (((10.0, 13.0),), ((30.0, 61.0),))
    """
    if len(anchors) != len(strides):
        raise ConfigError(
            f"anchors has {len(anchors)} levels; this network has {len(strides)}, of strides "
            f"{', '.join(map(str, strides))}: give one list of (width, height) for each, fine to coarse."
        )
    levels = []
    given: Sequence[Any] = anchors  # a configuration may hold anything
    for number, level in enumerate(given):
        sizes = []
        if isinstance(level, str) or not isinstance(level, Sequence):
            raise ConfigError(f"anchors[{number}] is {level!r}; it must be a list of (width, height), in pixels.")
        for anchor in level:
            sides = anchor if isinstance(anchor, Sequence) and not isinstance(anchor, str) else ()
            if len(sides) != 2 or not all(
                isinstance(side, (int, float)) and math.isfinite(side) and side > 0 for side in sides
            ):
                raise ConfigError(
                    f"anchors[{number}] holds {anchor!r}; an anchor is (width, height) in pixels, above 0."
                )
            sizes.append((float(anchor[0]), float(anchor[1])))
        if not sizes:
            raise ConfigError(f"anchors[{number}] is empty; every level needs at least one (width, height).")
        levels.append(tuple(sizes))
    areas = [sum(width * height for width, height in level) / len(level) for level in levels]
    if areas != sorted(areas):
        raise ConfigError(
            "anchors get smaller from level to level; they go with the strides "
            f"{', '.join(map(str, strides))}, fine to coarse: reverse their order."
        )
    return tuple(levels)
