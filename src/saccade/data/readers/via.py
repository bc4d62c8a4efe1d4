"""VIA: one JSON file of VGG Image Annotator, versions 1 and 2, with the regions of all images.

*Layout.* ``via_project.json`` and exported annotations; a data set has one such file, or one in each folder of a split
(``train/via_region_data.json``), beside its images or with the images elsewhere.

*Classes.* A region has attributes of the annotator's own names. The one that names the class is the only one, or one
called ``class``, ``label``, ``name``, ``type``, ``category`` or ``object``; of others the option ``class_attribute``
chooses. Where no region has any attribute, the only class is ``object``. A checkbox with one mark is that mark.
Classes are in the order of their names.

*Shapes.* Rectangles are boxes; polygons, circles and ellipses are outlines with the box around them, a rotated ellipse
included. Polylines have no area, and points none either: they are attributes of their image (``shapes``), and are
counted in one logged line. Coordinates are continuous pixels.

*Attributes* of a region other than its class are attributes of its object, those of a file of its image.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.data.readers._collector import AnnotationCollector
from saccade.data.readers._common import (
    UNSPLIT,
    check_class_count,
    check_task,
    choose,
    is_split_name,
    list_files,
    resolve_split,
    split_of_file,
    subfolders,
)
from saccade.data.readers._faults import FieldError, noting
from saccade.data.readers._find_images import ImageFinder, fill_sizes, find_image_root, usual_folders
from saccade.data.readers._json_files import read_json
from saccade.data.tables.outlines import ObjectOutline, ring_area
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.text import printable

__all__ = ["matches", "read", "splits"]

logger = logging.getLogger("saccade")

_TASKS = ("detection", "segmentation")
_CLASS_KEYS = ("class", "label", "name", "type", "category", "object", "class_name", "classname", "species")
_NO_AREA = ("polyline", "line", "point")
_ONLY_CLASS = "object"
_SAMPLED_FILES = 20  # JSON files of a folder that are looked into
_CIRCLE_POINTS = 64


def matches(root: Path) -> bool:
    """Whether there is a JSON file of VIA in the folder, or in each folder of a split."""
    return bool(_files(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the folders or files that are splits, or ``all``.

    Example:
        >>> for name in ("train", "val"):
        ...     Path(name).mkdir()
        ...     _ = Path(name, "via_region_data.json").write_text('{"a.jpg1": {"filename": "a.jpg", "regions": []}}')
        >>> splits(Path())
        ('train', 'val')
    """
    return tuple(_files(root)) or UNSPLIT


def read(
    root: Path,
    split: str,
    task: str | None = None,
    masks: bool = False,
    images: str | None = None,
    class_names: Sequence[str] | None = None,
    class_attribute: str | None = None,
) -> TableDataset:
    """Read one split of a VIA data set.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``detection``, or ``segmentation``: outlines painted as a label map, class 0 being ``background``.
        masks: Give each object's mask as well.
        images: Folder of the images, relative to ``root``.
        class_names: Names of labels 0..N-1, without background; those in use, sorted, if not given.
        class_attribute: Attribute of a region that names its class.

    Raises:
        DataError: If there is no file, it is malformed, or no attribute is known to name the class.

    Example:
        >>> region = {
        ...     "shape_attributes": {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 30},
        ...     "region_attributes": {"label": "cat"},
        ... }
        >>> content = {"a.jpg99": {"filename": "a.jpg", "size": 99, "regions": [region], "file_attributes": {}}}
        >>> _ = Path("via.json").write_bytes(msgspec.json.encode(content))
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('cat',), array([[10.,  5., 30., 35.]]))
    """
    task = check_task(task, _TASKS, "via")
    files = _files(root)
    if not files:
        raise DataError(
            f"{root}: there is no JSON file of VIA, with 'filename' and 'regions' of each image, in it or in its "
            "folders. Export the annotations as JSON there."
        )
    own = resolve_split(split, files, root)
    source = files[own]
    contents = {name: _entries(file) for name, file in files.items()}
    # Labels must not depend on the split, so all files are scanned.
    every = [region for content in contents.values() for entry in content for region in _regions(entry)]
    attribute = class_attribute or _class_attribute(every, source)
    if class_names is None:
        found = {_class_of(region, attribute) for region in every if _kind(region) not in _NO_AREA}
        class_names = sorted(found - {""})
    check_class_count(len(class_names), source, "region_attributes")
    image_root = find_image_root(root, images)
    reader = _Reader(source, attribute, fill=masks or task == "segmentation")
    for position, entry in enumerate(contents[own]):
        with noting(reader.collector.add_fault):
            reader.add(entry, position)
    reader.log_left_out()
    beside = source.parent.relative_to(root).as_posix().removeprefix(".")
    folders = [""] if images else [f"{beside}/" if beside else "", *usual_folders(own)]
    finder = ImageFinder(image_root, source, list(dict.fromkeys(folders)), own)
    reader.collector.locate_images(finder, source)
    table = reader.collector.build(class_names)
    if not len(table):
        listed = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{source}: there is no image in it that can be read.{listed}")
    fill_sizes(table, image_root)  # VIA does not write them
    if list(files) == ["all"]:
        table = table.select_images(choose(len(table), split, None, root))
    names = ("background", *class_names) if task == "segmentation" else tuple(class_names)
    name = source.relative_to(root).as_posix().replace("{", "{{").replace("}", "}}")
    info = DatasetInfo(root.name, task, names, split)
    return TableDataset(info, root, table, name, image_root=image_root, masks=masks)


def _files(root: Path) -> dict[str, Path]:
    """File of each split."""
    here = [file for file in _json_files(root) if _is_via(file)]
    if len(here) == 1:
        name = split_of_file(here[0].stem)
        return {name if is_split_name(name) else "all": here[0]}
    if here:
        return {file.stem: file for file in here}
    found: dict[str, Path] = {}
    for folder in subfolders(root):
        inside = [file for file in _json_files(root / folder) if _is_via(file)]
        found |= {folder: inside[0]} if len(inside) == 1 else {f"{folder}/{file.stem}": file for file in inside}
    only = next(iter(found)) if len(found) == 1 else ""
    return {"all": found[only]} if only and not is_split_name(only) else found


def _json_files(folder: Path) -> list[Path]:
    return [folder / name for name in list_files(folder, [".json"], recursive=False)[:_SAMPLED_FILES]]


def _is_via(file: Path) -> bool:
    try:
        raw = read_json(file, dict[str, msgspec.Raw])
        if "_via_img_metadata" in raw:
            return True
        first = next(iter(raw.values()), None)
        entry = msgspec.json.decode(first) if first is not None else None
    except (DataError, msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return isinstance(entry, dict) and "filename" in entry and "regions" in entry


def _entries(file: Path) -> list[Any]:
    """Entries of the images of a file."""
    try:
        content = read_json(file, dict[str, Any])
    except msgspec.ValidationError as error:
        raise DataError(f"{file}: this is not a JSON file of VIA ({error}). Export the annotations again.") from error
    entries = content.get("_via_img_metadata", content)
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{file}: there are no images in it. Export the annotations again.")
    return list(entries.values())


def _regions(entry: Any) -> list[Any]:
    """Regions of an image: a list in version 2, in version 1 values by number."""
    regions = entry.get("regions") if isinstance(entry, dict) else None
    if isinstance(regions, dict):
        return list(regions.values())
    return regions if isinstance(regions, list) else []


def _attributes(region: Any) -> dict[str, Any]:
    found = region.get("region_attributes") if isinstance(region, dict) else None
    return found if isinstance(found, dict) else {}


def _kind(region: Any) -> str:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    return str(shape.get("name")) if isinstance(shape, dict) else ""


def _class_attribute(regions: Sequence[Any], source: Path) -> str:
    """The attribute that names the classes; empty if no region has any."""
    counts = Counter(name for region in regions for name, value in _attributes(region).items() if value not in ("", {}))
    if len(counts) <= 1:
        return next(iter(counts), "")
    known = [name for name in counts if name.strip().lower() in _CLASS_KEYS]
    if len(known) == 1:
        return known[0]
    names = ", ".join(printable(name, limit=60) for name, _ in counts.most_common(10))
    raise DataError(
        f"{source}: regions have several attributes, and which one names the class is not known: {names}. "
        "Give it by the option class_attribute."
    )


def _class_of(region: Any, attribute: str) -> str:
    """Class of a region; empty if it has none."""
    if not attribute:
        return _ONLY_CLASS
    value = _attributes(region).get(attribute)
    if isinstance(value, dict):  # a checkbox
        marked = [name for name, mark in value.items() if mark is True]
        return marked[0] if len(marked) == 1 else ""
    return str(value).strip() if isinstance(value, str | int | float) else ""


class _Reader:
    """Images and objects of one file.

    Args:
        source: The file.
        attribute: Attribute of a region that names its class.
        fill: Whether a rectangle is an outline too, as masks need one of every object.
    """

    def __init__(self, source: Path, attribute: str, fill: bool) -> None:
        self.collector = AnnotationCollector(outlines=True, source=source)
        self._source, self._attribute, self._fill = source, attribute, fill
        self._left_out: Counter[str] = Counter()

    def add(self, entry: Any, position: int) -> None:
        """Add an image and its objects.

        Raises:
            FieldError: If it has no name.
        """
        where = f"{self._source}: image {position}"
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise FieldError("labels.image", where, "filename is missing. Write the name of the image's file.")
        if self.collector.find_image(name) is not None:
            raise FieldError(
                "labels.repeated", where, f"{printable(name, limit=80)} is there twice. Remove one of them."
            )
        regions = _regions(entry)
        lines = [region["shape_attributes"] for region in regions if _kind(region) in _NO_AREA]
        about = entry.get("file_attributes")
        attributes = dict(about) if isinstance(about, dict) else {}
        image = self.collector.add_image(name, attributes=attributes | ({"shapes": lines} if lines else {}))
        for number, region in enumerate(regions):
            if _kind(region) in _NO_AREA:
                self._left_out[_kind(region)] += 1
                continue
            with noting(self.collector.add_fault):
                self._add_region(image, region, f"{where} ({printable(name, limit=80)}): regions[{number}]")

    def log_left_out(self) -> None:
        """Log in one line what has no area."""
        if self._left_out:
            counts = ", ".join(f"{count} {name}" for name, count in sorted(self._left_out.items()))
            logger.warning("%s: shapes without area are no objects but attributes: %s", self._source, counts)

    def _add_region(self, image: int, region: Any, where: str) -> None:
        label = _class_of(region, self._attribute)
        if not label:
            message = f"its attribute '{printable(self._attribute, limit=60)}' names no class. Fill it, or remove it."
            raise FieldError("labels.class", where, message)
        shape = region.get("shape_attributes") if isinstance(region, dict) else None
        if not isinstance(shape, dict):
            raise FieldError("json.field", where, "shape_attributes is missing. Draw the region again, or remove it.")
        ring = _ring(shape, where)
        kind = shape["name"]
        with np.errstate(over="ignore", invalid="ignore"):  # faulty coordinates are for the checker
            (x1, y1), (x2, y2) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
            area = (x2 - x1) * (y2 - y1) if kind == "rect" else ring_area(ring)
        outlined = kind != "rect" or self._fill
        others = {name: value for name, value in _attributes(region).items() if name != self._attribute}
        self.collector.add_object(
            image,
            label,
            (x1, y1, x2, y2),
            area=area,
            outline=ObjectOutline(rings=[ring.reshape(-1).tolist()]) if outlined else None,
            attributes=others,
        )


def _ring(shape: Mapping[str, Any], where: str) -> NDArray[np.float64]:
    """Points (P, 2) around a shape; of a circle or ellipse those of a polygon of equal extent."""
    kind = shape.get("name")
    if kind == "polygon":
        xs, ys = (list(_numbers(shape, f"all_points_{axis}", where)) for axis in "xy")
        if len(xs) != len(ys) or len(xs) < 3:
            message = (
                f"it has {len(xs)} x and {len(ys)} y, a polygon three or more of each. Draw it again, or remove it."
            )
            raise FieldError("labels.outline", where, message)
        return np.array([xs, ys], np.float64).T
    if kind == "rect":
        x, y, width, height = (_number(shape, key, where) for key in ("x", "y", "width", "height"))
        return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    if kind in ("circle", "ellipse"):
        x, y = _number(shape, "cx", where), _number(shape, "cy", where)
        keys = ("r", "r") if kind == "circle" else ("rx", "ry")
        across, down = (_number(shape, key, where) for key in keys)
        angles = np.linspace(0, 2 * math.pi, _CIRCLE_POINTS, endpoint=False)
        turn = _number(shape, "theta", where) if shape.get("theta") is not None else 0.0
        u, v = across * np.cos(angles), down * np.sin(angles)
        return np.stack(
            [x + u * math.cos(turn) - v * math.sin(turn), y + u * math.sin(turn) + v * math.cos(turn)], axis=1
        )
    shown = "missing" if kind is None else f"'{printable(str(kind), limit=60)}', which is not known"
    raise FieldError("json.field", where, f"shape_attributes.name is {shown}. Draw a polygon instead.")


def _numbers(shape: Mapping[str, Any], key: str, where: str) -> Iterator[float]:
    values = shape.get(key)
    for value in values if isinstance(values, list) else ():
        yield _number({key: value}, key, where)


def _number(shape: Mapping[str, Any], key: str, where: str) -> float:
    value = shape.get(key)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError):
        shown = "missing" if value is None else f"'{printable(str(value), limit=60)}', not a number"
        raise FieldError("labels.number", where, f"{key} is {shown}. Draw the region again, or remove it.") from None
