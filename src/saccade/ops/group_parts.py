"""Grouping of parts into people: peaks of heatmaps, line integrals over part affinity fields, assignment, assembly.

Cao et al. 2017, arXiv 1611.08050, sections 2.3 and 2.4. Every pair of candidates of every limb is integrated at once;
then each limb is an assignment problem, which SciPy solves, and people are put together from the surest connection on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.errors import ConfigError
from saccade.ops.heatmaps import local_peaks

__all__ = ["GroupSettings", "Peaks", "People", "find_peaks", "group_parts", "score_pairs"]

Array = NDArray[Any]


@dataclass(frozen=True)
class GroupSettings:
    """Settings by which parts are found and grouped.

    Args:
        peak_threshold: Smallest height of a peak of a heatmap.
        field_threshold: Smallest component of the field along a limb at a sample that supports it.
        min_support: Smallest share of the samples that support a limb.
        samples: Samples of a line integral.
        min_points: Fewest points of a person.
        min_score: Smallest score of a person: the mean height of the peaks of all parts, those not found being 0.
        max_peaks: Most candidates of a part; the highest are kept.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> GroupSettings(peak_threshold=0.2).samples
        10
        >>> GroupSettings(samples=0)
        Traceback (most recent call last):
        saccade.errors.ConfigError: group_parts: samples is 0; it must be a whole number of 1 or more.
    """

    peak_threshold: float = 0.1
    field_threshold: float = 0.05
    min_support: float = 0.8
    samples: int = 10
    min_points: int = 3
    min_score: float = 0.0
    max_peaks: int = 200

    def __post_init__(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            whole = field.type == "int"
            number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if whole and not (number and value >= 1):
                raise ConfigError(f"group_parts: {field.name} is {value!r}; it must be a whole number of 1 or more.")
            if not whole and not (number and 0 <= value <= 1):
                raise ConfigError(f"group_parts: {field.name} is {value!r}; it must be a number from 0 to 1.")


class Peaks(NamedTuple):
    """Candidates of all parts of an image, part by part, the highest of each first.

    Args:
        points: (M, 2) x and y in cells; the centre of the first cell is 0.
        scores: (M,) heights.
        starts: (P + 1,) where the candidates of each part begin.

    Example:
        >>> Peaks(np.zeros((3, 2)), np.ones(3), np.array([0, 2, 3])).starts.tolist()  # two of one part, one of the next
        [0, 2, 3]
    """

    points: Array
    scores: Array
    starts: Array


class People(NamedTuple):
    """People of an image, by falling score.

    Args:
        points: (N, P, 2) x and y in cells, zero where a part was not found.
        point_scores: (N, P) heights of the peaks, 0..1; zero where a part was not found.
        scores: (N,) mean of the point scores.

    Example:
        >>> People(np.zeros((2, 18, 2)), np.zeros((2, 18)), np.array([0.8, 0.4])).points.shape
        (2, 18, 2)
    """

    points: Array
    point_scores: Array
    scores: Array


def find_peaks(heatmaps: Array, threshold: float, max_peaks: int = 200) -> Peaks:
    """Peaks of heatmaps between cells: the vertex of a Gaussian through each local maximum and its neighbours.

    Args:
        heatmaps: (P, H, W) float32.
        threshold: Smallest height.
        max_peaks: Most peaks of a part.

    Example:
        >>> row = np.exp(-((np.arange(7) - 2.25) ** 2) / 2)[None, None].astype(np.float32)
        >>> find_peaks(row, threshold=0.1).points.round(2).tolist()
        [[2.25, 0.0]]
    """
    tensor = torch.from_numpy(np.ascontiguousarray(heatmaps))
    part, row, column = (tensor >= threshold).logical_and(local_peaks(tensor[None])[0]).numpy().nonzero()
    heights = heatmaps[part, row, column]
    order = np.lexsort((-heights, part))
    starts = np.searchsorted(part[order], np.arange(len(heatmaps) + 1))
    rank = np.arange(len(order)) - starts[part[order]]
    order = order[rank < max_peaks]
    part, row, column = part[order], row[order], column[order]
    starts = np.searchsorted(part, np.arange(len(heatmaps) + 1))
    x = column + _vertex(heatmaps[part, row], column)
    y = row + _vertex(heatmaps[part, :, column], row)
    return Peaks(np.stack((x, y), axis=-1).reshape(-1, 2), np.clip(heights[order], 0.0, 1.0), starts)


def _vertex(rows: Array, cells: Array) -> Array:
    """Offset of the vertex of a parabola through the logarithms of three neighbours, at most half a cell.

    Args:
        rows: (M, n) heights along the row or column of each peak.
        cells: (M,) index of each peak in it.
    """
    last = rows.shape[1] - 1
    around = np.clip(cells[:, None] + np.array([-1, 0, 1]), 0, last)
    before, middle, after = np.log(np.maximum(np.take_along_axis(rows, around, axis=1), 1e-6)).T
    curvature = np.minimum(before - 2 * middle + after, -1e-6)
    inside = (cells > 0) & (cells < last)
    return np.where(inside, np.clip((before - after) / (2 * curvature), -0.5, 0.5), 0.0)


class _Pairs(NamedTuple):
    """Pairs of candidates, limb by limb: indices into the peaks, the limb, and the mean of the integral."""

    first: Array
    second: Array
    limb: Array
    scores: Array


def score_pairs(fields: Array, peaks: Peaks, limbs: Sequence[tuple[int, int]], settings: GroupSettings) -> _Pairs:
    """Line integrals of all pairs of candidates of all limbs (equations 10 and 11), those without support left out.

    Args:
        fields: (2 L, H, W) float32.
        peaks: Candidates.
        limbs: L pairs of parts.
        settings: How a limb is sampled, and what supports it.

    Returns:
        Pairs that are supported at enough samples, with the mean component of the field along the limb.

    Example:
        >>> fields = np.stack((np.ones((1, 5), np.float32), np.zeros((1, 5), np.float32)))
        >>> peaks = Peaks(np.array([[0.0, 0], [4, 0]]), np.ones(2), np.array([0, 1, 2]))
        >>> [score_pairs(fields, peaks, [limb], GroupSettings()).scores.tolist() for limb in ((0, 1), (1, 0))]
        [[1.0], []]
    """
    starts, counts = peaks.starts, np.diff(peaks.starts)
    ends = np.array(limbs, np.int64).reshape(-1, 2)
    number = counts[ends[:, 0]] * counts[ends[:, 1]]
    limb = np.repeat(np.arange(len(ends)), number)
    within = np.arange(len(limb)) - np.repeat(np.cumsum(number) - number, number)
    wide = counts[ends[limb, 1]]
    first = starts[ends[limb, 0]] + within // np.maximum(wide, 1)
    second = starts[ends[limb, 1]] + within % np.maximum(wide, 1)

    # The samples nearest to the middle come first: most pairs are of two people, and fail there.
    order = np.argsort(np.abs(np.linspace(-1, 1, settings.samples)), kind="stable")
    positions = np.linspace(0, 1, settings.samples)[order].astype(np.float32)
    needed = int(np.ceil(settings.min_support * settings.samples - 1e-9))
    few = min(settings.samples - needed + 1, settings.samples)  # if all of these fail, the limb has no support
    some = _components(fields, peaks.points, first, second, limb, positions[:few])
    left = (some > settings.field_threshold).any(axis=1) if needed else np.ones(len(limb), bool)
    first, second, limb = first[left], second[left], limb[left]
    rest = _components(fields, peaks.points, first, second, limb, positions[few:])
    along = np.concatenate((some[left], rest), axis=1)
    scores = along.mean(axis=1, dtype=np.float64)
    good = ((along > settings.field_threshold).sum(axis=1) >= needed) & (scores > 0)
    return _Pairs(first[good], second[good], limb[good], scores[good])


def _components(fields: Array, points: Array, first: Array, second: Array, limb: Array, positions: Array) -> Array:
    """Component of the field along each limb at the cells nearest to some positions on it, (pairs, positions)."""
    _, height, width = fields.shape
    points = points.astype(np.float32)
    start, step = points[first].T[..., None], (points[second] - points[first]).T[..., None]
    # Half up, as casts round down: nearest cells, in 32 bits, which takes half the time.
    x, y = (start + step * positions + 0.5).astype(np.int32)
    index = (2 * height * limb[:, None]).astype(np.int32) + y
    index *= width
    index += x
    flat, unit = fields.ravel(), step / np.maximum(np.linalg.norm(step, axis=0), 1e-6)
    found: Array = flat.take(index) * unit[0]
    found += flat[height * width :].take(index) * unit[1]
    return found


def group_parts(
    heatmaps: Array, fields: Array, limbs: Sequence[tuple[int, int]], settings: GroupSettings | None = None
) -> People:
    """Group the parts of an image into people.

    Args:
        heatmaps: (P, H, W) float32, without background.
        fields: (2 L, H, W) float32.
        limbs: L pairs of parts.
        settings: Thresholds; the defaults if not given.

    Example:
        >>> heatmaps = np.zeros((2, 1, 6), np.float32)
        >>> heatmaps[0, 0, 1] = heatmaps[1, 0, 4] = 0.8
        >>> fields = np.stack((np.ones((1, 6), np.float32), np.zeros((1, 6), np.float32)))
        >>> people = group_parts(heatmaps, fields, [(0, 1)], GroupSettings(min_points=2))
        >>> people.points.tolist(), round(float(people.scores[0]), 2)
        ([[[1.0, 0.0], [4.0, 0.0]]], 0.8)
    """
    settings = settings or GroupSettings()
    peaks = find_peaks(heatmaps, settings.peak_threshold, settings.max_peaks)
    pairs = score_pairs(fields, peaks, limbs, settings)
    people = _assemble(peaks, _assign(pairs, len(limbs)))
    members = [one for one in people if len(one) >= settings.min_points]
    points = np.zeros((len(members), len(heatmaps), 2), np.float32)
    point_scores = np.zeros((len(members), len(heatmaps)), np.float32)
    part_of = np.repeat(np.arange(len(heatmaps)), np.diff(peaks.starts))
    for row, candidates in enumerate(members):
        parts = part_of[candidates]
        points[row, parts], point_scores[row, parts] = peaks.points[candidates], peaks.scores[candidates]
    scores = point_scores.mean(axis=1)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= settings.min_score]
    return People(points[order], point_scores[order], scores[order])


def _assign(pairs: _Pairs, num_limbs: int) -> list[tuple[int, int]]:
    """Connections of all limbs, the surest first: for each limb the assignment of the largest total (equation 13)."""
    from scipy.optimize import linear_sum_assignment  # half a second, for which no other prediction should wait

    chosen = []
    starts = np.searchsorted(pairs.limb, np.arange(num_limbs + 1))
    for begin, end in pairwise(starts.tolist()):
        if begin == end:
            continue
        rows, row = np.unique(pairs.first[begin:end], return_inverse=True)
        columns, column = np.unique(pairs.second[begin:end], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        gain[row, column] = pairs.scores[begin:end]
        one, other = linear_sum_assignment(gain, maximize=True)
        real = gain[one, other] > 0
        chosen += list(zip(gain[one, other][real], rows[one[real]], columns[other[real]], strict=True))
    chosen.sort(key=lambda entry: -entry[0])
    return [(int(first), int(second)) for _, first, second in chosen]


def _assemble(peaks: Peaks, connections: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Candidates of each person: two groups become one by a connection, unless both have the same part already."""
    part_of = np.repeat(np.arange(len(peaks.starts) - 1), np.diff(peaks.starts)).tolist()
    group_of = list(range(len(part_of)))
    members = [[candidate] for candidate in group_of]
    parts = [{part} for part in part_of]
    for first, second in connections:
        into, other = group_of[first], group_of[second]
        if into == other or parts[into] & parts[other]:
            continue
        for candidate in members[other]:
            group_of[candidate] = into
        members[into] += members[other]
        parts[into] |= parts[other]
        members[other] = []
    return [one for one in members if one]
