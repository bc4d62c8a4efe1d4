"""labelme: one JSON file for each image, in a folder for each split; without splits, in the data folder itself.

Boxes become rectangles, rings polygons (those of one object share a ``group_id``), masks masks, keypoints points that
share a ``group_id`` with their object, classes of images flags. Boolean attributes become flags, ``description`` and
``group_id`` go where they came from, others into ``attributes``. ``labels.txt`` holds the order of the classes
(``keypoints.txt`` that of points, ``flags.txt`` that of classes of images).

What labelme cannot hold is put into a key ``saccade`` of the shape, which labelme ignores and Saccade reads back: that
a ring is a hole or an object a crowd, integers of the reader such as ``difficult``, and box and area where they are not
those of the outline. What came from labelme goes back as it was, except for the version and for an image inside the
file, which becomes a file of its own.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.data.readers._labelme_objects import NO_CLASS
from saccade.data.readers._labelme_shapes import Kept, outline, parse_shape
from saccade.data.tables.outlines import AttributeTexts
from saccade.data.tables.run_lengths import mask_of_runs
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport, unique_names
from saccade.data.writers._images import write_images
from saccade.data.writers._objects import (
    class_names_of,
    drop_skeleton,
    has_background,
    image_size,
    regions_of,
    unique_stems,
)
from saccade.errors import DataError
from saccade.structures.files import write_text

__all__ = ["TASKS", "write"]

TASKS = ("detection", "segmentation", "classification", "keypoints")

_VERSION = "5.0.0"
_ONLY_SACCADE = "in a key that only Saccade reads"
_FARTHEST = 1e6

# A shape, and its index in the file where that is fixed.
_PositionedShape = tuple[int | None, dict[str, Any]]


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    r"""Write one split as labelme.

    Args:
        dataset: Split to write.
        folder: Root of the new data set; it may hold other splits.
        split: Name of the split.
        images: Whether images are copied, linked or left out.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, or the classes are not those of the splits written before.

    Example:
        >>> from saccade.data.open import open_raw
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,1,2,30,20,cat\n")
        >>> write(open_raw("pets", "train"), Path("out"), "train", "none", LossReport("csv", "labelme"))
        >>> shape = json.loads(Path("out/train/a.json").read_text())["shapes"][0]
        >>> shape["label"], shape["shape_type"], shape["points"]
        ('cat', 'rectangle', [[1.0, 2.0], [30.0, 20.0]])
    """
    target = folder if split == "all" else folder / split
    sizes = [image_size(dataset, index) for index in range(len(dataset))]
    _write_names(dataset, folder, report)
    wanted = dict(enumerate(unique_stems(unique_names(dataset), report)))
    names = list(write_images(dataset, target, images, report, wanted).values())
    writer = _Writer(dataset, report)
    for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
        content = writer.file(index, name, size)
        text = json.dumps(content, ensure_ascii=False, indent=2)
        write_text(target / PurePosixPath(name).with_suffix(".json"), text + "\n", durable=False)


def _write_names(dataset: TableDataset, folder: Path, report: LossReport) -> None:
    """Write the lists of names, or check that they equal those of the splits written before.

    Raises:
        DataError: If they differ.
    """
    info = dataset.info
    lists = {"labels.txt": (*NO_CLASS, *class_names_of(dataset))}
    if info.task == "classification":
        lists = {"flags.txt": ("__ignore__", *info.class_names)}
    elif info.points:
        lists["keypoints.txt"] = info.points.names
        drop_skeleton(dataset, report)
    for name, lines in lists.items():
        path, text = folder / name, "".join(f"{line}\n" for line in lines)
        if not path.is_file():
            write_text(path, text)
            report.keep("classes", len(set(lines) - set(NO_CLASS)))
        elif path.read_text(encoding="utf-8") != text:
            raise DataError(f"{path}: this split has other classes than those before. Give all splits the same list.")


class _Writer:
    """Builds the content of the JSON files of a data set."""

    def __init__(self, dataset: TableDataset, report: LossReport) -> None:
        self.dataset = dataset
        self.table = dataset.table
        self.report = report
        self._names = class_names_of(dataset)
        # Readers of instance maps give masks without outlines.
        self._own_masks = self.table.outlines is None and type(dataset).object_masks is not TableDataset.object_masks
        for name, values in self.table.extras.items():
            report.change(name, f"kept {_ONLY_SACCADE}", int(np.count_nonzero(values)))

    def file(self, index: int, name: str, size: tuple[int, int]) -> dict[str, Any]:
        """Content for image ``index``, whose file is called ``name``, of (height, width)."""
        attributes, details = _split_details(
            _attributes(self.table.image_attributes, index, "image", self.report), dict
        )
        flags = {key: value for key, value in attributes.items() if isinstance(value, bool)}
        others = {key: value for key, value in attributes.items() if key not in flags}
        positioned: list[_PositionedShape] = []
        if self.dataset.info.task == "classification":
            flags |= self._class_flags(index)
        elif self.dataset.info.task == "segmentation" and self.table.outlines is None:
            positioned = self._regions(index)
        else:
            positioned = self._objects(index, size)
        own = details.get("shapes", [])
        positioned += [(position, shape) for position, shape in own]
        self.report.keep("shapes without object", len(own))
        return {
            "version": _VERSION,
            "flags": {**details.get("flags", {}), **flags},
            "shapes": _in_order(positioned),
            "imagePath": name,
            "imageData": None,
            "imageHeight": size[0],
            "imageWidth": size[1],
            **({"attributes": others} if others else {}),
            **details.get("more", {}),
        }

    def _class_flags(self, index: int) -> dict[str, bool]:
        label = int(self.table.labels[self.table.objects(index)][0])
        chosen = self.table.class_name(label, self._names)
        self.report.keep("objects")
        return {**dict.fromkeys(self._names, False), chosen: True}

    def _regions(self, index: int) -> list[_PositionedShape]:
        """One polygon for each region of a label map; holes are polygons of the same group."""
        first = int(has_background(self.dataset))
        positioned: list[_PositionedShape] = []
        regions = regions_of(self.dataset.target(index)["label_map"], first, self.report)
        for number, (value, rings, holes) in enumerate(regions):
            self.report.keep("objects")
            self.report.change("holes", f"marked {_ONLY_SACCADE}", sum(holes))
            for ring, hole in zip(rings, holes, strict=True):
                shape = _shape(self._names[value - first], "polygon", ring.tolist())
                shape["group_id"] = number if len(rings) > 1 else None
                positioned.append((None, _keep(shape, Kept(hole=hole))))
        return positioned

    def _objects(self, index: int, size: tuple[int, int]) -> list[_PositionedShape]:
        rows = range(*self.table.objects(index).indices(len(self.table.labels)))
        masks = self.dataset.object_masks(index) if self._own_masks else None
        attributes = [_attributes(self.table.attributes, row, "object", self.report) for row in rows]
        taken = {values["group_id"] for values in attributes if _is_group(values.get("group_id"))}
        free = (number for number in itertools.count() if number not in taken)
        positioned: list[_PositionedShape] = []
        for position, (row, values) in enumerate(zip(rows, attributes, strict=True)):
            parts = self._parts(row, None if masks is None else masks[position])
            if parts is None:
                self.report.drop("objects", "their numbers are not finite, or far from any image")
                continue
            self.report.keep("objects")
            positioned += self._finish(row, parts, values, free, size)
        return positioned

    def _parts(self, row: int, mask: NDArray[np.uint8] | None) -> list[dict[str, Any]] | None:
        """Shapes of an object: a mask, its rings, or its box; None if they cannot be written."""
        name = self.table.class_name(int(self.table.labels[row]), self._names)
        outlines = self.table.outlines
        if outlines is not None and len(outlines.mask_runs(row)):
            height, width = outlines.run_sizes[row].tolist()
            try:
                mask = outlines.mask(row, height, width)
            except ValueError:
                self.report.drop("masks", "malformed")
        if mask is not None and mask.any():
            self.report.keep("masks")
            return [_mask_shape(name, mask)]
        rings = outlines.rings(row) if outlines is not None else []
        holes = outlines.hole_flags(row) if outlines is not None else []
        drawn = [(ring, hole) for ring, hole in zip(rings, holes, strict=True) if len(ring)]
        box = self._box(row)
        if not all((np.abs(ring) <= _FARTHEST).all() for ring, _ in drawn) or not (np.abs(box) <= _FARTHEST).all():
            return None
        if not drawn:
            self.report.keep("boxes")
            return [_shape(name, "rectangle", box.reshape(2, 2).tolist())]
        cut = sum(hole for _, hole in drawn)
        self.report.keep("polygons", len(drawn) - cut)
        self.report.change("holes", f"marked {_ONLY_SACCADE}", cut)
        return [_keep(_shape(name, "polygon", ring.tolist()), Kept(hole=hole)) for ring, hole in drawn]

    def _box(self, row: int) -> NDArray[np.float64]:
        """Box of an object, shape (4,); around its keypoints if it has none."""
        if self.table.boxes is not None:
            return self.table.boxes[row]
        points = self.table.keypoints[row].astype(np.float64)
        seen = points[points[:, 2] > 0, :2] if (points[:, 2] > 0).any() else np.zeros((1, 2))
        self.report.change("boxes", "drawn around the keypoints, as there were none")
        return np.concatenate([seen.min(axis=0), seen.max(axis=0)])

    def _finish(
        self,
        row: int,
        parts: list[dict[str, Any]],
        attributes: dict[str, Any],
        free: Iterator[int],
        size: tuple[int, int],
    ) -> list[_PositionedShape]:
        """The shapes of an object with its group, flags, attributes and keypoints."""
        points = self._points(row)
        values, details = _split_details(attributes, list)
        for_parts = [entry for entry in details if "label" not in entry]
        for_points = {entry["label"]: entry for entry in details if "label" in entry}
        group = values.pop("group_id") if _is_group(values.get("group_id")) else None
        if group is None and len(parts) + len(points) > 1:
            group = next(free)
        if len(for_parts) == len(parts):
            parts = [_restore(part, entry, size) for part, entry in zip(parts, for_parts, strict=True)]
        first = parts[0]
        if isinstance(values.get("description"), str):
            first["description"] = values.pop("description")
        first["flags"] = {key: value for key, value in values.items() if isinstance(value, bool)} | first["flags"]
        others = {key: value for key, value in values.items() if not isinstance(value, bool)}
        if others:
            first.setdefault("attributes", others)
        self._add_kept(row, parts, size)
        positioned = for_parts if len(for_parts) == len(parts) else [{}] * len(parts)
        shapes: list[_PositionedShape] = [
            (entry.get("position"), {**part, "group_id": group}) for entry, part in zip(positioned, parts, strict=True)
        ]
        for point in points:
            entry = for_points.get(point["label"], {})
            shape = {**entry.get("more", {}), **point, "group_id": group}
            shape["flags"] = {**entry.get("flags", {}), **point["flags"]}
            shape["description"] = entry.get("description", "")
            shapes.append((entry.get("position"), shape))
        return shapes

    def _points(self, row: int) -> list[dict[str, Any]]:
        """Shapes of the labelled keypoints of an object."""
        names = self.dataset.info.points.names
        if not names:
            return []
        shapes, values = [], self.table.keypoints[row].tolist()
        for name, (x, y, visibility) in zip(names, values, strict=True):
            if visibility > 0 and math.isfinite(x + y):
                shape = _shape(name, "point", [[x, y]])
                shape["flags"] = {"hidden": True} if visibility == 1 else {}
                shapes.append(shape)
        self.report.keep("keypoints", len(shapes))
        return shapes

    def _add_kept(self, row: int, parts: Sequence[dict[str, Any]], size: tuple[int, int]) -> None:
        """Store what a reader could not derive from the shapes in the first of them."""
        kept = msgspec.convert(parts[0].get("saccade", {}), Kept)
        boxes, area = [], 0.0
        for position, part in enumerate(parts):
            shape = parse_shape(part, position, Path("shape"))
            found = outline(shape, size, Path("shape"))
            area += -found.area if shape.kept.hole else found.area
            boxes += [] if shape.kept.hole else [found.box_xyxy]
        hull = np.array(boxes or [(0.0, 0.0, 0.0, 0.0)])
        box = (*hull[:, :2].min(axis=0).tolist(), *hull[:, 2:].max(axis=0).tolist())
        if self.table.boxes is not None:
            own = tuple(self.table.boxes[row].tolist())
            kept.box = own if own != box and np.isfinite(own).all() else None
        own_area = float(self.table.area[row])
        kept.area = own_area if own_area != max(area, 0.0) and math.isfinite(own_area) else None
        kept.iscrowd = bool(self.table.iscrowd[row])
        self.report.change("crowd marks", f"kept {_ONLY_SACCADE}", int(kept.iscrowd))
        kept.extras = {name: int(marks[row]) for name, marks in self.table.extras.items() if marks[row]}
        _keep(parts[0], kept)


def _shape(label: str, kind: str, points: list[list[float]]) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def _keep(shape: dict[str, Any], kept: Kept) -> dict[str, Any]:
    """The shape with the key ``saccade``, if there is anything to store in it."""
    content = msgspec.to_builtins(kept)
    if content:
        shape["saccade"] = content
    return shape


def _mask_shape(label: str, mask: NDArray[np.uint8], points: list[list[float]] | None = None) -> dict[str, Any]:
    """A mask shape; ``points`` are its first and last pixel, the outermost of the mask if not given."""
    if points is None:
        x, y, width, height = cv2.boundingRect(mask)
        points = [[float(x), float(y)], [float(x + width - 1), float(y + height - 1)]]
    (left, top), (right, bottom) = ([math.floor(value) for value in point] for point in points)
    done, encoded = cv2.imencode(".png", mask[max(top, 0) : bottom + 1, max(left, 0) : right + 1])
    assert done, "OpenCV encodes every mask"
    shape = _shape(label, "mask", points)
    shape["mask"] = base64.b64encode(encoded.tobytes()).decode()
    return shape


def _restore(shape: dict[str, Any], details: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """A shape as it was in labelme; as it is now if the details contradict it."""
    now = outline(parse_shape(shape, 0, Path("shape")), size, Path("shape"))
    kind, points = details.get("shape_type", shape["shape_type"]), details.get("points", shape["points"])
    changes = {key: details[key] for key in ("flags", "description") if key in details}
    restored = {**details.get("more", {}), **shape, "shape_type": kind, "points": points, **changes}
    if kind == "rectangle" and "points" not in details and shape["shape_type"] == "polygon":
        restored["points"] = [shape["points"][0], shape["points"][2]]
    try:
        if now.runs:
            mask = mask_of_runs(now.runs, *size)
            restored["mask"] = _mask_shape(shape["label"], mask, restored["points"])["mask"]
        then = outline(parse_shape(restored, 0, Path("shape")), size, Path("shape"))
    except (DataError, IndexError, TypeError, ValueError, cv2.error):
        return shape
    return restored if now.runs == then.runs and np.allclose(now.box_xyxy, then.box_xyxy, atol=1.0) else shape


def _in_order(positioned: Sequence[_PositionedShape]) -> list[dict[str, Any]]:
    """Shapes with a fixed index at that index; the others keep their order between them."""
    shapes = [shape for position, shape in positioned if position is None]
    fixed = [(position, shape) for position, shape in positioned if position is not None]
    for position, shape in sorted(fixed, key=lambda entry: entry[0]):
        shapes.insert(position, shape)
    return shapes


def _attributes(texts: AttributeTexts | None, row: int, kind: str, report: LossReport) -> dict[str, Any]:
    """Attributes of an object or an image; all of them are kept."""
    values = texts.get(row) if texts is not None else {}
    for name in values:
        if name != "labelme":
            report.keep(f"attribute {name}" if kind == "object" else f"attribute {name} of images")
    return values


def _split_details(attributes: dict[str, Any], kind: type) -> tuple[dict[str, Any], Any]:
    """Attributes, and what the reader of labelme put beside them; another's attribute of that name stays one."""
    details = attributes.get("labelme")
    if not isinstance(details, kind):
        return attributes, kind()
    if isinstance(details, list) and not all(isinstance(entry, dict) for entry in details):
        return attributes, kind()
    return {name: value for name, value in attributes.items() if name != "labelme"}, details


def _is_group(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
