"""Annotations gathered in whatever order a source names them: objects find their image, classes are named at the end.

:class:`~saccade.data.tables.annotations.TableBuilder` wants the objects of an image one after another and the
class names beforehand. A table of rows promises neither.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.outlines import OutlineBuilder, TextBuilder

__all__ = ["AnnotationCollector"]


class AnnotationCollector:
    """Collects images and objects in typed buffers.

    Args:
        outlines: Whether objects have outlines.

    Example:
        >>> gathered = AnnotationCollector()
        >>> cat, dog = gathered.add_image("cat.jpg"), gathered.add_image("dog.jpg")
        >>> gathered.add_object(dog, "dog", (0, 0, 10, 10))
        >>> gathered.add_object(cat, "cat", (5, 5, 8, 8))
        >>> gathered.build(gathered.class_names).labels
        array([0, 1])
    """

    def __init__(self, outlines: bool = False) -> None:
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

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def num_objects(self) -> int:
        """Objects added so far."""
        return len(self._labels)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names that objects have, sorted."""
        return tuple(sorted(self._codes))

    def find_image(self, path: str) -> int | None:
        """Index of an image, if it was added; of the last of that path."""
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
            image_id: Its number; its position if not given.
            map_path: File of its label map or instance map, for every image or none.
            attributes: What else the source says of it.

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
        rings: Sequence[Sequence[float]] = (),
        runs: Sequence[int] = (),
        run_size: tuple[int, int] = (0, 0),
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
            rings: Polygons, each x, y, x, y, ... in pixels.
            runs: Of a mask, instead of polygons (:class:`~saccade.data.tables.outlines.Outlines`).
            run_size: (height, width) of that mask.
            attributes: What else the source says of it.
            **extras: Whole numbers of the reader, the same names for every object.
        """
        self._images.append(image)
        self._labels.append(self._codes.setdefault(class_name, len(self._codes)))
        self._boxes.extend(box_xyxy)
        self._crowd.append(iscrowd)
        self._areas.append(area)
        if self._outlines is not None:
            self._outlines.add(rings, runs=runs, run_size=run_size)
        self._attributes.add(attributes)
        for name, value in extras.items():
            self._extras.setdefault(name, array("q")).append(value)

    def build(self, class_names: Sequence[str], boxes: bool = True) -> AnnotationTable:
        """The arrays of everything added.

        Args:
            class_names: Names of labels 0..N-1; other names that objects have become unknown classes.
            boxes: Whether objects have boxes.
        """
        images = np.array(self._images, np.int64)
        order = np.argsort(images, kind="stable")
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.bincount(images, minlength=len(self)), out=offsets[1:])
        label_of = {name: label for label, name in enumerate(class_names)}
        unknown = [name for name in self._codes if name not in label_of]
        label_of |= {name: -1 - place for place, name in enumerate(unknown)}
        lookup = np.array([label_of[name] for name in self._codes], np.int64)
        corners = np.array(self._boxes, np.float64).reshape(-1, 4)[order]
        areas = np.array(self._areas, np.float64)[order]
        with np.errstate(invalid="ignore", over="ignore"):  # faulty boxes are not judged here
            sides = np.maximum(corners[:, 2:] - corners[:, :2], 0.0).prod(axis=1)
        attributes = self._attributes.build()
        return AnnotationTable(
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
        )
