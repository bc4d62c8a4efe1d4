"""Annotations collected in any order: objects are sorted by image, and classes named, at the end.

:class:`~saccade.data.tables.annotations.TableBuilder` needs the objects of an image one after another and the
class names beforehand. The rows of a CSV file give neither.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.readers._common import check_class_count
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import ImageFinder
from saccade.data.tables._rows import group_by_row
from saccade.data.tables.annotations import AnnotationTable, ReadFault
from saccade.data.tables.outlines import ObjectOutline, OutlineBuilder, TextBuilder
from saccade.structures.text import printable

__all__ = ["AnnotationCollector", "outside_error"]


class AnnotationCollector:
    """Collects images and objects in any order, in typed buffers.

    Args:
        outlines: Whether objects have outlines.
        source: File or folder that is read, for messages.

    Example:
        >>> collector = AnnotationCollector()
        >>> first, second = collector.add_image("cat.jpg"), collector.add_image("dog.jpg")
        >>> collector.add_object(second, "dog", (0, 0, 10, 10))
        >>> collector.add_object(first, "cat", (5, 5, 8, 8))
        >>> collector.build(collector.class_names).labels
        array([0, 1])
    """

    def __init__(self, outlines: bool = False, source: Path | None = None) -> None:
        self._source = Path() if source is None else source
        self._paths: list[bytes] = []
        self._index_of: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._image_ids, self._sizes = array("q"), array("i")
        self._maps: list[bytes] = []
        self._images, self._labels, self._boxes, self._areas = array("q"), array("q"), array("d"), array("d")
        self._crowd = array("b")
        self._extras: dict[str, array[int]] = {}
        self._outlines = OutlineBuilder() if outlines else None
        self._attributes, self._image_attributes = TextBuilder(), TextBuilder()
        self._faults: list[ReadFault] = []
        self._left_out: set[int] = set()

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def num_objects(self) -> int:
        """Number of objects added so far."""
        return len(self._labels)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the objects' classes, sorted."""
        return tuple(sorted(self._codes))

    def add_fault(self, error: FieldError) -> None:
        """Note a fault and go on reading; what it belongs to is left out."""
        self._faults.append(ReadFault(error.code, error.where, error.message))

    def leave_out(self, image: int, error: FieldError) -> None:
        """Leave an image out of the table, with its objects, because of a fault."""
        self._left_out.add(image)
        self.add_fault(error)

    def locate_images(self, finder: ImageFinder, source: Path, others: Sequence[str] = ()) -> None:
        """Find the images, which were added under the names that the annotations have for them.

        An image whose name leads out of the data folder, and that is not found by the last parts of it, is a fault.

        Args:
            finder: Where to look.
            source: File of the annotations, for messages.
            others: For each image, a second name to look for.
        """
        names = [path.decode() for path in self._paths]
        errors = (outside_error(name, source, finder.root) for name in names)
        self.place_images(finder.find(names, others), errors)

    def place_images(self, paths: Sequence[str | None], errors: Iterable[FieldError]) -> None:
        """Name the files of all images.

        Args:
            paths: For each image its file; None leaves it out.
            errors: For each image, the fault that it is if it has no file.
        """
        for index, (path, error) in enumerate(zip(paths, errors, strict=True)):
            if path is not None:
                self._paths[index] = path.encode()
            elif index not in self._left_out:  # whose fault is noted already
                self.leave_out(index, error)

    def find_image(self, path: str) -> int | None:
        """Index of the last image added under that path; None if there is none."""
        return self._index_of.get(path)

    def add_image(
        self,
        path: str,
        size: tuple[int, int] = (0, 0),
        image_id: int | None = None,
        map_path: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> int:
        """Add an image.

        Args:
            path: File below the data folder.
            size: Annotated (height, width).
            image_id: Its number; its index if not given.
            map_path: File of its label map or instance map, for every image or none.
            attributes: Further attributes by name.

        Returns:
            Its index.
        """
        index = self._index_of[path] = len(self._paths)
        self._paths.append(path.encode())
        self._image_ids.append(index if image_id is None else image_id)
        self._sizes.extend(size)
        self._image_attributes.add(attributes)
        if map_path:
            self._maps.append(map_path.encode())
        return index

    def add_object(
        self,
        image: int,
        class_name: str,
        box_xyxy: Sequence[float],
        iscrowd: bool = False,
        area: float = math.nan,
        outline: ObjectOutline | None = None,
        attributes: Mapping[str, Any] | None = None,
        **extras: int,
    ) -> None:
        """Add an object.

        Args:
            image: Index of its image.
            class_name: Name.
            box_xyxy: Pixels, as annotated.
            iscrowd: A crowd region rather than one object.
            area: Pixels; that of the box if not given.
            outline: Polygons or mask, for collectors with outlines.
            attributes: Further attributes by name.
            **extras: Whole numbers of the reader, the same names for every object.
        """
        self._images.append(image)
        self._labels.append(self._codes.setdefault(class_name, len(self._codes)))
        self._boxes.extend(box_xyxy)
        self._crowd.append(iscrowd)
        self._areas.append(area)
        if self._outlines is not None:
            shape = outline or ObjectOutline()
            self._outlines.add(shape.rings, shape.holes, shape.runs, shape.run_size)
        self._attributes.add(attributes)
        for name, value in extras.items():
            self._extras.setdefault(name, array("q")).append(value)

    def build(self, class_names: Sequence[str], boxes: bool = True) -> AnnotationTable:
        """Table of everything added.

        Args:
            class_names: Names of labels 0..N-1; other names that objects have become unknown classes.
            boxes: Whether objects have boxes.
        """
        images = np.array(self._images, np.int64)
        check_class_count(max(len(class_names), len(self._codes)), self._source, "classes")
        order, offsets = group_by_row(images, len(self))
        label_of = {name: label for label, name in enumerate(class_names)}
        unknown = [name for name in self._codes if name not in label_of]
        label_of |= {name: -1 - number for number, name in enumerate(unknown)}
        lookup = np.array([label_of[name] for name in self._codes], np.int64)
        corners = np.array(self._boxes, np.float64).reshape(-1, 4)[order]
        areas = np.array(self._areas, np.float64)[order]
        with np.errstate(invalid="ignore", over="ignore"):  # faulty boxes are for the checker
            sides = np.maximum(corners[:, 2:] - corners[:, :2], 0.0).prod(axis=1)
        attributes = self._attributes.build()
        table = AnnotationTable(
            paths=np.array(self._paths, np.bytes_),
            image_ids=np.array(self._image_ids, np.int64),
            sizes=np.array(self._sizes, np.int32).reshape(-1, 2),
            offsets=offsets,
            labels=lookup[np.array(self._labels, np.int64)[order]],
            boxes=corners if boxes else None,
            iscrowd=np.array(self._crowd, np.bool_)[order],
            area=np.where(np.isnan(areas), sides, areas),
            keypoints=np.zeros((len(images), 0, 3), np.float32),
            maps=np.array(self._maps, np.bytes_) if self._maps else None,
            extras={name: np.array(values, np.int64)[order] for name, values in self._extras.items()},
            unknown_classes=tuple(unknown),
            outlines=None if self._outlines is None else self._outlines.build().take(order),
            attributes=None if attributes is None else attributes.take(order),
            image_attributes=self._image_attributes.build(),
            faults=tuple(self._faults),
        )
        if not self._left_out:
            return table
        return table.select_images([index for index in range(len(self)) if index not in self._left_out])


def outside_error(name: str, source: Path, root: Path) -> FieldError:
    """Fault of an image whose name is none inside the data folder."""
    return FieldError(
        "labels.image",
        str(source),
        f"it names the image '{printable(name, limit=200)}', which is not a file inside the data folder, and no image "
        f"of that name is below {root}. Put it there, or name the folder of the images by the option 'images'.",
    )
