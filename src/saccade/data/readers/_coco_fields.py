"""Fields of COCO files: records of those that are as COCO writes them, and a patient reading of all others.

Tools write null for what is not known, whole numbers as ``3.0`` or ``"3"``, polygons as one flat list or as pairs, and
leave ``bbox`` out where there is a polygon. What can be understood is; what cannot is a
:class:`~saccade.data.readers._faults.FieldError` that says what to write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from saccade.data.images.decode import MAX_PIXELS
from saccade.data.readers._faults import FieldError
from saccade.data.readers._json_files import describe_error
from saccade.data.tables.run_lengths import EncodedMask, mask_of_runs
from saccade.ops.mask_boxes import box_of_mask
from saccade.structures.text import printable

__all__ = ["Annotation", "Content", "box_of_outline", "image_size_of", "number_of_id", "read_patiently", "text_of"]


class Annotation(msgspec.Struct, gc=False):
    """One object as COCO writes it."""

    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: bool | int = 0
    segmentation: list[list[float]] | EncodedMask | None = None
    keypoints: list[float] = []
    attributes: dict[str, Any] | None = None


class Content(msgspec.Struct, gc=False):
    """A whole file, the annotations not yet decoded."""

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    annotations: list[msgspec.Raw] | None


def number_of_id(value: Any, where: str, field: str) -> int | str:
    """An id as a number, where it is one in any form; else its text.

    Raises:
        FieldError: If it is neither a number nor a text.

    Example:
        >>> number_of_id(3.0, "a.json", "id"), number_of_id("3", "a.json", "id"), number_of_id("im3", "a.json", "id")
        (3, 3, 'im3')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value[:18])) == value:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise _error(where, field, value, "a whole number or a text that no other entry has")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


def text_of(entry: Mapping[str, Any], key: str, where: str, remedy: str) -> str:
    """Text of a field, numbers too.

    Raises:
        FieldError: If it is missing, empty or something else.

    Example:
        >>> text_of({"name": 3}, "name", "a.json: categories[0]", "the name of the class")
        '3'
    """
    value = entry.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise _error(where, key, value, remedy)
    return value


def image_size_of(image: Mapping[str, Any], where: str) -> tuple[int, int]:
    """(height, width) of an entry of ``images``; 0 where they are not known.

    Raises:
        FieldError: If one of them is no whole number, or the image would be too large.

    Example:
        >>> image_size_of({"height": 48.0, "width": "64"}, "a.json: images[0]"), image_size_of({"height": None}, "")
        ((48, 64), (0, 0))
    """
    sides = []
    for key in ("height", "width"):
        value = _number(image.get(key), where, key, "the number of pixels, or null")
        side = 0.0 if math.isnan(value) else value
        if not side.is_integer() or not 0 <= side <= MAX_PIXELS:
            raise _error(where, key, image.get(key), "the number of pixels, or null")
        sides.append(int(side))
    height, width = sides
    if height * width > MAX_PIXELS:
        raise FieldError("labels.size", where, f"the image is {width}x{height} pixels. Correct its height and width.")
    return height, width


def read_patiently(raw: msgspec.Raw, where: str) -> Annotation:
    """An annotation of which some field is not as COCO writes it.

    Args:
        raw: Its JSON.
        where: File and position, for messages.

    Raises:
        FieldError: If a field cannot be understood.

    Example:
        >>> raw = msgspec.Raw(b'{"image_id": "1", "category_id": 2.0, "segmentation": [1, 2, 5, 2, 5, 6]}')
        >>> read_patiently(raw, "a.json: annotations[0]").bbox
        (1.0, 2.0, 4.0, 4.0)
    """
    try:
        entry = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        message = f"{describe_error(str(error))}. Correct it, or remove the annotation."
        raise FieldError("labels.number", where, message) from error
    if not isinstance(entry, dict):
        raise FieldError("json.field", where, "it is not an object. Write {...}, or remove it.")
    outline = _outline(entry.get("segmentation"), where)
    area = _number(entry.get("area"), where, "area", "the number of pixels, or null")
    attributes = entry.get("attributes")
    return Annotation(
        image_id=number_of_id(entry.get("image_id"), where, "image_id"),
        category_id=number_of_id(entry.get("category_id"), where, "category_id"),
        bbox=_box(entry.get("bbox"), outline, where),
        area=None if math.isnan(area) else area,
        iscrowd=_flag(entry.get("iscrowd"), where),
        segmentation=outline,
        keypoints=_numbers(
            entry.get("keypoints") or [], where, "keypoints", "x, y, visibility of every point, or null"
        ),
        attributes=attributes if isinstance(attributes, dict | None) else {"attributes": attributes},
    )


def _number(value: Any, where: str, field: str, remedy: str) -> float:
    """A number in any form; NaN for null and an empty text."""
    if value is None or value == "":
        return math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise _error(where, field, value, remedy, "labels.number")


def _numbers(values: Any, where: str, field: str, remedy: str) -> list[float]:
    """Numbers of a list, or of a list of lists."""
    if not isinstance(values, list):
        raise _error(where, field, values, remedy)
    if values and all(isinstance(value, list) for value in values):
        values = [value for part in values for value in part]
    return [_number(value, where, field, remedy) for value in values]


def _outline(value: Any, where: str) -> list[list[float]] | EncodedMask | None:
    field, remedy = "segmentation", "a list of polygons [x, y, x, y, ...], the run lengths of a mask, or null"
    if isinstance(value, dict):
        try:
            return msgspec.convert(value, EncodedMask, strict=False)
        except msgspec.ValidationError as error:
            problem = str(error).replace("`", "")
            raise FieldError("labels.outline", f"{where}.{field}", f"{problem}. Write {remedy}.") from error
    if not value:
        return None
    if not isinstance(value, list):
        raise _error(where, field, value, remedy)
    rings = value if all(isinstance(ring, list) for ring in value) else [value]
    if all(ring and len(ring) == 2 and not any(isinstance(part, list) for part in ring) for ring in rings):
        rings = [rings]  # one polygon, as pairs
    return [_numbers(ring, where, field, remedy) for ring in rings if ring]


def _box(value: Any, outline: list[list[float]] | EncodedMask | None, where: str) -> tuple[float, float, float, float]:
    remedy = "[x, y, width, height] in pixels"
    numbers = [] if value is None else _numbers(value, where, "bbox", remedy)
    if len(numbers) == 4:
        return numbers[0], numbers[1], numbers[2], numbers[3]
    if numbers:
        raise _error(where, "bbox", value, remedy)
    return box_of_outline(outline, where)


def box_of_outline(outline: list[list[float]] | EncodedMask | None, where: str) -> tuple[float, float, float, float]:
    """``bbox`` of an annotation that has none: x, y, width and height of its outline.

    Args:
        outline: Polygons, or the run lengths of a mask.
        where: File and position, for messages.

    Raises:
        FieldError: If there is no outline either.

    Example:
        >>> box_of_outline([[1, 2, 5, 2, 5, 6]], "a.json: annotations[0]")
        (1, 2, 4, 4)
    """
    if isinstance(outline, EncodedMask):
        try:
            height, width = outline.size
            if not (0 < height <= MAX_PIXELS and 0 < width <= MAX_PIXELS // height):
                raise ValueError(f"the mask is {width}x{height} pixels")
            mask = mask_of_runs(outline.run_lengths().tolist(), height, width)
        except (ValueError, OverflowError) as error:
            raise FieldError("labels.outline", f"{where}.segmentation", f"{error}. Correct or remove it.") from error
        x1, y1, x2, y2 = box_of_mask(mask)
        return x1, y1, x2 - x1, y2 - y1
    points = np.array([value for ring in outline or () for value in ring[: len(ring) // 2 * 2]]).reshape(-1, 2)
    if not len(points):
        message = (
            "it is missing, and there is no segmentation of which it could be made. Write [x, y, width, height] in "
            "pixels."
        )
        raise FieldError("labels.box", f"{where}.bbox", message)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2 - x1, y2 - y1


def _flag(value: Any, where: str) -> bool:
    if isinstance(value, str):
        value = {"true": 1, "false": 0}.get(value.lower(), value)
    number = _number(value, where, "iscrowd", "0 or 1") if not isinstance(value, bool) else float(value)
    return not math.isnan(number) and number != 0


def _error(where: str, field: str, value: Any, remedy: str, code: str = "json.field") -> FieldError:
    try:
        shown = "missing" if value is None else f"{printable(json.dumps(value), limit=80)}"
    except (RecursionError, ValueError):
        shown = f"a {type(value).__name__}"
    return FieldError(code, f"{where}.{field}", f"it is {shown}. Write {remedy}.")
