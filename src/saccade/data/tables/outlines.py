"""Outlines of all objects of a data set, and their attributes, in a few flat arrays.

An object's outline is a number of rings (polygons; a ring may be a hole), or the run lengths of a mask
(:mod:`saccade.data.tables.run_lengths`), or nothing. As with boxes, one Python object an outline would be copied into
every loader worker.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables._rows import elements_of_rows, offsets_of
from saccade.data.tables.run_lengths import mask_of_runs

__all__ = [
    "FAR",
    "AttributeTexts",
    "ObjectOutline",
    "OutlineBuilder",
    "Outlines",
    "TextBuilder",
    "mask_of_rings",
    "ring_area",
]

FAR = 10  # multiples of the image's longer side beyond which a polygon is not filled


@dataclass(frozen=True, slots=True)
class ObjectOutline:
    """Outline of one object: polygons, or the run lengths of a mask.

    Args:
        rings: Polygons, each x, y, x, y, ... in pixels.
        holes: Which of them are holes; none if empty.
        runs: Run lengths of a mask, instead of polygons.
        run_size: (height, width) of that mask.
    """

    rings: Sequence[Sequence[float]] = ()
    holes: Sequence[bool] = ()
    runs: Sequence[int] = ()
    run_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Outlines:
    """Outlines of N objects: R rings of P points and S runs in all.

    Args:
        ring_offsets: First ring of each object and the end, shape (N + 1,), int64.
        point_offsets: First point of each ring and the end, shape (R + 1,), int64.
        points_xy: (P, 2) float64, pixels, continuous coordinates.
        holes: Whether a ring cuts out, shape (R,), bool.
        run_offsets: First run of each object and the end, shape (N + 1,), int64.
        runs: Lengths of alternating runs of 0 and 1 down the columns of the image (COCO), shape (S,), uint32.
        run_sizes: (height, width) of the image that each object's mask was made for, (N, 2), int32; 0 without a mask.

    Example:
        >>> builder = OutlineBuilder()
        >>> builder.add(rings=[[1, 1, 5, 1, 5, 3, 1, 3]])
        >>> builder.add(runs=[2, 2, 2], run_size=(2, 3))
        >>> outlines = builder.build()
        >>> outlines.has_rings().tolist(), outlines.has_runs().tolist()
        ([True, False], [False, True])
        >>> outlines.mask(1, height=2, width=3)
        array([[0, 1, 0],
               [0, 1, 0]], dtype=uint8)
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
        """Run lengths of an object's mask; empty if it has none."""
        return self.runs[self.run_offsets[row] : self.run_offsets[row + 1]]

    def has_rings(self) -> NDArray[np.bool_]:
        """Which objects have polygons, shape (N,)."""
        return np.diff(self.ring_offsets) > 0

    def has_runs(self) -> NDArray[np.bool_]:
        """Which objects have a mask, shape (N,)."""
        return np.diff(self.run_offsets) > 0

    def is_empty(self, row: int) -> bool:
        """Whether an object has neither rings nor a mask."""
        return bool((self.ring_offsets[row] == self.ring_offsets[row + 1]) & (len(self.mask_runs(row)) == 0))

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
        rings = elements_of_rows(self.ring_offsets, rows)
        points = elements_of_rows(self.point_offsets, rings)
        return Outlines(
            ring_offsets=offsets_of(np.diff(self.ring_offsets)[rows]),
            point_offsets=offsets_of(np.diff(self.point_offsets)[rings]),
            points_xy=self.points_xy[points],
            holes=self.holes[rings],
            run_offsets=offsets_of(np.diff(self.run_offsets)[rows]),
            runs=self.runs[elements_of_rows(self.run_offsets, rows)],
            run_sizes=self.run_sizes[rows],
        )


class OutlineBuilder:
    """Collects outlines one object at a time; :meth:`add` once an object, in order.

    Example:
        >>> builder = OutlineBuilder()
        >>> builder.add(rings=[[1, 1, 5, 1, 5, 3]])
        >>> builder.add()
        >>> len(builder.build())
        2
    """

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
        """Add one object's outline; the arguments are those of :class:`ObjectOutline`."""
        self._rings.append(len(rings))
        for number, ring in enumerate(rings):
            self._points.append(len(ring) // 2)
            self._xy.extend(ring)
            self._holes.append(bool(holes[number]) if holes else False)
        self._runs_of.append(len(runs))
        self._runs.extend(runs)
        self._run_sizes.extend(run_size)

    def build(self) -> Outlines:
        """Arrays of everything added."""
        return Outlines(
            ring_offsets=offsets_of(np.array(self._rings, np.int64)),
            point_offsets=offsets_of(np.array(self._points, np.int64)),
            points_xy=np.array(self._xy, np.float64).reshape(-1, 2),
            holes=np.array(self._holes, np.bool_),
            run_offsets=offsets_of(np.array(self._runs_of, np.int64)),
            runs=np.array(self._runs, np.uint32),
            run_sizes=np.array(self._run_sizes, np.int32).reshape(-1, 2),
        )


@dataclass(frozen=True)
class AttributeTexts:
    """Attributes of N objects or images as JSON in one array of bytes; most have none.

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
        """Attributes of some rows, in the order given."""
        return AttributeTexts(
            offsets_of(np.diff(self.offsets)[rows]), self.content[elements_of_rows(self.offsets, rows)]
        )


class TextBuilder:
    """Collects attributes; :meth:`add` once an object or image, in order.

    Example:
        >>> builder = TextBuilder()
        >>> builder.add({"occluded": 1})
        >>> builder.add()
        >>> texts = builder.build()
        >>> texts.get(0), texts.get(1)
        ({'occluded': 1}, {})
    """

    def __init__(self) -> None:
        self._lengths = array("q")
        self._content = bytearray()

    def add(self, attributes: Mapping[str, Any] | None = None) -> None:
        """Add one row's attributes: plain values by name."""
        text = json.dumps(dict(attributes), separators=(",", ":"), ensure_ascii=False).encode() if attributes else b""
        self._lengths.append(len(text))
        self._content += text

    def build(self) -> AttributeTexts | None:
        """Arrays of everything added; None if no row has any attribute."""
        if not self._content:
            return None
        return AttributeTexts(
            offsets_of(np.array(self._lengths, np.int64)), np.frombuffer(bytes(self._content), np.uint8)
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

    Example:
        >>> square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]], float)
        >>> mask_of_rings([square], [False], height=4, width=5)
        array([[0, 0, 0, 0, 0],
               [0, 1, 1, 1, 0],
               [0, 1, 1, 1, 0],
               [0, 0, 0, 0, 0]], dtype=uint8)
    """
    limit = FAR * max(height, width)
    for ring in rings:  # the compiled filler does not check its input
        if len(ring) < 3 or not (np.abs(ring) <= limit).all():
            raise ValueError("a polygon needs three or more finite points near the image")
    if not any(holes):
        return _fill(rings, height, width)
    # From the largest to the smallest, so that a hole may hold an island.
    mask = np.zeros((height, width), np.uint8)
    for ring, hole in sorted(zip(rings, holes, strict=True), key=lambda pair: -ring_area(pair[0])):
        mask[_fill([ring], height, width) > 0] = not hole
    return mask


def ring_area(ring: NDArray[np.float64]) -> float:
    """Area that a ring (P, 2) encloses, by the shoelace formula.

    Example:
        >>> ring_area(np.array([[1, 1], [4, 1], [4, 3], [1, 3]], float))
        6.0
    """
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _fill(rings: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.uint8]:
    from faster_coco_eval.core import mask as codec

    if not rings:
        return np.zeros((height, width), np.uint8)
    flat = [ring.reshape(-1).tolist() for ring in rings]
    mask: NDArray[np.uint8] = codec.decode(codec.merge(codec.frPyObjects(flat, height, width)))
    return mask
