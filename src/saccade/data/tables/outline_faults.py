"""Faults of outlines: stray rings, numbers that are not finite, masks that do not fit; and outlines without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables._rows import offsets_of
from saccade.data.tables.outlines import FAR, Outlines

__all__ = ["mask_faults", "ring_faults", "without_outlines"]

_FLAT = 1e-12  # share of its extent below which a ring counts as a line, squared


def ring_faults(outlines: Outlines, sizes: NDArray[np.int32]) -> dict[str, NDArray[np.bool_]]:
    """Rings of fewer than three points, not finite, far from their image, or without area (all points on a line).

    Args:
        outlines: Outlines of N objects.
        sizes: (height, width) of the image of each object, (N, 2); 0 where unknown.

    Returns:
        By kind of fault, (R,) bool. A ring has one kind at most, the first that applies.

    Example:
        >>> from saccade.data.tables.outlines import OutlineBuilder
        >>> builder = OutlineBuilder()
        >>> builder.add(rings=[[1, 1, 5, 1, 5, 3, 1, 3], [2, 2, 4, 4], [1, 1, 2, 2, 4, 4]])
        >>> found = ring_faults(builder.build(), np.array([[40, 60]], np.int32))
        >>> {kind: bad.tolist() for kind, bad in found.items() if bad.any()}
        {'fewer than three points': [False, True, False], 'zero area': [False, False, True]}
    """
    points = np.diff(outlines.point_offsets)
    rows = np.repeat(np.arange(len(outlines)), np.diff(outlines.ring_offsets))
    full = np.flatnonzero(points > 0)  # rings without points have no extent
    finite, far, flat = np.ones(len(points), np.bool_), np.zeros(len(points), np.bool_), np.zeros(len(points), np.bool_)
    if len(full):
        starts = outlines.point_offsets[:-1][full]
        furthest = np.maximum.reduceat(np.abs(outlines.points_xy).max(axis=1), starts)
        finite[full] = np.isfinite(furthest)
        limit = FAR * sizes[rows[full]].max(axis=1, initial=0)
        far[full] = (furthest > limit) & sizes[rows[full]].all(axis=1)
        flat[full] = _is_flat(outlines.points_xy, starts, points[full])
    tests = {"fewer than three points": points < 3, "not finite": ~finite, "far from the image": far, "zero area": flat}
    free = np.ones(len(points), np.bool_)
    faults: dict[str, NDArray[np.bool_]] = {}
    for kind, found in tests.items():
        faults[kind] = found & free
        free &= ~found
    return faults


def _is_flat(points: NDArray[np.float64], starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether all points of each ring lie on one line: their scatter has no second direction."""
    with np.errstate(all="ignore"):  # other faults hold numbers of any size
        x, y = (points - np.repeat(points[starts], counts, axis=0)).T
        xx, xy, yy = (np.add.reduceat(product, starts) for product in (x * x, x * y, y * y))
        # The determinant is computed from deviations of the mean, which the sums hold as well.
        mean_x, mean_y = np.add.reduceat(x, starts), np.add.reduceat(y, starts)
        xx, xy, yy = xx - mean_x**2 / counts, xy - mean_x * mean_y / counts, yy - mean_y**2 / counts
        flat: NDArray[np.bool_] = xx * yy - xy**2 <= _FLAT * (xx + yy) ** 2
    return flat


def mask_faults(outlines: Outlines, sizes: NDArray[np.int32]) -> dict[str, NDArray[np.bool_]]:
    """Masks of another size than their image, and masks whose runs do not fill their size.

    Args:
        outlines: Outlines of N objects.
        sizes: (height, width) of the image of each object, (N, 2); 0 where unknown.

    Returns:
        By kind of fault, (N,) bool.

    Example:
        >>> from saccade.data.tables.outlines import OutlineBuilder
        >>> builder = OutlineBuilder()
        >>> builder.add(runs=[2, 2, 2], run_size=(2, 3))
        >>> builder.add(runs=[2, 2], run_size=(2, 3))
        >>> mask_faults(builder.build(), np.array([[2, 3], [2, 3]], np.int32))["mask runs"]
        array([False,  True])
    """
    has = outlines.has_runs()
    rows = np.flatnonzero(has)
    totals = np.zeros(len(outlines), np.int64)
    if len(rows):
        totals[rows] = np.add.reduceat(outlines.runs.astype(np.int64), outlines.run_offsets[:-1][rows])
    other = has & (outlines.run_sizes != sizes).any(axis=1) & (sizes > 0).all(axis=1)
    return {
        "mask size": other,
        "mask runs": has & ~other & (totals != outlines.run_sizes.astype(np.int64).prod(axis=1)),
    }


def without_outlines(outlines: Outlines, rings: NDArray[np.bool_], masks: NDArray[np.bool_]) -> Outlines:
    """Outlines without some rings (R,) and some objects' masks (N,).

    Example:
        >>> from saccade.data.tables.outlines import OutlineBuilder
        >>> builder = OutlineBuilder()
        >>> builder.add(rings=[[1, 1, 5, 1, 5, 3], [2, 2, 4, 4]])
        >>> left = without_outlines(builder.build(), np.array([False, True]), np.array([False]))
        >>> [len(ring) for ring in left.rings(0)]
        [3]
    """
    points = np.diff(outlines.point_offsets)
    rows = np.repeat(np.arange(len(outlines)), np.diff(outlines.ring_offsets))
    runs = np.diff(outlines.run_offsets)
    return replace(
        outlines,
        ring_offsets=offsets_of(np.bincount(rows[~rings], minlength=len(outlines))),
        point_offsets=offsets_of(points[~rings]),
        points_xy=outlines.points_xy[np.repeat(~rings, points)],
        holes=outlines.holes[~rings],
        run_offsets=offsets_of(np.where(masks, 0, runs)),
        runs=outlines.runs[np.repeat(~masks, runs)],
        run_sizes=np.where(masks[:, None], 0, outlines.run_sizes).astype(np.int32),
    )
