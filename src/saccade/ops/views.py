"""Answers about mirrored and resized views of a canvas, brought back to it and made one.

Which rule holds follows from what is decoded: probabilities, of an image or of every pixel, are averaged; boxes are
fused or suppressed; points are averaged object by object.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from saccade.errors import ConfigError
from saccade.ops.merge import boxes_of_points, suppress, weighted_boxes

__all__ = ["View", "flip_order", "has_points", "merge_views"]

Fuse = Literal["wbf", "nms"]


@dataclass(frozen=True)
class View:
    """One way to look at a canvas: resized, then perhaps in a left-right mirror.

    Args:
        canvas: (height, width) of the canvas.
        size: (height, width) of the view.
        mirrored: Whether left and right are exchanged.
    """

    canvas: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool = False

    def points_back(self, points_xy: NDArray[Any]) -> NDArray[np.float32]:
        """Points of the view, (..., 2), in pixels of the canvas."""
        points = np.asarray(points_xy, np.float64) * [
            self.canvas[1] / self.size[1],
            self.canvas[0] / self.size[0],
        ]
        if self.mirrored:
            points[..., 0] = self.canvas[1] - points[..., 0]
        return points.astype(np.float32)

    def boxes_back(self, boxes_xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Boxes of the view, (N, 4), in pixels of the canvas."""
        corners = self.points_back(np.asarray(boxes_xyxy).reshape(-1, 2, 2))
        if self.mirrored:
            corners[..., 0] = corners[:, ::-1, 0].copy()
        return corners.reshape(-1, 4)

    def maps_back(self, maps: Tensor) -> Tensor:
        """Maps of the view, (B, C, h, w), at the size of the canvas, (B, C, H, W)."""
        maps = maps.flip(-1) if self.mirrored else maps
        if self.size == self.canvas:
            return maps
        return F.interpolate(maps, self.canvas, mode="bilinear", align_corners=False)


def has_points(decoded_keys: Collection[str]) -> bool:
    """Whether answers have named points, which a mirror exchanges."""
    return "keypoints" in decoded_keys


def flip_order(pairs: Sequence[tuple[int, int]], number: int) -> NDArray[np.int64]:
    """Where each of ``number`` points is found in the mirror, (K,) int64.

    Raises:
        ConfigError: If a pair names a point that there is not.
    """
    order = np.arange(number)
    for left, right in pairs:
        if not (0 <= left < number and 0 <= right < number):
            raise ConfigError(f"flip_pairs: ({left}, {right}) names a point outside of 0..{number - 1}.")
        order[left], order[right] = right, left
    return order


def merge_views(
    decoded: Sequence[Mapping[str, Tensor]],
    views: Sequence[View],
    flip_pairs: Sequence[tuple[int, int]] = (),
    fuse: Fuse = "wbf",
    iou_threshold: float = 0.55,
) -> dict[str, Tensor]:
    """Decoded answers of a batch from those about its views.

    Args:
        decoded: What was decoded of each view, the same keys in all.
        views: How each view was made.
        flip_pairs: Points that a mirror exchanges.
        fuse: Of boxes: ``wbf`` or ``nms``.
        iou_threshold: Of boxes: overlap above which two views have seen the same object.

    Returns:
        The same keys, in pixels of the canvas.

    Raises:
        ConfigError: If there is no rule for such answers.

    Example:
        >>> views = [View((4, 4), (4, 4)), View((4, 4), (4, 4), mirrored=True)]
        >>> shares = [{"probabilities": torch.tensor([[0.75, 0.25]])}, {"probabilities": torch.tensor([[0.25, 0.75]])}]
        >>> merge_views(shares, views)["probabilities"].tolist()
        [[0.5, 0.5]]
    """
    keys = set(decoded[0])
    if keys == {"boxes", "scores", "labels", "count"}:
        return _merge_boxes(decoded, views, fuse, iou_threshold)
    if keys == {"keypoints", "scores", "count"}:
        return _merge_points(decoded, views, flip_pairs)
    if keys == {"probabilities"}:
        total = torch.zeros(())
        for answer, view in zip(decoded, views, strict=True):
            values = answer["probabilities"].float()
            total = total + (view.maps_back(values) if values.ndim == 4 else values)
        return {"probabilities": total / len(views)}
    raise ConfigError(f"there is no rule to merge {sorted(keys)} of several views. Predict without augmentation.")


def _merge_boxes(
    decoded: Sequence[Mapping[str, Tensor]], views: Sequence[View], fuse: Fuse, iou_threshold: float
) -> dict[str, Tensor]:
    merged = []
    for image in range(len(decoded[0]["count"])):
        numbers = [int(answer["count"][image]) for answer in decoded]
        boxes = np.concatenate(
            [
                view.boxes_back(answer["boxes"][image, :number].float().numpy())
                for answer, view, number in zip(decoded, views, numbers, strict=True)
            ]
        )
        scores, labels = (
            np.concatenate(
                [answer[key][image, :number].numpy() for answer, number in zip(decoded, numbers, strict=True)]
            )
            for key in ("scores", "labels")
        )
        sources = np.repeat(np.arange(len(views)), numbers)
        if fuse == "wbf":
            fused = weighted_boxes(boxes, scores, labels, sources, iou_threshold, len(views))
            merged.append((fused.boxes, fused.scores, fused.labels))
        else:
            keep = suppress(boxes, scores, labels, sources, iou_threshold)
            merged.append((boxes[keep], scores[keep], labels[keep]))
    count = torch.tensor([len(scores) for _, scores, _ in merged], dtype=torch.int64)
    room = int(count.max()) if len(count) else 0
    result = {
        "boxes": torch.zeros(len(merged), room, 4),
        "scores": torch.zeros(len(merged), room),
        "labels": torch.zeros(len(merged), room, dtype=torch.int64),
        "count": count,
    }
    for image, (boxes, scores, labels) in enumerate(merged):
        result["boxes"][image, : len(scores)] = torch.from_numpy(boxes)
        result["scores"][image, : len(scores)] = torch.from_numpy(scores)
        result["labels"][image, : len(scores)] = torch.from_numpy(labels)
    return result


def _merge_points(
    decoded: Sequence[Mapping[str, Tensor]], views: Sequence[View], flip_pairs: Sequence[tuple[int, int]]
) -> dict[str, Tensor]:
    """Objects of the first view, each point the mean over the views that show the object too."""
    first = decoded[0]
    points, scores = first["keypoints"].float().clone(), first["scores"].float().clone()
    order = flip_order(flip_pairs, points.shape[2])
    for image, number in enumerate(first["count"].tolist()):
        sums = views[0].points_back(points[image, :number].numpy()).astype(np.float64)
        score_sums = scores[image, :number].numpy().astype(np.float64)
        if views[0].mirrored:
            sums, score_sums = sums[:, order], score_sums[:, order]
        reference, seen = sums.copy(), np.ones(number)
        for answer, view in zip(decoded[1:], views[1:], strict=True):
            others = int(answer["count"][image])
            found = view.points_back(answer["keypoints"][image, :others].float().numpy())
            sure = answer["scores"][image, :others].float().numpy()
            if view.mirrored:
                found, sure = found[:, order], sure[:, order]
            rows, partners = _match(reference, found)
            sums[rows] += found[partners]
            score_sums[rows] += sure[partners]
            seen[rows] += 1
        points[image, :number] = torch.from_numpy(sums / seen[:, None, None]).float()
        scores[image, :number] = torch.from_numpy(score_sums / seen[:, None]).float()
    return {"keypoints": points, "scores": scores, "count": first["count"]}


def _match(points: NDArray[Any], others: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of objects, with the least mean distance of their points; only one against one is always a pair."""
    if len(points) == len(others) == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    from scipy.optimize import linear_sum_assignment

    distance = np.linalg.norm(points[:, None] - others[None], axis=-1).mean(axis=-1)
    rows, partners = linear_sum_assignment(distance)
    boxes = boxes_of_points(points) if len(points) else np.zeros((0, 4))
    near = distance[rows, partners] < np.linalg.norm(boxes[rows, 2:] - boxes[rows, :2], axis=1) / 2
    return rows[near], partners[near]
