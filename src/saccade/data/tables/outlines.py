"""Outlines of all objects of a data set, and short texts beside them, in a few flat arrays.

An object's outline is a number of rings (polygons; a ring may be a hole), or the runs of a mask, or nothing. As with
boxes, one Python object an outline would be copied into every loader worker.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AttributeTexts",
    "OutlineBuilder",
    "Outlines",
    "TextBuilder",
    "decompress_runs",
    "mask_of_rings",
    "mask_of_runs",
    "runs_of_mask",
]


@dataclass(frozen=True)
class Outlines:
    """Outlines of N objects: R rings of P points in all, S runs in all.

    Args:
        ring_offsets: First ring of each object and the end, shape (N + 1,), int64.
        point_offsets: First point of each ring and the end, shape (R + 1,), int64.
        points_xy: (P, 2) float64, pixels, continuous coordinates.
        holes: Whether a ring cuts out, shape (R,), bool.
        run_offsets: First run of each object and the end, shape (N + 1,), int64.
        runs: Lengths of alternating runs of 0 and 1 down the columns of the image (COCO), shape (S,), uint32.
        run_sizes: (height, width) of the image that each object's mask was made for, (N, 2), int32; 0 without a mask.
    """

    ring_offsets: NDArray[np.int64]
    point_offsets: NDArray[np.int64]
    points_xy: NDArray[np.float64]
    holes: NDArray[np.bool_]
    run_offsets: NDArray[np.int64]
    runs: NDArray[np.uint32]
    run_sizes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ring_offsets) - 1

    def rings(self, row: int) -> list[NDArray[np.float64]]:
        """Rings of an object, each (P, 2)."""
        first, end = int(self.ring_offsets[row]), int(self.ring_offsets[row + 1])
        return [self.points_xy[self.point_offsets[ring] : self.point_offsets[ring + 1]] for ring in range(first, end)]

    def hole_flags(self, row: int) -> list[bool]:
        """Whether each ring of an object is a hole."""
        flags: list[bool] = self.holes[self.ring_offsets[row] : self.ring_offsets[row + 1]].tolist()
        return flags

    def mask_runs(self, row: int) -> NDArray[np.uint32]:
        """Runs of an object; empty if it has no mask."""
        return self.runs[self.run_offsets[row] : self.run_offsets[row + 1]]

    def has_rings(self) -> NDArray[np.bool_]:
        """Which objects have polygons, shape (N,)."""
        return np.diff(self.ring_offsets) > 0

    def has_runs(self) -> NDArray[np.bool_]:
        """Which objects have a mask, shape (N,)."""
        return np.diff(self.run_offsets) > 0

    def mask(self, row: int, height: int, width: int) -> NDArray[np.uint8]:
        """Filled outline of an object, (height, width) of 0 and 1.

        Raises:
            ValueError: If the outline cannot belong to an image of that size.
        """
        runs = self.mask_runs(row)
        if len(runs):
            made_for = tuple(self.run_sizes[row].tolist())
            if made_for != (height, width):
                raise ValueError(f"the mask is {made_for[1]}x{made_for[0]}, the image {width}x{height}")
            return mask_of_runs(runs, height, width)
        return mask_of_rings(self.rings(row), self.hole_flags(row), height, width)

    def take(self, rows: NDArray[np.int64]) -> Outlines:
        """Outlines of some objects, in the order given."""
        rings = _expand(self.ring_offsets, rows)
        points = _expand(self.point_offsets, rings)
        return Outlines(
            ring_offsets=_offsets(np.diff(self.ring_offsets)[rows]),
            point_offsets=_offsets(np.diff(self.point_offsets)[rings]),
            points_xy=self.points_xy[points],
            holes=self.holes[rings],
            run_offsets=_offsets(np.diff(self.run_offsets)[rows]),
            runs=self.runs[_expand(self.run_offsets, rows)],
            run_sizes=self.run_sizes[rows],
        )


class OutlineBuilder:
    """Collects outlines one object at a time; :meth:`add` once an object, in order."""

    def __init__(self) -> None:
        self._rings, self._points, self._runs_of = array("q"), array("q"), array("q")
        self._xy = array("d")
        self._holes = array("b")
        self._runs = array("I")
        self._run_sizes = array("i")

    def add(
        self,
        rings: Sequence[Sequence[float]] = (),
        holes: Sequence[bool] = (),
        runs: Sequence[int] = (),
        run_size: tuple[int, int] = (0, 0),
    ) -> None:
        """Add one object's outline.

        Args:
            rings: Each x, y, x, y, ... in pixels.
            holes: Which of the rings are holes; none if empty.
            runs: Of a mask, instead of rings.
            run_size: (height, width) of that mask.
        """
        self._rings.append(len(rings))
        for number, ring in enumerate(rings):
            self._points.append(len(ring) // 2)
            self._xy.extend(ring)
            self._holes.append(bool(holes[number]) if holes else False)
        self._runs_of.append(len(runs))
        self._runs.extend(runs)
        self._run_sizes.extend(run_size)

    def build(self) -> Outlines:
        """The arrays of everything added."""
        return Outlines(
            ring_offsets=_offsets(np.array(self._rings, np.int64)),
            point_offsets=_offsets(np.array(self._points, np.int64)),
            points_xy=np.array(self._xy, np.float64).reshape(-1, 2),
            holes=np.array(self._holes, np.bool_),
            run_offsets=_offsets(np.array(self._runs_of, np.int64)),
            runs=np.array(self._runs, np.uint32),
            run_sizes=np.array(self._run_sizes, np.int32).reshape(-1, 2),
        )


@dataclass(frozen=True)
class AttributeTexts:
    """Attributes of N objects or images as JSON, one after another; most have none.

    Args:
        offsets: First byte of each and the end, shape (N + 1,), int64.
        content: UTF-8, uint8.
    """

    offsets: NDArray[np.int64]
    content: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def get(self, row: int) -> dict[str, Any]:
        """Attributes by name; empty if there are none."""
        text = self.content[self.offsets[row] : self.offsets[row + 1]].tobytes()
        values: dict[str, Any] = json.loads(text) if text else {}
        return values

    def take(self, rows: NDArray[np.int64]) -> AttributeTexts:
        """Those of some rows, in the order given."""
        return AttributeTexts(_offsets(np.diff(self.offsets)[rows]), self.content[_expand(self.offsets, rows)])


class TextBuilder:
    """Collects attributes; :meth:`add` once an object or image, in order."""

    def __init__(self) -> None:
        self._lengths = array("q")
        self._content = bytearray()

    def add(self, attributes: Mapping[str, Any] | None = None) -> None:
        """Add one row's attributes: plain values by name."""
        text = json.dumps(dict(attributes), separators=(",", ":"), ensure_ascii=False).encode() if attributes else b""
        self._lengths.append(len(text))
        self._content += text

    def build(self) -> AttributeTexts | None:
        """The arrays of everything added; None if no row has any."""
        if not self._content:
            return None
        return AttributeTexts(
            _offsets(np.array(self._lengths, np.int64)), np.frombuffer(bytes(self._content), np.uint8)
        )


def mask_of_rings(
    rings: Sequence[NDArray[np.float64]], holes: Sequence[bool], height: int, width: int
) -> NDArray[np.uint8]:
    """Union of the rings, less the holes, as COCO's tools fill polygons: (height, width) uint8 of 0 and 1.

    Args:
        rings: Each (P, 2), pixels, continuous coordinates.
        holes: Which of them are holes.
        height: Of the image.
        width: Of the image.

    Raises:
        ValueError: If a ring has fewer than three points, or points that are not finite or far from the image.
    """
    limit = 10 * max(height, width)
    for ring in rings:  # the filler underneath trusts its input
        if len(ring) < 3 or not (np.abs(ring) <= limit).all():
            raise ValueError("a polygon needs three or more finite points near the image")
    if not any(holes):
        return _fill(rings, height, width)
    # From the largest to the smallest, so that a hole may hold an island.
    mask = np.zeros((height, width), np.uint8)
    for ring, hole in sorted(zip(rings, holes, strict=True), key=lambda pair: -_area(pair[0])):
        mask[_fill([ring], height, width) > 0] = not hole
    return mask


def _area(ring: NDArray[np.float64]) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _fill(rings: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.uint8]:
    from faster_coco_eval.core import mask as codec

    if not rings:
        return np.zeros((height, width), np.uint8)
    flat = [ring.reshape(-1).tolist() for ring in rings]
    mask: NDArray[np.uint8] = codec.decode(codec.merge(codec.frPyObjects(flat, height, width)))
    return mask


def mask_of_runs(runs: NDArray[np.uint32] | Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """Mask (height, width) of 0 and 1 of alternating runs down the columns, the first of zeros.

    Raises:
        ValueError: If the runs do not sum to the image's pixels.
    """
    lengths = np.asarray(runs, np.int64)
    if (lengths.size and lengths.min() < 0) or int(lengths.sum()) != height * width:
        raise ValueError(f"runs sum to {int(lengths.sum())}, not to {height * width} pixels")
    flat = np.repeat(np.arange(len(lengths)) % 2, lengths).astype(np.uint8)
    return flat.reshape(width, height).T


def decompress_runs(text: str) -> NDArray[np.int64]:
    """Runs of COCO's compressed code.

    A character holds five bits, counted from '0', and in its sixth bit whether more follow; from the fourth run on a
    number is the difference to the run two before it.

    Raises:
        ValueError: If the text is no such code.
    """
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("the run-length code has a strange character or breaks off")
    last = (codes & 32) == 0
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("the run-length code has a number without end")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)  # the sign
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0:
        raise ValueError("a run is negative")
    return values


def runs_of_mask(mask: NDArray[Any]) -> list[int]:
    """Alternating runs down the columns of a (H, W) mask, the first of zeros (0 if the mask begins with a one)."""
    flat = np.asarray(mask, np.bool_).T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else list(lengths)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _expand(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of all elements of some rows of a compressed table."""
    counts = np.diff(offsets)[rows]
    starts = _offsets(counts)
    return np.arange(starts[-1]) + np.repeat(offsets[:-1][rows] - starts[:-1], counts)
