"""Objects of each task from the shapes of labelme, with attributes from which the same file can be written again.

An attribute ``labelme`` holds only details that the object itself lacks: of an object, one dictionary a shape with
``shape_type``, ``points``, ``position``, ``flags``, ``description`` or ``more`` (and ``label``, if it is a keypoint);
of an image, the ``shapes`` that are not objects, each with its position in the file, and ``more``.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.readers._common import check_class_count, flip_pairs_by_name
from saccade.data.readers._faults import FieldError, noting
from saccade.data.readers._labelme_shapes import LINE_KINDS, RING_KINDS, LabelmeFile, Outline, Shape, outline
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.errors import DataError
from saccade.structures.kinds import IGNORE_LABEL
from saccade.structures.reading import read_text

__all__ = ["NO_CLASS", "FlagBuilder", "ObjectBuilder", "PointBuilder", "ring_of"]

# Labels that are not classes, and their values in a label map.
NO_CLASS = {"__ignore__": IGNORE_LABEL, "_background_": 0}
_RESERVED = frozenset({"group_id", "description", "labelme"})
# Arguments of add_object, by which extras must not be named.
_TAKEN = frozenset(inspect.signature(TableBuilder.add_object).parameters)


class ObjectBuilder:
    """Builds a table of objects with boxes and outlines.

    Args:
        root: Data folder, which may hold lists of names.
        files: All files of all splits, as labels must not depend on the split.
        class_names: Names of labels 0..N-1, instead of those found.
        fill: Whether rectangles are outlines too.
    """

    def __init__(self, root: Path, files: Sequence[LabelmeFile], class_names: Sequence[str] | None, fill: bool) -> None:
        shapes = [shape for file in files for shape in file.shapes]
        found = sorted({shape.label for shape in shapes if _has_class(shape)})
        self.class_names = _names(class_names, root / "labels.txt", found)
        self.shown_names: tuple[str, ...] = self.class_names
        self.flip_pairs: tuple[tuple[int, int], ...] = ()
        self.left_out: Counter[str] = Counter()
        self.table = TableBuilder(self.class_names, outlines=True)
        self._fill = fill
        self._extras = sorted({name for shape in shapes for name in shape.kept.extras} - _TAKEN)

    def add(self, file: LabelmeFile, number: int, image: str, size: tuple[int, int]) -> None:
        """Add an image of (height, width) and its objects."""
        objects, rest = self._objects(file)
        for shape in rest:
            self.left_out[f"left out {shape.label if shape.label in NO_CLASS else shape.kind}"] += 1
        self.table.add_image(image, number, size, attributes=_image_attributes(file, rest, file.flags))
        for parts in objects:
            with noting(self.note):
                self._add(parts, size, file.path)

    def note(self, error: FieldError) -> None:
        """Note a fault; what it belongs to is left out."""
        self.table.add_fault(error.code, error.where, error.message)

    def _objects(self, file: LabelmeFile) -> tuple[list[list[Shape]], list[Shape]]:
        """Shapes of each object, and those that belong to none."""
        objects: list[list[Shape]] = []
        grouped: dict[tuple[str, int | str], list[Shape]] = {}
        rest = []
        for shape in file.shapes:
            if not _has_class(shape):
                rest.append(shape)
            elif shape.group is None or shape.kind not in RING_KINDS:
                objects.append([shape])
            elif (shape.label, shape.group) in grouped:
                grouped[shape.label, shape.group].append(shape)
            else:
                grouped[shape.label, shape.group] = [shape]
                objects.append(grouped[shape.label, shape.group])
        return objects, rest

    def _add(
        self,
        parts: Sequence[Shape],
        size: tuple[int, int],
        path: Path,
        keypoints: Sequence[float] = (),
        more: Sequence[dict[str, Any]] = (),
    ) -> None:
        found = [outline(part, size, path) for part in parts]
        outer = [one for one, part in zip(found, parts, strict=True) if not part.kept.hole] or found
        boxes = np.array([one.box_xyxy for one in outer])
        kept = parts[0].kept
        area = sum(-one.area if part.kept.hole else one.area for one, part in zip(found, parts, strict=True))
        rings = [ring_of(one) for one in found if one.ring or (self._fill and not one.runs)]
        details = [
            _details(part, parts[0], index, one, self._fill)
            for index, (part, one) in enumerate(zip(parts, found, strict=True))
        ]
        self.table.add_object(
            parts[0].label,
            kept.box or (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()),
            iscrowd=kept.iscrowd,
            area=max(area, 0.0) if kept.area is None else kept.area,
            keypoints=keypoints,
            outline=ObjectOutline(
                rings=rings,
                holes=[part.kept.hole for part in parts] if rings else (),
                runs=found[0].runs,
                run_size=size if found[0].runs else (0, 0),
            ),
            attributes=_attributes(parts[0], [*details, *more]),
            **{name: kept.extras.get(name, 0) for name in self._extras},
        )


class PointBuilder(ObjectBuilder):
    """Builds a table of objects with keypoints: the points that share a ``group_id`` with them.

    The arguments are those of :class:`ObjectBuilder`; ``class_names`` are the names of the points.
    """

    def __init__(self, root: Path, files: Sequence[LabelmeFile], class_names: Sequence[str] | None, fill: bool) -> None:
        super().__init__(root, files, None, fill)
        found = {shape.label for file in files for shape in file.shapes if _is_keypoint(shape)}
        self.shown_names = _names(class_names, root / "keypoints.txt", sorted(found))
        if not self.shown_names:
            raise DataError(f"{root}: no point shares a group_id with an object. Choose another task.")
        self.flip_pairs = flip_pairs_by_name(self.shown_names)
        self.table = TableBuilder(self.class_names, num_keypoints=len(self.shown_names), outlines=True)

    def add(self, file: LabelmeFile, number: int, image: str, size: tuple[int, int]) -> None:
        """Add an image of (height, width) and its objects.

        An object that has the same point twice, or one that is not in the list of names, is a fault.
        """
        objects, rest = self._objects(file)
        first_of = {parts[0].group: position for position, parts in reversed(list(enumerate(objects)))}
        points: dict[int, list[Shape]] = {}
        alone = []
        for shape in rest:
            if _is_keypoint(shape) and shape.group in first_of:
                points.setdefault(first_of[shape.group], []).append(shape)
            else:
                alone.append(shape)
                self.left_out[f"left out {shape.label if shape.label in NO_CLASS else shape.kind}"] += 1
        self.table.add_image(image, number, size, attributes=_image_attributes(file, alone, file.flags))
        for position, parts in enumerate(objects):
            own = points.get(position, [])
            more = [
                {**_rest_of(point, skip=("hidden",)), "label": point.label, "position": point.position} for point in own
            ]
            with noting(self.note):
                self._add(parts, size, file.path, self._keypoints(own, file.path), more)

    def _keypoints(self, points: Iterable[Shape], path: Path) -> list[float]:
        values = np.zeros((len(self.shown_names), 3))
        for point in points:
            where = f"shapes[{point.position}]"
            if point.label not in self.shown_names:
                message = f"{where}: the point '{point.label}' is not in the list of names. Add or rename it."
                raise FieldError("labels.keypoints", str(path), message)
            row = values[self.shown_names.index(point.label)]
            if row[2]:
                message = f"{where}: its object has the point '{point.label}' twice. Rename or remove one."
                raise FieldError("labels.keypoints", str(path), message)
            row[:] = *point.points_xy[0].tolist(), 1 if point.flags.get("hidden") is True else 2
        flat: list[float] = values.reshape(-1).tolist()
        return flat


class FlagBuilder:
    """Builds a table of images whose class is their flag; the arguments are those of :class:`ObjectBuilder`."""

    def __init__(self, root: Path, files: Sequence[LabelmeFile], class_names: Sequence[str] | None, fill: bool) -> None:
        found = sorted({name for file in files for name in file.flags if name not in NO_CLASS})
        self.class_names = self.shown_names = _names(class_names, root / "flags.txt", found)
        self.flip_pairs: tuple[tuple[int, int], ...] = ()
        self.left_out: Counter[str] = Counter()
        self.table = TableBuilder(self.shown_names, boxes=False)

    def note(self, error: FieldError) -> None:
        """Note a fault; what it belongs to is left out."""
        self.table.add_fault(error.code, error.where, error.message)

    def add(self, file: LabelmeFile, number: int, image: str, size: tuple[int, int]) -> None:
        """Add an image of (height, width).

        Raises:
            FieldError: If not exactly one of its flags is true.
        """
        if file.flags.get("__ignore__") is True:
            self.left_out["left out __ignore__"] += 1
            return
        chosen = [name for name, value in file.flags.items() if value is True]
        if len(chosen) != 1:
            names = ", ".join(chosen) or "none"
            message = f"flags: one must be true, the class, but these are: {names}. Correct them."
            raise FieldError("labels.class", str(file.path), message)
        others = {name: value for name, value in file.flags.items() if name not in self.shown_names}
        self.table.add_image(image, number, size, attributes=_image_attributes(file, file.shapes, others))
        self.table.add_object(chosen[0])


def ring_of(found: Outline) -> list[float]:
    """Ring of an outline; of a rectangle, its corners.

    Example:
        >>> ring_of(Outline((10, 5, 30, 35), area=600))
        [10, 5, 30, 5, 30, 35, 10, 35]
    """
    x1, y1, x2, y2 = found.box_xyxy
    return found.ring or [x1, y1, x2, y1, x2, y2, x1, y2]


def _has_class(shape: Shape) -> bool:
    return shape.kind not in LINE_KINDS and shape.label not in NO_CLASS


def _is_keypoint(shape: Shape) -> bool:
    return shape.kind == "point" and shape.group is not None


def _names(given: Sequence[str] | None, listed: Path, found: Sequence[str]) -> tuple[str, ...]:
    """Names of labels 0..N-1: as given, as listed in a file, or as found."""
    names = list(found if given is None else given)
    if given is None and listed.is_file():
        lines = [line.strip() for line in read_text(listed).splitlines()]
        names = [line for line in lines if line and line not in NO_CLASS]
    if len(set(names)) < len(names):
        raise DataError(f"{listed}: a name is listed twice. Remove or rename one.")
    check_class_count(len(names), listed.parent, "labels")
    return tuple(names)


def _image_attributes(file: LabelmeFile, shapes: Sequence[Shape], flags: dict[str, Any]) -> dict[str, Any]:
    attributes, rest = _flat(file.more, flags)
    if shapes:
        rest["shapes"] = [[shape.position, shape.raw] for shape in shapes]
    return attributes | ({"labelme": rest} if rest else {})


def _attributes(shape: Shape, details: list[dict[str, Any]]) -> dict[str, Any]:
    """Attributes of an object by name, as its first shape has them."""
    attributes, _ = _flat(shape.more, shape.flags)
    if shape.group is not None:
        attributes["group_id"] = shape.group
    if shape.description:
        attributes["description"] = shape.description
    return attributes | ({"labelme": details} if any(details) else {})


def _flat(more: dict[str, Any], flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flags and ``attributes`` as attributes by name, and the values that cannot be attributes."""
    attributes = dict(more["attributes"]) if _can_be_flat(more) else {}
    others = {key: value for key, value in more.items() if key != "attributes" or not _can_be_flat(more)}
    rest: dict[str, Any] = {"more": others} if others else {}
    plain = all(isinstance(value, bool) for value in flags.values())
    if plain and not flags.keys() & (_RESERVED | attributes.keys()):
        attributes |= flags
    else:
        rest["flags"] = flags
    return attributes, rest


def _can_be_flat(more: dict[str, Any]) -> bool:
    # The writer makes flags of booleans, so such attributes would come back as flags.
    own = more.get("attributes")
    return (
        isinstance(own, dict)
        and not own.keys() & _RESERVED
        and not any(isinstance(value, bool) for value in own.values())
    )


def _details(part: Shape, first: Shape, index: int, found: Outline, fill: bool) -> dict[str, Any]:
    """Details of a shape that its object lacks."""
    details = _rest_of(part) if index else _flat(part.more, part.flags)[1]
    x1, y1, x2, y2 = found.box_xyxy
    if part.kind in RING_KINDS - {"polygon"} or (part.kind == "rectangle" and fill):
        details["shape_type"] = part.kind
    expected = [[x1, y1], [x2, y2]] if part.kind == "rectangle" else [[x1, y1], [x2 - 1, y2 - 1]]
    points = part.points_xy.tolist()
    if part.kind == "circle" or (part.kind in ("rectangle", "mask") and points != expected):
        details["points"] = points
    if part.position != first.position + index:
        details["position"] = part.position
    return details


def _rest_of(shape: Shape, skip: Sequence[str] = ()) -> dict[str, Any]:
    """Flags, description and other keys of a shape that is not the first of its object."""
    rest: dict[str, Any] = {"more": shape.more} if shape.more else {}
    flags = {name: value for name, value in shape.flags.items() if name not in skip}
    if flags:
        rest["flags"] = flags
    if shape.description:
        rest["description"] = shape.description
    return rest
