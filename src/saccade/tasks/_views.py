"""Predictions of several views of one canvas, merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from saccade.ops.heatmap_peaks import Refinement, heatmap_peaks
from saccade.ops.merge import boxes_of_points, suppress, weighted_boxes
from saccade.ops.views import View, flip_order
from saccade.tasks.base import MergeOptions

__all__ = ["merge_boxes", "merge_heatmaps", "merge_points"]

_REFINED_BY: dict[str, Refinement] = {"heatmaps": "quarter", "smoothed_heatmaps": "newton"}


def merge_boxes(
    decoded: Sequence[Mapping[str, Tensor]], views: Sequence[View], options: MergeOptions
) -> dict[str, Tensor]:
    """Merge the boxes of all views by fusion or suppression; masks and keypoints come from each object's best box."""
    rows = [_fused(decoded, views, image, options) for image in range(len(decoded[0]["count"]))]
    count = torch.tensor([len(row["scores"]) for row in rows], dtype=torch.int64)
    room = int(count.max()) if len(count) else 0
    merged: dict[str, Tensor] = {}
    for key in (name for name in decoded[0] if name != "count"):
        values = [torch.from_numpy(np.ascontiguousarray(row[key])) for row in rows]
        merged[key] = torch.zeros(len(rows), room, *values[0].shape[1:], dtype=values[0].dtype)
        for image, value in enumerate(values):
            merged[key][image, : len(value)] = value
    return merged | {"count": count}


def _fused(
    decoded: Sequence[Mapping[str, Tensor]], views: Sequence[View], image: int, options: MergeOptions
) -> dict[str, NDArray[Any]]:
    """The objects of one image, all views together."""
    parts: dict[str, list[NDArray[Any]]] = {}
    numbers = [int(one["count"][image]) for one in decoded]
    for one, view, number in zip(decoded, views, numbers, strict=True):
        for key, tensor in one.items():
            if key != "count":
                value = (tensor.float() if tensor.is_floating_point() else tensor)[image, :number].numpy()
                parts.setdefault(key, []).append(_brought_back(key, value, view, options))
    whole = {key: np.concatenate(values) for key, values in parts.items()}
    boxes, scores, labels = whole["boxes"], whole["scores"], whole["labels"]
    sources = np.repeat(np.arange(len(views)), numbers)
    if options.boxes == "nms":
        keep = suppress(boxes, scores, labels, sources, options.iou_threshold)
        return {key: value[keep] for key, value in whole.items()}
    fused = weighted_boxes(boxes, scores, labels, sources, options.iou_threshold, len(views))
    best = {key: value[fused.best] for key, value in whole.items()}
    return best | {"boxes": fused.boxes, "scores": fused.scores, "labels": fused.labels}


def _brought_back(key: str, value: NDArray[Any], view: View, options: MergeOptions) -> NDArray[Any]:
    if key == "boxes":
        return view.boxes_back(value)
    if key == "masks":  # on a grid over each box
        return value[..., ::-1] if view.mirrored else value
    if key in ("keypoints", "point_scores"):
        value = view.points_back(value) if key == "keypoints" else value
        return value[:, flip_order(options.flip_pairs, value.shape[1])] if view.mirrored else value
    return value


def merge_heatmaps(
    decoded: Sequence[Mapping[str, Tensor]], views: Sequence[View], options: MergeOptions
) -> dict[str, Tensor]:
    """Merge the heatmaps of all views, one object an image, and read the points from their mean: the flip test.

    Views are mirrored back with left and right exchanged, and resized to the heatmaps of the first.
    """
    key = next(name for name in _REFINED_BY if name in decoded[0])
    size, points = decoded[0][key].shape[-2:], decoded[0][key].shape[1]
    order = torch.from_numpy(flip_order(options.flip_pairs, points))
    total = torch.zeros(())
    for one, view in zip(decoded, views, strict=True):
        maps = one[key].float()
        maps = maps.flip(-1)[:, order] if view.mirrored else maps
        if maps.shape[-2:] != size:
            maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
        total = total + maps
    mean = total / len(views)
    cells, values = heatmap_peaks(mean, _REFINED_BY[key])
    point_scores = values.clamp(0.0, 1.0).unsqueeze(1)
    pixels = cells * cells.new_tensor([views[0].canvas[1] / size[1], views[0].canvas[0] / size[0]])
    merged = {"keypoints": pixels.unsqueeze(1), "point_scores": point_scores, "scores": point_scores.mean(dim=2)}
    return {**decoded[0], **merged, key: mean}


def merge_points(
    decoded: Sequence[Mapping[str, Tensor]], views: Sequence[View], options: MergeOptions
) -> dict[str, Tensor]:
    """Merge the points of all views: objects of the first view, each point the mean over the views that show it."""
    first = decoded[0]
    points, scores = first["keypoints"].float().clone(), first["point_scores"].float().clone()
    order = flip_order(options.flip_pairs, points.shape[2])
    for image, number in enumerate(first["count"].tolist()):
        sums = views[0].points_back(points[image, :number].numpy()).astype(np.float64)
        score_sums = scores[image, :number].numpy().astype(np.float64)
        if views[0].mirrored:
            sums, score_sums = sums[:, order], score_sums[:, order]
        reference, seen = sums.copy(), np.ones(number)
        for other, view in zip(decoded[1:], views[1:], strict=True):
            number_found = int(other["count"][image])
            found = view.points_back(other["keypoints"][image, :number_found].float().numpy())
            found_scores = other["point_scores"][image, :number_found].float().numpy()
            if view.mirrored:
                found, found_scores = found[:, order], found_scores[:, order]
            rows, partners = _match(reference, found)
            sums[rows] += found[partners]
            score_sums[rows] += found_scores[partners]
            seen[rows] += 1
        points[image, :number] = torch.from_numpy(sums / seen[:, None, None]).float()
        scores[image, :number] = torch.from_numpy(score_sums / seen[:, None]).float()
    # The objects, their scores and their boxes stay those of the first view, which is the plain one.
    return {**first, "keypoints": points, "point_scores": scores}


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
