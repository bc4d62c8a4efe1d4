"""CVAT XML, "CVAT for images 1.1": ``annotations.xml``, or one XML file a split.

*Shapes.* Boxes, polygons and masks become objects; a polygon's or a mask's box is its extent. A turned box becomes the
upright box around it, its outline the turned rectangle, its ``rotation`` an attribute. Polylines, points, ellipses,
cuboids and skeletons cover no area that boxes and masks could tell; they are no objects, which is counted in one logged
line, but attributes of their image (``shapes``).
Coordinates are continuous already. A mask is runs along the rows of a rectangle.

*Attributes.* ``occluded``, ``z_order``, ``group_id``, ``source`` and the annotators' own are kept for each object.
Tags are the classes of whole images: the ground truth of task ``classification``, an attribute ``tags`` of the image
elsewhere.

*Classes* are those of ``meta`` in its order, or the labels that are used, sorted. *Splits* are the ``subset`` of the
images, or the names of the files if there are several.
"""

from __future__ import annotations

import logging
import mmap
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import unescape

import numpy as np
from numpy.typing import NDArray

from saccade.data.readers._collector import AnnotationCollector
from saccade.data.readers._common import UNSPLIT, check_name, check_task, choose, resolve_split
from saccade.data.readers._images import find_image_root, folder_of
from saccade.data.readers._xml_files import begins_with, image_size, number, parse_elements, plain_value
from saccade.data.tables.outlines import runs_of_mask
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["matches", "read", "splits"]

logger = logging.getLogger("saccade")

_TASKS = ("detection", "segmentation", "classification")
_SHAPES = ("box", "polygon", "mask")
_LEFT_OUT = ("polyline", "points", "ellipse", "cuboid", "skeleton")
_PLACES = frozenset({"label", "xtl", "ytl", "xbr", "ybr", "points", "rle", "left", "top", "width", "height"})
_OWN_IMAGE_FIELDS = frozenset({"id", "name", "width", "height", "subset"})


def matches(root: Path) -> bool:
    """Whether an XML file of CVAT lies in the folder."""
    return bool(_files(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the parts."""
    files = _files(root)
    names = tuple(files) if len(files) > 1 else _subsets(next(iter(files.values()))) if files else ()
    return names or UNSPLIT


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    masks: bool = False,
    images: str | None = None,
) -> TableDataset:
    """Read one split.

    Args:
        root: Data folder.
        split: Name of the part.
        task: ``detection``; ``segmentation``: outlines painted as a label map, class 0 being ``background``; or
            ``classification``: each image's one tag. If not given, detection unless there is nothing but tags.
        class_names: Names of labels 0..N-1, without background.
        masks: Give each object's mask as well; of a box without a polygon or mask it is empty.
        images: Folder of the images, if they lie neither in the data folder, ``images/`` nor a folder named after
            the split; relative to ``root``.

    Raises:
        DataError: If the file or one of its fields is missing or malformed, or names an image outside ``root``.
    """
    files = _files(root)
    if not files:
        raise DataError(f"{root}: there is no XML file of CVAT. Export the task as 'CVAT for images 1.1'.")
    image_root = find_image_root(root, images)
    subset = None
    if len(files) > 1:
        source = files[resolve_split(split, files, root)]
    else:
        source = next(iter(files.values()))
        subsets = _subsets(source)
        subset = resolve_split(split, subsets, root) if subsets else None
    content = _Content(source, image_root, split, subset, task)
    task = check_task(task or content.natural_task, _TASKS, "cvat")
    if class_names is None:
        # Labels must not depend on the split, so all files have their say.
        used = (name for file in files.values() for name in _values(file, "|".join((*_SHAPES, "tag")), "label"))
        class_names = content.meta_names or tuple(sorted(set(used)))
    table = content.gathered.build(class_names, boxes=task != "classification")
    if not len(table):
        raise DataError(f"{source}: there is no image in it. Name another file or split.")
    if len(files) == 1 and subset is None:
        table = table.select_images(choose(len(table), split, None, root))
    names = ("background", *class_names) if task == "segmentation" else tuple(class_names)
    if task == "segmentation" or masks:
        lacking = np.flatnonzero(~table.sizes.all(axis=1))
        if len(lacking):
            raise DataError(f"{source}: {table.path(int(lacking[0]))} has no width and height. Add them.")
    content.say()
    info = DatasetInfo(root.name, task, names, split)
    name = source.relative_to(root).as_posix().replace("{", "{{").replace("}", "}}")
    return TableDataset(info, root, table, name, image_root=image_root, masks=masks)


def _files(root: Path) -> dict[str, Path]:
    """XML files of CVAT by their names."""
    return {file.stem: file for file in sorted(root.glob("*.xml")) if begins_with(file, "annotations")}


def _subsets(file: Path) -> tuple[str, ...]:
    """Subsets that the images of a file belong to."""
    return tuple(name for name in _values(file, "image", "subset") if name)


def _values(file: Path, elements: str, attribute: str) -> list[str]:
    """Values that an attribute has in a file, each once, without parsing it."""
    pattern = rf"""<(?:{elements})\s[^>]*?\b{attribute}\s*=\s*["']([^"']*)["']""".encode()
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = dict.fromkeys(match[1] for match in re.finditer(pattern, content))
    return [unescape(value.decode(errors="replace"), {"&quot;": '"', "&apos;": "'"}) for value in found]


class _Content:
    """What a file holds of one subset, for one task.

    Args:
        source: File.
        image_root: Folder that images' names start from.
        split: Name of the part.
        subset: Images to take; all if not given.
        task: Which objects to gather; None decides by what there is.
    """

    def __init__(self, source: Path, image_root: Path, split: str, subset: str | None, task: str | None) -> None:
        self.gathered = AnnotationCollector(outlines=task != "classification")
        self.meta_names: tuple[str, ...] = ()
        self.natural_task = "detection"
        self._source = source
        self._left_out: Counter[str] = Counter()
        self._turned = 0
        tagged: list[tuple[int, list[str], str]] = []
        folder: str | None = None
        ids: set[int] = set()
        place = -1
        for element in parse_elements(source, ("meta", "image", "track"), "annotations"):
            if element.tag == "meta":
                self.meta_names = _meta_names(element)
                continue
            if element.tag == "track":
                raise DataError(f"{source}: this is a video's file. Export the task as 'CVAT for images 1.1'.")
            place += 1
            where = f"image[{place}]"
            name = check_name(element.get("name") or "", source, f"{where}.name")
            if subset is not None and element.get("subset") != subset:
                continue
            folder = folder_of(image_root, name, split, [f"images/{subset}/"]) if folder is None else folder
            tags = [self._label(tag, f"{where} ({name}).tag") for tag in element.findall("tag")]
            about: dict[str, Any] = {
                key: plain_value(value) for key, value in element.attrib.items() if key not in _OWN_IMAGE_FIELDS
            }
            others = [_as_table(shape) for shape in element if shape.tag in _LEFT_OUT]
            if others:
                about["shapes"] = others
            if tags and task != "classification":
                about["tags"] = tags
            size = (0, 0)
            if element.get("width") is not None or element.get("height") is not None:
                size = image_size(element.get("height"), element.get("width"), source, where)
            number_of = _image_id(element, len(self.gathered), ids)
            image = self.gathered.add_image(folder + name, size, number_of, attributes=about)
            tagged.append((image, tags, f"{where} ({name})"))
            if task != "classification":
                self._add_shapes(element, image, size, f"{where} ({name})")
        shapes = self.gathered.num_objects or self._left_out.total()
        if task is None and not shapes and any(tags for _, tags, _ in tagged):
            self.natural_task = task = "classification"
        if task == "classification":
            for image, tags, where in tagged:
                if len(tags) != 1:
                    raise DataError(f"{source}: {where} has {len(tags)} tags, one is its class. Correct it.")
                self.gathered.add_object(image, tags[0], (0, 0, 0, 0))

    def say(self) -> None:
        """One line in the log of what was left out or changed."""
        if self._left_out:
            counts = ", ".join(f"{count} {name}" for name, count in sorted(self._left_out.items()))
            logger.warning("%s: shapes that are no boxes, polygons or masks are no objects: %s", self._source, counts)
        if self._turned:
            logger.warning("%s: %d turned boxes became the upright boxes around them", self._source, self._turned)

    def _label(self, element: Element, where: str) -> str:
        label = element.get("label")
        if not label:
            raise DataError(f"{self._source}: {where}.label is missing. Add it, or remove the object.")
        return label

    def _add_shapes(self, element: Element, image: int, size: tuple[int, int], where: str) -> None:
        counts: Counter[str] = Counter()
        for shape in element:
            if shape.tag in _LEFT_OUT:
                self._left_out[shape.tag] += 1
            if shape.tag not in _SHAPES:
                continue
            field = f"{where}.{shape.tag}[{counts[shape.tag]}]"
            counts[shape.tag] += 1
            label = self._label(shape, field)
            about = {key: plain_value(value) for key, value in shape.attrib.items() if key not in _PLACES}
            if "rotation" in about:
                about["rotation"] = self._number(shape, "rotation", field)
            for own in shape.findall("attribute"):
                about[own.get("name", "attribute")] = plain_value((own.text or "").strip())
            with np.errstate(over="ignore", invalid="ignore"):  # faulty coordinates are not judged here
                geometry = self._geometry(shape, size, field)
            self.gathered.add_object(image, label, attributes=about, **geometry)

    def _geometry(self, shape: Element, size: tuple[int, int], field: str) -> dict[str, Any]:
        """Box and outline of a shape."""
        if shape.tag == "box":
            return self._box(shape, field)
        if shape.tag == "mask":
            return self._mask(shape, size, field)
        points = self._points(shape.get("points") or "", field)
        x, y = points.T
        area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
        return {"box_xyxy": _extent(points), "area": area, "rings": [points.reshape(-1).tolist()]}

    def _box(self, shape: Element, field: str) -> dict[str, Any]:
        x1, y1, x2, y2 = (self._number(shape, key, field) for key in ("xtl", "ytl", "xbr", "ybr"))
        degrees = self._number(shape, "rotation", field) if shape.get("rotation") else 0.0
        if not degrees:
            return {"box_xyxy": (x1, y1, x2, y2)}
        self._turned += 1
        angle = np.deg2rad(degrees)  # clockwise as seen, y pointing down
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        corners = (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) - centre) @ turn.T + centre
        area = max(x2 - x1, 0.0) * max(y2 - y1, 0.0)
        return {"box_xyxy": _extent(corners), "area": area, "rings": [corners.reshape(-1).tolist()]}

    def _mask(self, shape: Element, size: tuple[int, int], field: str) -> dict[str, Any]:
        height, width = image_size(shape.get("height"), shape.get("width"), self._source, field)
        left, top = (self._number(shape, key, field) for key in ("left", "top"))
        try:
            runs = np.array((shape.get("rle") or "").split(","), np.int64)
        except (ValueError, OverflowError) as error:
            raise self._fault(f"{field}.rle", f"holds what is no number ({error})") from error
        if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
            raise self._fault(f"{field}.rle", f"sums to {runs.sum()}, not to the {width}x{height} pixels of the mask")
        inside = left.is_integer() and top.is_integer() and left >= 0 and top >= 0
        if not (inside and top + height <= size[0] and left + width <= size[1]):
            raise self._fault(field, f"does not lie inside the {size[1]}x{size[0]} image")
        window = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8).reshape(height, width)
        rows, columns = np.nonzero(window)
        if not len(rows):
            raise self._fault(f"{field}.rle", "has no pixel")
        mask = np.zeros(size, np.uint8)
        first_row, first_column = int(top), int(left)
        mask[first_row : first_row + height, first_column : first_column + width] = window
        box = (left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1)
        box_xyxy = tuple(float(value) for value in box)
        return {"box_xyxy": box_xyxy, "area": float(len(rows)), "runs": runs_of_mask(mask), "run_size": size}

    def _points(self, text: str, field: str) -> NDArray[np.float64]:
        """``x,y;x,y;...`` as (P, 2)."""
        try:
            points = [[float(value) for value in pair.split(",")] for pair in text.split(";") if pair.strip()]
        except ValueError as error:
            raise self._fault(f"{field}.points", f"holds what is no number ({error})") from error
        if len(points) < 3 or any(len(point) != 2 for point in points):
            raise self._fault(f"{field}.points", "is no list of three or more pairs 'x,y;x,y;...'")
        return np.array(points, np.float64)

    def _number(self, shape: Element, key: str, field: str) -> float:
        return number(shape.get(key), self._source, f"{field}.{key}")

    def _fault(self, field: str, problem: str) -> DataError:
        return DataError(f"{self._source}: {field} {problem}. Correct it, or remove the object.")


def _meta_names(meta: Element) -> tuple[str, ...]:
    """Labels of the task, in order; parts of skeletons, which have a parent, are none."""
    labels = [label for labels in meta.iter("labels") for label in labels.findall("label")]
    names = ((label.findtext("name") or "").strip() for label in labels if not (label.findtext("parent") or "").strip())
    return tuple(dict.fromkeys(name for name in names if name))


def _image_id(element: Element, position: int, taken: set[int]) -> int:
    """Number of an image, or its position if it has none of its own."""
    text = element.get("id") or ""
    own = int(text) if re.fullmatch(r"\d{1,15}", text) and int(text) not in taken else position
    while own in taken:
        own += 1
    taken.add(own)
    return own


def _as_table(shape: Element) -> dict[str, Any]:
    """All that a shape says, by name."""
    table: dict[str, Any] = {"shape": shape.tag, **shape.attrib}
    attributes = {own.get("name", "attribute"): (own.text or "").strip() for own in shape.findall("attribute")}
    points = [dict(point.attrib) for point in shape.findall("points")]
    return table | ({"attributes": attributes} if attributes else {}) | ({"parts": points} if points else {})


def _extent(points: NDArray[np.float64]) -> tuple[float, ...]:
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
