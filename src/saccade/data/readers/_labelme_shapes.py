"""Shapes of labelme: the content of a JSON file, and the box, ring or mask of each kind of shape.

Points are continuous: 0, 0 is the outer corner of the first pixel. A ``mask`` is a small PNG in base64 whose first
pixel is the one that contains its first point; a ``circle`` is its centre and a point on its edge; a ``rectangle`` is
any two opposite corners, or all four. Versions 3 to 5 differ in keys only; unknown keys are kept.
"""

from __future__ import annotations

import base64
import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import MAX_PIXELS, read_image
from saccade.data.readers._eiseg import FOLDER, EisegShape, as_labelme
from saccade.data.readers._faults import FieldError, noting
from saccade.data.readers._json_files import describe_error, read_json
from saccade.data.tables.outlines import ring_area
from saccade.data.tables.run_lengths import runs_of_mask
from saccade.errors import DataError
from saccade.ops.mask_boxes import box_of_mask
from saccade.structures.text import printable

__all__ = [
    "LINE_KINDS",
    "RING_KINDS",
    "Kept",
    "LabelmeFile",
    "Outline",
    "Shape",
    "embedded_image",
    "load",
    "outline",
    "parse_shape",
]

_CONTENT: Any = dict[str, msgspec.Raw] | list[EisegShape]
# Kinds that are one ring; several of a group are one object.
RING_KINDS = frozenset({"polygon", "circle", "rotation", "oriented_rectangle"})
# Kinds without area.
LINE_KINDS = frozenset({"line", "linestrip", "point", "points"})
_KINDS = RING_KINDS | LINE_KINDS | {"rectangle", "mask"}
_LEAST_POINTS = {"rectangle": 2, "circle": 2, "mask": 2}
_OWN_KEYS = frozenset({"shapes", "flags", "version", "imagePath", "imageData", "imageHeight", "imageWidth"})
# Pixels by which the sides of the polygon for a circle may be inside of it.
_CIRCLE_ERROR = 0.05
# Pixels; points farther than this are mistakes, and their squares and sums would overflow.
_FARTHEST = 1e6


class Kept(msgspec.Struct, omit_defaults=True):
    """Fields that Saccade adds to a shape because labelme has none for them.

    Args:
        box: xyxy in pixels, where it is not the extent of the shape.
        area: Pixels, where it is not that of the shape.
        iscrowd: A crowd region rather than one object.
        hole: Whether the ring cuts out.
        extras: Whole numbers of the reader, by name.
    """

    box: tuple[float, float, float, float] | None = None
    area: float | None = None
    iscrowd: bool = False
    hole: bool = False
    extras: dict[str, Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]] = {}


class _Known(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = None
    group_id: int | str | None = None
    description: str | None = None
    flags: dict[str, Any] | None = None
    mask: str | None = None
    saccade: Kept | None = None


@dataclass(slots=True)
class Shape:
    """One shape of a file.

    Args:
        label: Its class.
        kind: ``polygon``, ``rectangle``, ...
        points_xy: (P, 2) float64, pixels.
        group: Id that it shares with other shapes of the same object.
        description: Free text.
        flags: Marks by name.
        mask: PNG in base64, of a mask.
        kept: Fields that Saccade added.
        more: All other keys.
        position: Index in the file.
        raw: The whole shape, as written.
    """

    label: str
    kind: str
    points_xy: NDArray[np.float64]
    group: int | str | None
    description: str
    flags: dict[str, Any]
    mask: str | None
    kept: Kept
    more: dict[str, Any]
    position: int
    raw: dict[str, Any]


@dataclass(slots=True)
class LabelmeFile:
    """Content of one JSON file.

    Args:
        path: The file.
        shapes: In the order of the file.
        flags: Marks of the image by name.
        image: Its file as written, relative to this one; empty if not given.
        size: (height, width), 0 where not given.
        embedded: Whether the image itself is in the file.
        more: All other keys.
    """

    path: Path
    shapes: list[Shape]
    flags: dict[str, Any]
    image: str
    size: tuple[int, int]
    embedded: bool
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outline:
    """Box, area, and ring or mask of a shape.

    Args:
        box_xyxy: Pixels.
        area: Pixels.
        ring: x, y, x, y, ...; empty for rectangles and masks.
        runs: Run lengths of a mask of the whole image; empty for others.
    """

    box_xyxy: tuple[float, float, float, float]
    area: float
    ring: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


def load(path: Path, faults: list[FieldError] | None = None) -> LabelmeFile:
    """Read a labelme file; an image inside it is not decoded.

    Args:
        path: The file.
        faults: Where malformed shapes are noted, which are then left out; not given, they are raised.

    Raises:
        DataError: If the file or a field is missing or malformed.

    Example:
        >>> _ = Path("a.json").write_text('{"shapes": [{"label": "cat", "points": [[1, 1], [5, 1], [5, 3]]}]}')
        >>> [(shape.label, shape.kind) for shape in load(Path("a.json")).shapes]
        [('cat', 'polygon')]
    """
    raw = _raw(path)
    try:
        shapes = msgspec.json.decode(raw["shapes"], type=list[dict[str, Any]])
        flags = msgspec.json.decode(raw.get("flags", b"null"), type=dict[str, Any] | None)
        image = msgspec.json.decode(raw.get("imagePath", b"null"), type=str | None)
        height, width = (
            msgspec.json.decode(raw.get(key, b"null"), type=int | None, strict=False) or 0
            for key in ("imageHeight", "imageWidth")
        )
        more = {key: msgspec.json.decode(value) for key, value in raw.items() if key not in _OWN_KEYS}
    except KeyError as error:
        message = "shapes is missing. Write it as labelme does, or remove the file."
        raise FieldError("labels.unreadable", str(path), message) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error).replace("`", "")
        message = f"shapes, flags or the image's fields: {problem}. Correct them."
        raise FieldError("json.field", str(path), message) from error
    if min(height, width) < 0 or max(height, width, height * width) > MAX_PIXELS:
        message = f"imageHeight and imageWidth are {height} and {width}. Correct them."
        raise FieldError("labels.size", str(path), message)
    found = []
    for position, entry in enumerate(shapes):
        with nullcontext() if faults is None else noting(faults.append):
            found.append(parse_shape(entry, position, path))
    embedded = bytes(raw.get("imageData", b"null")).strip() not in (b"null", b'""')
    return LabelmeFile(path, found, flags or {}, image or "", (height, width), embedded, more)


def embedded_image(path: Path) -> bytes | None:
    """Bytes of the encoded image inside a file; None if there is none.

    Raises:
        DataError: If it is damaged.
    """
    try:
        data = msgspec.json.decode(_raw(path).get("imageData", b"null"), type=str | None)
        return base64.b64decode(data, validate=True) if data else None
    except (msgspec.DecodeError, ValueError) as error:
        raise DataError(f"{path}: imageData is not an image in base64 ({error}). Put the image beside it.") from error


def _raw(path: Path) -> dict[str, msgspec.Raw]:
    try:
        content: dict[str, msgspec.Raw] | list[EisegShape] = read_json(path, _CONTENT)
        if isinstance(content, dict):
            return content
        if content or path.parent.name.lower() == FOLDER:  # EISeg's, perhaps of an image without objects
            return as_labelme(content, path)
        raise DataError("an empty list")
    except (msgspec.ValidationError, DataError) as error:
        problem = str(error).removeprefix(f"{path}: ")
        message = f"this is not a labelme file ({problem}). Write it again, or remove it."
        raise FieldError("labels.unreadable", str(path), message) from error


def parse_shape(entry: dict[str, Any], position: int, path: Path) -> Shape:
    """Shape from its keys in a file.

    Args:
        entry: Its keys.
        position: Its index in the file.
        path: The file, for messages.

    Raises:
        FieldError: If a key is missing or malformed.
    """
    where = f"shapes[{position}]"
    try:
        known = msgspec.convert(entry, _Known, strict=False)
    except msgspec.ValidationError as error:
        message = f"{describe_error(str(error), where)}. Correct or remove the shape."
        raise FieldError("json.field", str(path), message) from error
    kind = known.shape_type or "polygon"  # version 3 had no other kind
    if kind not in _KINDS:
        message = f"{where}.shape_type is '{printable(kind, limit=80)}', which is not known. Draw a polygon instead."
        raise FieldError("json.field", str(path), message)
    points = np.array(known.points, np.float64).reshape(-1, 2)
    if not (np.abs(points) <= _FARTHEST).all():
        message = f"{where}.points: a number is out of range. Correct or remove the shape."
        raise FieldError("labels.number", str(path), message)
    least = _LEAST_POINTS.get(kind, 1)
    if len(known.points) < least:
        message = f"{where}.points: a {kind} has {least} or more, not {len(known.points)}. Correct or remove it."
        raise FieldError("labels.outline", str(path), message)
    if kind == "mask" and not known.mask:
        message = f"{where}.mask is missing. Add it, or remove the shape."
        raise FieldError("labels.outline", str(path), message)
    return Shape(
        label=known.label,
        kind=kind,
        points_xy=points,
        group=known.group_id,
        description=known.description or "",
        flags=known.flags or {},
        mask=known.mask,
        kept=known.saccade or Kept(),
        more={key: value for key, value in entry.items() if key not in _Known.__struct_fields__},
        position=position,
        raw=entry,
    )


def outline(shape: Shape, size: tuple[int, int], path: Path) -> Outline:
    """Box, area, and ring or mask of a shape that has an area.

    Args:
        shape: Of any kind but ``LINE_KINDS``.
        size: (height, width) of the image, for masks.
        path: Its file, for messages.

    Raises:
        DataError: If its mask is damaged.

    Example:
        >>> entry = {"label": "cat", "shape_type": "rectangle", "points": [[30, 35], [10, 5]]}
        >>> found = outline(parse_shape(entry, 0, Path("a.json")), (40, 60), Path("a.json"))
        >>> found.box_xyxy, found.area
        ((10.0, 5.0, 30.0, 35.0), 600.0)
    """
    if shape.kind == "mask":
        return _mask_outline(shape, size, path)
    if shape.kind == "circle":
        return _circle_outline(shape)
    x, y = shape.points_xy.T
    box = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    if shape.kind == "rectangle":
        return Outline(box, (box[2] - box[0]) * (box[3] - box[1]))
    return Outline(box, ring_area(shape.points_xy), ring=shape.points_xy.reshape(-1).tolist())


def _circle_outline(shape: Shape) -> Outline:
    (x, y), edge = shape.points_xy[0].tolist(), shape.points_xy[1].tolist()
    radius = math.dist((x, y), edge)
    # Half the angle of a side whose middle lies _CIRCLE_ERROR inside of the circle.
    half = math.acos(max(1 - _CIRCLE_ERROR / radius, 0.0)) if radius else math.pi
    # A multiple of four: the outermost points of the circle are corners, so the box is the same.
    count = 4 * max(4, math.ceil(math.pi / (4 * half)))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    return Outline((x - radius, y - radius, x + radius, y + radius), math.pi * radius**2, ring.reshape(-1).tolist())


def _mask_outline(shape: Shape, size: tuple[int, int], path: Path) -> Outline:
    where = f"shapes[{shape.position}].mask"
    try:
        encoded = base64.b64decode(shape.mask or "", validate=True)
        pixels = read_image(encoded, channels=1)[:, :, 0] > 0
    except (ValueError, DataError) as error:
        message = f"{where} is not an image in base64 ({error}). Draw it again, or remove the shape."
        raise FieldError("labels.outline", str(path), message) from error
    height, width = size
    left, top = (math.floor(value) for value in shape.points_xy.min(axis=0).tolist())
    right, bottom = min(left + pixels.shape[1], width), min(top + pixels.shape[0], height)
    if right <= max(left, 0) or bottom <= max(top, 0):
        message = f"{where} is outside of the {width}x{height} image. Draw it again, or remove the shape."
        raise FieldError("labels.outline", str(path), message)
    whole = np.zeros((height, width), np.bool_)
    inside = pixels[max(-top, 0) : bottom - top, max(-left, 0) : right - left]
    whole[max(top, 0) : bottom, max(left, 0) : right] = inside
    if not whole.any():
        raise FieldError("labels.outline", str(path), f"{where} is empty. Draw it again, or remove the shape.")
    return Outline(box_of_mask(whole), float(whole.sum()), runs=runs_of_mask(whole))
