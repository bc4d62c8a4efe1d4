"""Grouping into people after a network that predicts heatmaps and part affinity fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.base import Decoded
from saccade.models.finish_registry import register_finish
from saccade.ops.group_parts import GroupSettings, group_parts
from saccade.ops.part_fields import mirror_maps
from saccade.ops.views import View, flip_order

__all__ = ["group_people", "merge_maps", "mirror_orders"]

_MAPS = ("heatmaps", "fields")


def _check_settings(options: Mapping[str, Any]) -> None:
    """Refuse settings out of their range, and limbs that are no pairs, before anything runs."""
    own = {field.name for field in fields(GroupSettings)}
    GroupSettings(**{name: value for name, value in options.items() if name in own})
    for name in ("limbs", "points"):
        if not options.get(name):
            raise ConfigError(f"finish 'group_people' needs '{name}', which models with part affinity fields hold.")


def mirror_orders(
    limbs: Sequence[Sequence[int]], points: Sequence[int], num_parts: int, flip_pairs: Sequence[tuple[int, int]]
) -> tuple[list[int], list[tuple[int, int]]]:
    """What a mirror makes of parts and limbs: :func:`saccade.ops.part_fields.mirror_maps` takes both.

    A part that is none of the points (a neck between the shoulders) stays what it is.

    Args:
        limbs: Pairs of parts.
        points: For each point its part.
        num_parts: P.
        flip_pairs: Pairs of points that a mirror exchanges.

    Raises:
        ConfigError: If the mirror image of a limb is no limb.

    Example:
        >>> mirror_orders([(0, 1), (0, 2), (1, 2)], (0, 1, 2), 3, [(1, 2)])
        ([0, 2, 1], [(1, 1), (0, 1), (2, -1)])
    """
    parts = list(range(num_parts))
    for point, other in enumerate(flip_order(flip_pairs, len(points))):
        parts[points[point]] = points[int(other)]
    known = {(first, second): (index, 1) for index, (first, second) in enumerate(limbs)}
    known = {(second, first): (index, -1) for (first, second), (index, _) in known.items()} | known
    order = []
    for first, second in limbs:
        mirrored = known.get((parts[first], parts[second]))
        if mirrored is None:
            raise ConfigError(
                f"the mirror image of the limb ({first}, {second}) joins parts {parts[first]} and {parts[second]}, "
                "which no limb of the skeleton does. Predict with flip=False, or train with a symmetric skeleton."
            )
        order.append(mirrored)
    return parts, order


def merge_maps(
    decoded: Sequence[Decoded],
    views: Sequence[View],
    flip_pairs: Sequence[tuple[int, int]],
    options: Mapping[str, Any],
) -> Decoded:
    """Mean of the maps of all views, brought back to the cells of the first: the flip test of bottom-up networks.

    Args:
        decoded: ``heatmaps`` and ``fields`` of every view.
        views: The views.
        flip_pairs: Pairs of points that a mirror exchanges.
        options: ``finish_options`` of the network.
    """
    size = decoded[0]["heatmaps"].shape[-2:]
    sums: Decoded = {}
    for maps, view in zip(decoded, views, strict=True):
        heatmaps, own_fields = maps["heatmaps"], maps["fields"]
        if view.mirrored:
            orders = mirror_orders(options["limbs"], options["points"], heatmaps.shape[1], flip_pairs)
            heatmaps, own_fields = mirror_maps(heatmaps, own_fields, *orders)
        for name, value in zip(_MAPS, (heatmaps, own_fields), strict=True):
            if value.shape[-2:] != size:
                value = F.interpolate(value, size=size, mode="bilinear", align_corners=False)
            sums[name] = sums[name] + value if name in sums else value
    return {name: value / len(decoded) for name, value in sums.items()}


@register_finish(
    "group_people",
    tasks=("keypoints",),
    serves="networks with part affinity fields",
    needs=_MAPS,
    makes=("keypoints", "point_scores", "scores", "count"),
    check=_check_settings,
    merge=merge_maps,
)
def group_people(
    decoded: Decoded,
    images: Tensor,
    limbs: Sequence[Sequence[int]] = (),
    points: Sequence[int] = (),
    stride: int = 8,
    peak_threshold: float = GroupSettings.peak_threshold,
    field_threshold: float = GroupSettings.field_threshold,
    min_support: float = GroupSettings.min_support,
    samples: int = GroupSettings.samples,
    min_points: int = GroupSettings.min_points,
    min_score: float = GroupSettings.min_score,
    max_peaks: int = GroupSettings.max_peaks,
) -> Decoded:
    """People in place of heatmaps and part affinity fields (:mod:`saccade.ops.group_parts`).

    Args:
        decoded: Holds ``heatmaps`` (B, P, h, w), without background, and ``fields`` (B, 2 L, h, w).
        images: (B, C, H, W) uint8.
        limbs: L pairs of parts.
        points: For each of the K points of the answer its part.
        stride: Pixels a cell is wide.
        peak_threshold: As the other settings in :class:`~saccade.ops.group_parts.GroupSettings`.
        field_threshold: See there.
        min_support: See there.
        samples: See there.
        min_points: See there.
        min_score: See there.
        max_peaks: See there.

    Returns:
        ``keypoints`` (B, N, K, 2) in pixels, zero where a point was not found, its score too; ``point_scores``
        (B, N, K), ``scores`` (B, N), ``count`` (B,).

    Raises:
        ConfigError: If a setting is out of its range.
    """
    settings = GroupSettings(peak_threshold, field_threshold, min_support, samples, min_points, min_score, max_peaks)
    pairs = [(int(first), int(second)) for first, second in limbs]
    own = np.asarray(points, np.int64)
    people = [
        group_parts(heatmaps, maps, pairs, settings)
        for heatmaps, maps in zip(decoded["heatmaps"].numpy(), decoded["fields"].numpy(), strict=True)
    ]
    rows = max((len(one.scores) for one in people), default=0)
    keypoints = torch.zeros(len(people), rows, len(own), 2)
    point_scores, scores = torch.zeros(len(people), rows, len(own)), torch.zeros(len(people), rows)
    for image, one in enumerate(people):
        found = one.point_scores[:, own]
        pixels = (one.points[:, own] + 0.5) * stride * (found > 0)[..., None]
        keypoints[image, : len(found)] = torch.from_numpy(pixels.astype(np.float32))
        point_scores[image, : len(found)] = torch.from_numpy(found)
        scores[image, : len(found)] = torch.from_numpy(one.scores)
    rest = {name: value for name, value in decoded.items() if name not in _MAPS}
    count = torch.tensor([len(one.scores) for one in people], dtype=torch.int64)
    return {**rest, "keypoints": keypoints, "point_scores": point_scores, "scores": scores, "count": count}
