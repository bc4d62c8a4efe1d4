"""Parts and limbs of people: which points a bottom-up network maps, and which pairs of them its fields join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.structures.point_layout import PointLayout

__all__ = ["COCO_POINTS", "COCO_SKELETON", "OPENPOSE_LIMBS", "OPENPOSE_POINTS", "PartLayout", "layout_for"]

# The points of COCO's persons in its order.
COCO_POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
# COCO's own skeleton, which joins shoulders and hips directly; from 0.
COCO_SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
# The same persons in the order of the published heatmaps, with a neck.
OPENPOSE_POINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
# Limbs in the order of the published fields.
OPENPOSE_LIMBS = (
    (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 2), (2, 3), (3, 4), (2, 16), (1, 5), (5, 6), (6, 7),
    (5, 17), (1, 0), (0, 14), (0, 15), (14, 16), (15, 17),
)  # fmt: skip

Limbs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PartLayout:
    """Parts and limbs of an object: P heatmaps and L fields of a bottom-up network for K points of a data set.

    Args:
        parts: For each of the P parts the points whose mean it is; it has a ground truth where all of them have.
        limbs: L pairs of parts, from the first to the second.
        names: Names of the points where these are persons whose limbs are known, else empty.

    Example:
        >>> layout = layout_for(17)
        >>> len(layout.parts), len(layout.limbs), layout.parts[1], layout.points[5]
        (18, 19, (5, 6), 5)
    """

    parts: tuple[tuple[int, ...], ...]
    limbs: Limbs
    names: tuple[str, ...] = ()

    @property
    def points(self) -> tuple[int, ...]:
        """For each of the K points its part."""
        own = {sources[0]: part for part, sources in enumerate(self.parts) if len(sources) == 1}
        return tuple(own[point] for point in range(len(own)))

    @property
    def point_layout(self) -> PointLayout:
        """Names, left and right pairs, and skeleton of the points, where these are known persons; else empty."""
        index = {name: point for point, name in enumerate(self.names)}
        pairs = [(index[name], index["right" + name[4:]]) for name in self.names if name.startswith("left_")]
        skeleton = COCO_SKELETON if self.names == COCO_POINTS else OPENPOSE_LIMBS
        return PointLayout(self.names, tuple(pairs), skeleton) if self.names else PointLayout()

    def gather(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of objects.

        Args:
            keypoints: (B, N, K, 3): x, y, visibility.

        Returns:
            Coordinates (B, N, P, 2) and whether they are known, (B, N, P) bool.

        Example:
            >>> keypoints = torch.zeros(1, 1, 17, 3)
            >>> keypoints[0, 0, 5:7] = torch.tensor([[10.0, 4, 2], [20, 8, 1]])
            >>> points, known = layout_for(17).gather(keypoints)
            >>> points[0, 0, 1], known[0, 0].nonzero().flatten()
            (tensor([15.,  6.]), tensor([1, 2, 5]))
        """
        first = torch.tensor([sources[0] for sources in self.parts], device=keypoints.device)
        second = torch.tensor([sources[-1] for sources in self.parts], device=keypoints.device)
        one, other = keypoints[:, :, first], keypoints[:, :, second]
        return (one[..., :2] + other[..., :2]) / 2, (one[..., 2] > 0) & (other[..., 2] > 0)


def layout_for(num_points: int, skeleton: Sequence[Sequence[int]] | None = None, limb_span: int = 1) -> PartLayout:
    """Choose parts and limbs: those of the published networks for persons, else the data set's points and skeleton.

    Args:
        num_points: K. 18 without a skeleton are OpenPose's points; 17 without a skeleton, or with COCO's, are COCO's,
            to which a neck between the shoulders is added.
        skeleton: Pairs of points that a limb joins, from 0.
        limb_span: Further limbs join parts that are so many limbs of the skeleton apart, or fewer.

    Raises:
        ConfigError: If other points have no skeleton, a pair is not one of two of the points, or ``limb_span`` is below
            1.

    Example:
        >>> layout_for(3, [(0, 1), (1, 2)])
        PartLayout(parts=((0,), (1,), (2,)), limbs=((0, 1), (1, 2)), names=())
        >>> [len(layout_for(17, limb_span=span).limbs) for span in (1, 2, 3)]
        [19, 48, 86]
    """
    if limb_span < 1:
        raise ConfigError(f"limb_span is {limb_span}; it is a whole number of 1 or more.")
    layout = _base_layout(num_points, skeleton)
    return replace(layout, limbs=layout.limbs + _further_limbs(layout.limbs, len(layout.parts), limb_span))


def _base_layout(num_points: int, skeleton: Sequence[Sequence[int]] | None) -> PartLayout:
    """Parts, and the limbs of the skeleton alone."""
    pairs = None if skeleton is None else tuple(_pair(entry, num_points) for entry in skeleton)
    if pairs is not None and len({frozenset(pair) for pair in pairs}) != len(pairs):
        raise ConfigError("skeleton has a pair of points twice. Name each limb once.")
    if num_points == len(COCO_POINTS) and (pairs is None or _same_limbs(pairs, COCO_SKELETON)):
        index = {name: point for point, name in enumerate(COCO_POINTS)}
        shoulders = (index["left_shoulder"], index["right_shoulder"])
        parts = tuple(shoulders if name == "neck" else (index[name],) for name in OPENPOSE_POINTS)
        return PartLayout(parts, OPENPOSE_LIMBS, COCO_POINTS)
    single = tuple((point,) for point in range(num_points))
    if pairs is None and num_points == len(OPENPOSE_POINTS):
        return PartLayout(single, OPENPOSE_LIMBS, OPENPOSE_POINTS)
    if not pairs:
        raise ConfigError(
            f"there is no skeleton for {num_points} classes (points), and without limbs points cannot be grouped into "
            "objects. Pass skeleton=[(0, 1), ...] (--model-args.skeleton), pairs of points that a limb joins, or write "
            "'skeleton' into the data set; for one object an image take dsnt."
        )
    return PartLayout(single, pairs)


def _further_limbs(limbs: Limbs, num_parts: int, limb_span: int) -> Limbs:
    """Pairs of parts that 2 to ``limb_span`` limbs lie between."""
    apart = np.full((num_parts, num_parts), np.inf)
    np.fill_diagonal(apart, 0)
    for first, second in limbs:
        apart[first, second] = apart[second, first] = 1
    for middle in range(num_parts):  # shortest ways (Floyd and Warshall)
        apart = np.minimum(apart, apart[:, middle, None] + apart[middle])
    pairs = np.argwhere(np.triu((apart > 1) & (apart <= limb_span)))
    return tuple((int(first), int(second)) for first, second in pairs)


def _same_limbs(pairs: Limbs, others: Limbs) -> bool:
    """The same limbs, whatever their direction and order."""
    return {frozenset(pair) for pair in pairs} == {frozenset(pair) for pair in others}


def _pair(entry: Sequence[int], num_points: int) -> tuple[int, int]:
    pair = tuple(int(point) for point in entry)
    if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= point < num_points for point in pair):
        raise ConfigError(
            f"skeleton has {list(entry)}; a limb is a pair of different points, each 0 to {num_points - 1}."
        )
    return pair[0], pair[1]
