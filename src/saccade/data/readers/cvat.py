"""CVAT XML, "CVAT for images 1.1": ``annotations.xml``, or one XML file a split.

*Shapes.* Boxes, polygons and masks become objects; a polygon's or a mask's box is its extent. A rotated box becomes the
upright box around it, its outline the rotated rectangle, its ``rotation`` an attribute. Polylines, points, ellipses,
cuboids and skeletons have no box or mask of their own; they are not objects but attributes of their image
(``shapes``), and are counted in one logged line. Coordinates are continuous already. A mask is a list of run lengths
along the rows of a rectangle.

*Attributes.* ``occluded``, ``z_order``, ``group_id``, ``source`` and the annotators' own are kept for each object.
Tags are the classes of whole images: the ground truth of task ``classification``, and for other tasks an attribute
``tags`` of the image.

*Classes* are those of ``meta`` in its order, or the labels in use, sorted. *Splits* are the ``subset`` of the
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
from saccade.data.readers._common import UNSPLIT, check_task, choose, list_files, resolve_split, split_of_file
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import ImageFinder, fill_sizes, find_image_root, usual_folders
from saccade.data.readers._xml_files import begins_with, image_size, number, parse_elements, plain_value
from saccade.data.tables.outlines import ObjectOutline, ring_area
from saccade.data.tables.run_lengths import runs_of_mask
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.ops.mask_boxes import box_of_mask
from saccade.structures.dataset import DatasetInfo
from saccade.structures.reading import require_regular
from saccade.structures.text import printable

__all__ = ["matches", "read", "splits"]

logger = logging.getLogger("saccade")

_TASKS = ("detection", "segmentation", "classification")
_SHAPES = ("box", "polygon", "mask")
_LEFT_OUT = ("polyline", "points", "ellipse", "cuboid", "skeleton")
_COORDINATES = frozenset({"label", "xtl", "ytl", "xbr", "ybr", "points", "rle", "left", "top", "width", "height"})
_OWN_IMAGE_FIELDS = frozenset({"id", "name", "width", "height", "subset"})


def matches(root: Path) -> bool:
    """Whether there is an XML file of CVAT in the folder."""
    return bool(_files(root))


def splits(root: Path) -> tuple[str, ...]:
    """Values of ``subset``, or names of the files; ``all`` without either.

    Example:
        >>> for name in ("train", "val"):
        ...     _ = Path(f"{name}.xml").write_text("<annotations></annotations>")
        >>> splits(Path())
        ('train', 'val')
    """
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
    """Read one split of a CVAT data set.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``detection``; ``segmentation``: outlines painted as a label map, class 0 being ``background``; or
            ``classification``: each image's one tag. If not given, detection unless there is nothing but tags.
        class_names: Names of labels 0..N-1, without background.
        masks: Give each object's mask as well; of a box without a polygon or mask it is empty.
        images: Folder of the images, if they are neither in the data folder, ``images/`` nor a folder named after
            the split; relative to ``root``.

    Raises:
        DataError: If the file or one of its fields is missing or malformed, or names an image outside ``root``.

    Example:
        >>> _ = Path("annotations.xml").write_text(
        ...     '<annotations><image id="0" name="a.jpg" width="60" height="40">'
        ...     '<box label="cat" xtl="10" ytl="5" xbr="30" ybr="35"/></image></annotations>'
        ... )
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('cat',), array([[10.,  5., 30., 35.]]))
    """
    files = _files(root)
    if not files:
        raise DataError(
            f"{root}: there is no XML file of CVAT, whose first element is 'annotations', in it or in annotations/. "
            "Export the task as 'CVAT for images 1.1'."
        )
    image_root = find_image_root(root, images)
    subset = None
    if len(files) > 1:
        source = files[resolve_split(split, files, root)]
    else:
        source = next(iter(files.values()))
        subsets = _subsets(source)
        subset = resolve_split(split, subsets, root) if subsets else None
    content = _FileContent(source, subset, task)
    name = subset or next((name for name, file in files.items() if file == source), "")
    folders = [""] if images else ["", f"images/{name}/", *usual_folders(name)]
    finder = ImageFinder(image_root, source, list(dict.fromkeys(folders)), name)
    content.collector.locate_images(finder, source)
    task = check_task(task or content.natural_task, _TASKS, "cvat")
    if class_names is None:
        # Labels must not depend on the split, so all files are scanned.
        used = (name for file in files.values() for name in _values(file, "|".join((*_SHAPES, "tag")), "label"))
        class_names = content.meta_names or tuple(sorted(set(used)))
    table = content.collector.build(class_names, boxes=task != "classification")
    if not len(table):
        faults = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{source}: there is no image in it that can be read. Name another file or split.{faults}")
    if len(files) == 1 and subset is None:
        table = table.select_images(choose(len(table), split, None, root))
    names = ("background", *class_names) if task == "segmentation" else tuple(class_names)
    if task == "segmentation" or masks:
        fill_sizes(table, image_root)
        lacking = np.flatnonzero(~table.sizes.all(axis=1))
        if len(lacking):
            raise DataError(f"{source}: {table.path(int(lacking[0]))} has no width and height. Add them.")
    content.log_changes()
    info = DatasetInfo(root.name, task, names, split)
    name = source.relative_to(root).as_posix().replace("{", "{{").replace("}", "}}")
    return TableDataset(info, root, table, name, image_root=image_root, masks=masks)


def _files(root: Path) -> dict[str, Path]:
    """XML files of CVAT by their names."""
    for folder in (root, root / "annotations", root / "Annotations"):
        files = [folder / name for name in list_files(folder, [".xml"], recursive=False)]
        tables = [file for file in files if begins_with(file, "annotations")]
        named = {split_of_file(file.stem): file for file in tables}
        if tables:
            clear = len(named) == len(tables) and (len(tables) == 1 or "all" not in named)
            return named if clear else {file.stem: file for file in tables}
    return {}


def _subsets(file: Path) -> tuple[str, ...]:
    """Subsets that the images of a file belong to."""
    return tuple(name for name in _values(file, "image", "subset") if name)


def _values(file: Path, elements: str, attribute: str) -> list[str]:
    """Values that an attribute has in a file, each once, without parsing it."""
    pattern = rf"""<(?:{elements})\s[^>]*?\b{attribute}\s*=\s*["']([^"']*)["']""".encode()
    require_regular(file)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = dict.fromkeys(match[1] for match in re.finditer(pattern, content))
    return [unescape(value.decode(errors="replace"), {"&quot;": '"', "&apos;": "'"}) for value in found]


class _FileContent:
    """Images and objects of one subset of a file, for one task.

    Args:
        source: File.
        subset: Subset of the images to read; all if not given.
        task: Which objects to collect; found automatically if not given.
    """

    def __init__(self, source: Path, subset: str | None, task: str | None) -> None:
        self.collector = AnnotationCollector(outlines=task != "classification", source=source)
        self.meta_names: tuple[str, ...] = ()
        self.natural_task = "detection"
        self._source = source
        self._left_out: Counter[str] = Counter()
        self._rotated = 0
        tagged: list[tuple[int, list[str], str]] = []
        ids: set[int] = set()
        position = -1
        for element in parse_elements(source, ("meta", "image", "track"), "annotations"):
            if element.tag == "meta":
                self.meta_names = _meta_names(element)
                continue
            if element.tag == "track":
                raise DataError(f"{source}: this is a video's file. Export the task as 'CVAT for images 1.1'.")
            position += 1
            where = f"image[{position}]"
            if subset is not None and element.get("subset") != subset:
                continue
            try:
                tagged.append(self._add_image(element, where, ids, task))
            except FieldError as error:
                self.collector.add_fault(error)
        shapes = self.collector.num_objects or self._left_out.total()
        if task is None and not shapes and any(tags for _, tags, _ in tagged):
            self.natural_task = task = "classification"
        for image, tags, where in tagged if task == "classification" else ():
            if len(tags) == 1:
                self.collector.add_object(image, tags[0], (0, 0, 0, 0))
            else:
                message = f"{where} has {len(tags)} tags, one is its class. Correct it."
                self.collector.leave_out(image, FieldError("labels.class", str(source), message))

    def _add_image(self, element: Element, where: str, ids: set[int], task: str | None) -> tuple[int, list[str], str]:
        """Add an image with its objects; its index, tags, and what messages call it."""
        name = element.get("name") or ""
        if not name:
            message = f"{where}.name is missing. Write the name of the image's file, or remove the image."
            raise FieldError("labels.image", str(self._source), message)
        where = f"{where} ({printable(name, limit=80)})"
        tags = [tag.get("label") or "" for tag in element.findall("tag")]
        if "" in tags:
            message = f"{where}.tag has no label. Add it, or remove the tag."
            self.collector.add_fault(FieldError("labels.class", str(self._source), message))
            tags = [tag for tag in tags if tag]
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
            try:
                size = image_size(element.get("height"), element.get("width"), self._source, where)
            except FieldError as error:  # the image itself knows its size
                self.collector.add_fault(error)
        number_of = _image_id(element, len(self.collector), ids)
        image = self.collector.add_image(name, size, number_of, attributes=about)
        if task != "classification":
            self._add_shapes(element, image, size, where)
        return image, tags, where

    def log_changes(self) -> None:
        """Log in one line what was left out or changed."""
        if self._left_out:
            counts = ", ".join(f"{count} {name}" for name, count in sorted(self._left_out.items()))
            logger.warning("%s: shapes other than boxes, polygons and masks are left out: %s", self._source, counts)
        if self._rotated:
            logger.warning("%s: %d rotated boxes became the upright boxes around them", self._source, self._rotated)

    def _label(self, element: Element, where: str) -> str:
        label = element.get("label")
        if not label:
            message = f"{where}.label is missing. Add it, or remove the object."
            raise FieldError("labels.class", str(self._source), message)
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
            try:
                self._add_shape(shape, image, size, field)
            except FieldError as error:
                self.collector.add_fault(error)

    def _add_shape(self, shape: Element, image: int, size: tuple[int, int], field: str) -> None:
        label = self._label(shape, field)
        about = {key: plain_value(value) for key, value in shape.attrib.items() if key not in _COORDINATES}
        if "rotation" in about:
            about["rotation"] = self._number(shape, "rotation", field)
        for own in shape.findall("attribute"):
            about[own.get("name", "attribute")] = plain_value((own.text or "").strip())
        with np.errstate(over="ignore", invalid="ignore"):  # faulty coordinates are for the checker
            geometry = self._geometry(shape, size, field)
        self.collector.add_object(image, label, attributes=about, **geometry)

    def _geometry(self, shape: Element, size: tuple[int, int], field: str) -> dict[str, Any]:
        """Box and outline of a shape, as arguments of ``add_object``."""
        if shape.tag == "box":
            return self._box(shape, field)
        if shape.tag == "mask":
            return self._mask(shape, size, field)
        points = self._points(shape.get("points") or "", field)
        return _polygon(points, ring_area(points))

    def _box(self, shape: Element, field: str) -> dict[str, Any]:
        x1, y1, x2, y2 = (self._number(shape, key, field) for key in ("xtl", "ytl", "xbr", "ybr"))
        degrees = self._number(shape, "rotation", field) if shape.get("rotation") else 0.0
        if not degrees:
            return {"box_xyxy": (x1, y1, x2, y2)}
        self._rotated += 1
        angle = np.deg2rad(degrees)  # clockwise on the screen, as y points down
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        corners = (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) - centre) @ rotation.T + centre
        area = max(x2 - x1, 0.0) * max(y2 - y1, 0.0)
        return _polygon(corners, area)

    def _mask(self, shape: Element, size: tuple[int, int], field: str) -> dict[str, Any]:
        height, width = image_size(shape.get("height"), shape.get("width"), self._source, field)
        left, top = (self._number(shape, key, field) for key in ("left", "top"))
        try:
            runs = np.array((shape.get("rle") or "").split(","), np.int64)
        except (ValueError, OverflowError) as error:
            raise self._fault(f"{field}.rle", f"holds something that is not a number ({error})") from error
        if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
            raise self._fault(f"{field}.rle", f"sums to {runs.sum()}, not to the {width}x{height} pixels of the mask")
        inside = left.is_integer() and top.is_integer() and left >= 0 and top >= 0
        if not (inside and top + height <= size[0] and left + width <= size[1]):
            raise self._fault(field, f"is not inside the {size[1]}x{size[0]} image")
        window = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8).reshape(height, width)
        x1, y1, x2, y2 = box_of_mask(window)
        if x1 == x2:
            raise self._fault(f"{field}.rle", "has no pixel")
        mask = np.zeros(size, np.uint8)
        first_row, first_column = int(top), int(left)
        mask[first_row : first_row + height, first_column : first_column + width] = window
        outline = ObjectOutline(runs=runs_of_mask(mask), run_size=size)
        box = (left + x1, top + y1, left + x2, top + y2)
        return {"box_xyxy": box, "area": float(np.count_nonzero(window)), "outline": outline}

    def _points(self, text: str, field: str) -> NDArray[np.float64]:
        """``x,y;x,y;...`` as (P, 2)."""
        try:
            points = [[float(value) for value in pair.split(",")] for pair in text.split(";") if pair.strip()]
        except ValueError as error:
            raise self._fault(f"{field}.points", f"holds something that is not a number ({error})") from error
        if len(points) < 3 or any(len(point) != 2 for point in points):
            raise self._fault(f"{field}.points", "is not a list of three or more pairs 'x,y;x,y;...'")
        return np.array(points, np.float64)

    def _number(self, shape: Element, key: str, field: str) -> float:
        return number(shape.get(key), self._source, f"{field}.{key}")

    def _fault(self, field: str, problem: str) -> FieldError:
        message = f"{field} {problem}. Correct it, or remove the object."
        return FieldError("labels.outline", str(self._source), message)


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
    """Everything a shape has, by name."""
    table: dict[str, Any] = {"shape": shape.tag, **shape.attrib}
    attributes = {own.get("name", "attribute"): (own.text or "").strip() for own in shape.findall("attribute")}
    points = [dict(point.attrib) for point in shape.findall("points")]
    return table | ({"attributes": attributes} if attributes else {}) | ({"parts": points} if points else {})


def _polygon(points: NDArray[np.float64], area: float) -> dict[str, Any]:
    """A ring (P, 2) and the box around it, as arguments of ``add_object``."""
    box = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    return {"box_xyxy": box, "area": area, "outline": ObjectOutline(rings=[points.reshape(-1).tolist()])}
