"""All annotations of a data set in a few flat arrays, and the data set that reads images beside them.

Objects of all images lie one after another; ``offsets[i]:offsets[i + 1]`` are those of image ``i`` (compressed
rows, CSR). Forked workers share the arrays, spawned workers receive a handful of buffers; one Python object a box would
be copied into every worker as its reference count is touched (pytorch/pytorch#13246).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables._rows import elements_of_rows, offsets_of
from saccade.data.tables.outlines import AttributeTexts, ObjectOutline, OutlineBuilder, Outlines, TextBuilder

__all__ = ["AnnotationTable", "ReadFault", "TableBuilder"]


@dataclass(frozen=True, slots=True)
class ReadFault:
    """A fault that a reader met and read past: what it belongs to is not in the table.

    Args:
        code: Stable name of the kind of fault, such as ``labels.number``.
        where: File, and line or field in it.
        message: What is wrong and what to do about it, without the place.

    Example:
        >>> print(ReadFault("labels.number", "a.txt: line 2", "'x' is no number. Correct it."))
        a.txt: line 2: 'x' is no number. Correct it.
    """

    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class AnnotationTable:
    """Annotations of M images and their N objects, as flat arrays.

    Args:
        paths: File of each image below the data folder, shape (M,), UTF-8 bytes.
        image_ids: The source's numbers of the images, shape (M,), int64.
        sizes: Annotated (height, width), shape (M, 2), int32; 0 where the source does not give it.
        offsets: First object of each image and the end, shape (M + 1,), int64.
        labels: Class of each object, shape (N,), int64; ``-1 - k`` is ``unknown_classes[k]``.
        boxes: (N, 4) float64 xyxy in pixels, as annotated, faults included; None where the source has no boxes.
        iscrowd: (N,) bool.
        area: (N,) float64, pixels.
        keypoints: (N, K, 3) float32: x, y, visibility; K is 0 without keypoints.
        maps: File of each image's label map or instance map, shape (M,), UTF-8 bytes; None where there are none.
        extras: More per-object arrays of the reader, first dimension N.
        unknown_classes: Names that objects have and the class list lacks.
        outlines: Polygons or masks of the objects; None where the source has none.
        attributes: Further attributes of each object, N rows; None where the source has none.
        image_attributes: Further attributes of each image, M rows; None where the source has none.
        faults: What the reader could not read and left out.

    Example:
        >>> builder = TableBuilder(["cat", "dog"])
        >>> builder.add_image("empty.jpg")
        >>> builder.add_image("dogs.jpg", size=(480, 640))
        >>> builder.add_object("dog", (10, 20, 110, 220))
        >>> builder.add_object("dog", (30, 20, 90, 120))
        >>> table = builder.build()
        >>> table.path(1), table.boxes[table.objects(1)].shape
        ('dogs.jpg', (2, 4))
        >>> table.image_index
        array([1, 1])
    """

    paths: NDArray[np.bytes_]
    image_ids: NDArray[np.int64]
    sizes: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64] | None
    iscrowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    keypoints: NDArray[np.float32]
    maps: NDArray[np.bytes_] | None = None
    extras: dict[str, NDArray[Any]] = field(default_factory=dict)
    unknown_classes: tuple[str, ...] = ()
    outlines: Outlines | None = None
    attributes: AttributeTexts | None = None
    image_attributes: AttributeTexts | None = None
    faults: tuple[ReadFault, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def image_index(self) -> NDArray[np.int64]:
        """Image of each object, shape (N,), int64."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def path(self, index: int) -> str:
        """File of image ``index`` below the data folder."""
        return bytes(self.paths[index]).decode()

    def map_path(self, index: int) -> str:
        """File of the label map of image ``index`` below the data folder."""
        assert self.maps is not None, "the reader gave no maps"
        return bytes(self.maps[index]).decode()

    def objects(self, index: int) -> slice:
        """Range of the objects of image ``index`` in the flat arrays."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def class_name(self, label: int, class_names: Sequence[str]) -> str:
        """Name of a label, also of an unknown one."""
        if 0 <= label < len(class_names):
            return class_names[label]
        return self.unknown_classes[-1 - label] if label < 0 and -label <= len(self.unknown_classes) else str(label)

    def select_images(self, indices: Sequence[int] | NDArray[np.int64]) -> AnnotationTable:
        """Table of some images, in the order given."""
        chosen = np.asarray(indices, np.int64)
        table = replace(
            self,
            paths=self.paths[chosen],
            image_ids=self.image_ids[chosen],
            sizes=self.sizes[chosen],
            offsets=offsets_of(np.diff(self.offsets)[chosen]),
            maps=None if self.maps is None else self.maps[chosen],
            image_attributes=None if self.image_attributes is None else self.image_attributes.take(chosen),
        )
        return table._take(elements_of_rows(self.offsets, chosen))

    def select_objects(self, keep: NDArray[np.bool_]) -> AnnotationTable:
        """Table without the objects where ``keep`` (N,) is false; images stay, even if they become empty."""
        counts = np.bincount(self.image_index[keep], minlength=len(self))
        return replace(self, offsets=offsets_of(counts))._take(np.flatnonzero(keep))

    def _take(self, rows: NDArray[np.int64]) -> AnnotationTable:
        return replace(
            self,
            labels=self.labels[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
            iscrowd=self.iscrowd[rows],
            area=self.area[rows],
            keypoints=self.keypoints[rows],
            extras={name: values[rows] for name, values in self.extras.items()},
            outlines=None if self.outlines is None else self.outlines.take(rows),
            attributes=None if self.attributes is None else self.attributes.take(rows),
        )


class TableBuilder:
    """Collects annotations one by one while a reader parses, in typed buffers rather than lists of objects.

    Args:
        class_names: Names of labels 0..N-1; other names are kept as unknown classes.
        num_keypoints: K, points an object.
        boxes: Whether objects have boxes.
        outlines: Whether objects have outlines.

    Example:
        >>> builder = TableBuilder(["cat", "dog"])
        >>> builder.add_image("a.jpg", size=(480, 640))
        >>> builder.add_object("dog", (10, 20, 110, 220))
        >>> table = builder.build()
        >>> table.labels, table.area
        (array([1]), array([20000.]))
    """

    def __init__(
        self, class_names: Sequence[str], num_keypoints: int = 0, boxes: bool = True, outlines: bool = False
    ) -> None:
        self._labels_by_name = {name: label for label, name in enumerate(class_names)}
        self._unknown: list[str] = []
        self._num_keypoints = num_keypoints
        self._has_boxes = boxes
        self._paths: list[bytes] = []
        self._maps: list[bytes] = []
        self._image_ids, self._counts, self._labels = array("q"), array("q"), array("q")
        self._sizes = array("i")
        self._boxes, self._areas, self._keypoints = array("d"), array("d"), array("f")
        self._crowd = array("b")
        self._extras: dict[str, array[int]] = {}
        self._outlines = OutlineBuilder() if outlines else None
        self._attributes, self._image_attributes = TextBuilder(), TextBuilder()
        self._faults: list[ReadFault] = []

    def add_fault(self, code: str, where: str, message: str) -> None:
        """Note a fault and go on reading; the policy for faulty labels decides later (:class:`ReadFault`).

        Args:
            code: Stable name of the kind of fault, such as ``labels.number``.
            where: File, and line or field in it.
            message: What is wrong and what to do about it, without the place.
        """
        self._faults.append(ReadFault(code, where, message))

    def add_image(
        self,
        path: str,
        image_id: int | None = None,
        size: tuple[int, int] = (0, 0),
        map_path: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin an image.

        Args:
            path: File below the data folder.
            image_id: Its number; its position if not given.
            size: Annotated (height, width).
            map_path: File of its label map below the data folder, for every image or none.
            attributes: Further attributes by name.
        """
        self._image_attributes.add(attributes)
        self._image_ids.append(len(self._paths) if image_id is None else image_id)
        self._paths.append(path.encode())
        if map_path:
            self._maps.append(map_path.encode())
        self._sizes.extend(size)
        self._counts.append(0)

    def add_object(
        self,
        class_name: str,
        box_xyxy: Sequence[float] = (),
        iscrowd: bool = False,
        area: float | None = None,
        keypoints: Sequence[float] = (),
        outline: ObjectOutline | None = None,
        attributes: Mapping[str, Any] | None = None,
        **extras: int,
    ) -> None:
        """Add an object to the image begun last.

        Args:
            class_name: Name, known or not.
            box_xyxy: Pixels, as annotated; empty without boxes.
            iscrowd: A crowd region rather than one object.
            area: Pixels; that of the box if not given, 0 without boxes.
            keypoints: K times x, y, visibility.
            outline: Polygons or mask, for tables with outlines.
            attributes: Further attributes by name.
            **extras: Whole numbers of the reader, the same names for every object.
        """
        label = self._labels_by_name.get(class_name)
        if label is None:
            if class_name not in self._unknown:
                self._unknown.append(class_name)
            label = -1 - self._unknown.index(class_name)
        if area is None:
            x1, y1, x2, y2 = box_xyxy or (0.0, 0.0, 0.0, 0.0)
            area = max(x2 - x1, 0.0) * max(y2 - y1, 0.0)
        self._labels.append(label)
        self._boxes.extend(box_xyxy)
        self._areas.append(area)
        self._crowd.append(iscrowd)
        self._keypoints.extend(keypoints)
        if self._outlines is not None:
            shape = outline or ObjectOutline()
            self._outlines.add(shape.rings, shape.holes, shape.runs, shape.run_size)
        self._attributes.add(attributes)
        for name, value in extras.items():
            self._extras.setdefault(name, array("q")).append(value)
        self._counts[-1] += 1

    def build(self) -> AnnotationTable:
        """Table of everything added."""
        count = len(self._labels)
        return AnnotationTable(
            paths=np.array(self._paths, np.bytes_),
            image_ids=np.array(self._image_ids, np.int64),
            sizes=np.array(self._sizes, np.int32).reshape(-1, 2),
            offsets=offsets_of(np.array(self._counts, np.int64)),
            labels=np.array(self._labels, np.int64),
            boxes=np.array(self._boxes, np.float64).reshape(count, 4) if self._has_boxes else None,
            iscrowd=np.array(self._crowd, np.bool_),
            area=np.array(self._areas, np.float64),
            keypoints=np.array(self._keypoints, np.float32).reshape(count, self._num_keypoints, 3),
            maps=np.array(self._maps, np.bytes_) if self._maps else None,
            extras={name: np.array(values, np.int64) for name, values in self._extras.items()},
            unknown_classes=tuple(self._unknown),
            outlines=None if self._outlines is None else self._outlines.build(),
            attributes=self._attributes.build(),
            image_attributes=self._image_attributes.build(),
            faults=tuple(self._faults),
        )
