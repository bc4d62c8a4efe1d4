"""YOLO: one text file an image, one row an object, numbers as fractions of the image's width and height.

A row is ``class cx cy width height`` (a box), ``class x1 y1 x2 y2 x3 y3 ...`` (a polygon; four corners are a rotated
box), or, if ``data.yaml`` gives ``kpt_shape``, a box followed by ``x y`` or ``x y visibility`` of each point. An image
without a file of rows has no objects. Folders of images and rows: :mod:`saccade.data.readers._yolo_layout`.

*Coordinates.* Fractions are of the upright image (EXIF orientation applied), whose size is read from its header, as the
rows do not give it. They are taken as continuous: 0.5 is the middle of the image. The format does not define which
point of a pixel a keypoint means; x times the width is taken as it is.

*Classes.* An id that has no name is kept as the unknown class ``class_id N``. Where nothing names the classes, they are
called ``class_0``, ``class_1``, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import upright_size
from saccade.data.readers._common import UNSPLIT, check_task, choose, resolve_split
from saccade.data.readers._yolo_layout import Layout, PointRows, find_layout, list_part, looks_like_yolo
from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.outlines import ObjectOutline, ring_area
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["YoloDataset", "matches", "read", "splits"]

_Row = tuple[int, list[float]]


class YoloDataset(TableDataset):
    """Images with a text file of rows each.

    Args:
        info: Name, task and classes.
        root: Data folder.
        table: Annotations; an image's number is its index in ``label_files``.
        label_files: File of each image's rows below ``root``, UTF-8 bytes.
        **options: Further arguments of :class:`~saccade.data.tables.table_dataset.TableDataset`.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: Path,
        table: AnnotationTable,
        label_files: NDArray[np.bytes_],
        **options: Any,
    ) -> None:
        super().__init__(info, root, table, **options)
        self._label_files = label_files

    def annotation_path(self, index: int) -> str:
        """File of the rows of image ``index``, whether or not it exists."""
        return str(self.root / bytes(self._label_files[self.table.image_ids[index]]).decode())


def matches(root: Path) -> bool:
    """Whether there is a ``data.yaml``, an ``obj.data``, or images beside files of rows."""
    return looks_like_yolo(root)


def splits(root: Path) -> tuple[str, ...]:
    """Names of the splits whose images are there, or ``all``, ``train``, ``val``.

    Example:
        >>> for folder, name in (("images", "1.jpg"), ("labels", "1.txt")):
        ...     for split in ("train", "val"):
        ...         Path(folder, split).mkdir(parents=True)
        ...         Path(folder, split, name).touch()
        >>> splits(Path())
        ('train', 'val')
    """
    parts = find_layout(root, elsewhere=True).parts
    return UNSPLIT if set(parts) == {"all"} else tuple(parts)


def read(
    root: Path,
    split: str,
    task: str | None = None,
    masks: bool = False,
    images: str | None = None,
    class_names: Sequence[str] | None = None,
) -> TableDataset:
    """Read one split of a YOLO data set.

    Args:
        root: Data folder.
        split: ``train`` also finds ``training``, ``val`` also ``valid``.
        task: ``detection``; ``segmentation``, which paints the polygons as a label map, class 0 being ``background``;
            or ``keypoints``, the default where there is a ``kpt_shape``.
        masks: Give each object's mask as well.
        images: Folder of the images, if it is not where YOLO has it; relative to ``root``.
        class_names: Names of the class ids 0..N-1, instead of the data set's own.

    Raises:
        DataError: If a file or a row is missing or malformed, or a list names an image outside the data folder.

    Example:
        >>> import cv2
        >>> for folder in ("images", "labels"):
        ...     Path(folder).mkdir()
        >>> _ = cv2.imwrite("images/a.png", np.zeros((40, 60, 3), np.uint8))
        >>> _ = Path("labels/a.txt").write_text("0 0.5 0.5 0.5 0.25")
        >>> data = read(Path(), "all", class_names=["cat"])
        >>> data.info.class_names, data.target(0)["boxes"]
        (('cat',), array([[15., 15., 45., 25.]]))
    """
    layout = find_layout(root, elsewhere=images is not None)
    task = check_task(task, ("keypoints", "detection") if layout.points else ("detection", "segmentation"), "yolo")
    whole = set(layout.parts) == {"all"}
    own = "all" if whole else _resolve(split, layout, root)
    image_root = root if images is None else root / images
    pairs = list_part(root, layout, own, image_root)
    if whole:
        pairs = [pairs[index] for index in choose(len(pairs), split, None, root)]
    rows = [_parse(root / label, layout.points) for _, label in pairs]
    names = dict(enumerate(class_names)) if class_names is not None else layout.class_names
    if not names:
        names = _numbered_names(root, layout, image_root)
    builder = _Builder(names, layout.points, with_points=task == "keypoints")
    for (image, _), objects in zip(pairs, rows, strict=True):
        builder.add(image, _size(image_root / image, bool(objects)), objects)
    shown = tuple(names.values())
    if task == "segmentation":
        shown = ("background", *shown)
    info = DatasetInfo(root.name, task, shown, split)
    if layout.points is not None and task == "keypoints":
        info = replace(
            info,
            class_names=layout.points.names,
            flip_pairs=layout.points.flip_pairs,
            object_names=tuple(names.values()),
        )
    label_files = np.array([label.encode() for _, label in pairs], np.bytes_)
    table = builder.build()
    return YoloDataset(info, root, table, label_files, image_root=image_root, masks=masks)


def _resolve(split: str, layout: Layout, root: Path) -> str:
    own = resolve_split(split, [*layout.parts, *layout.missing], root)
    if own in layout.missing:
        raise DataError(
            f"{layout.source}: {own} is '{layout.missing[own][:200]}', which is not a folder or list inside the data "
            "folder. Write it relative to this file, without leaving the folder."
        )
    return own


def _numbered_names(root: Path, layout: Layout, image_root: Path) -> dict[int, str]:
    """Names ``class_0``, ``class_1``, ... for the ids of all splits, as labels must not depend on the split."""
    last = -1
    for split in layout.parts:
        for _, label in list_part(root, layout, split, image_root):
            last = max([last, *(number for number, _ in _parse(root / label, layout.points))])
    return {number: f"class_{number}" for number in range(last + 1)}


def _parse(path: Path, points: PointRows | None) -> list[_Row]:
    """Class id and numbers of each row; none if the file does not exist."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error}). Check its name and permissions.") from error
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {str(error)[:200]}. Correct it, or remove the line.") from error
        problem = _problem(values, points)
        if problem:
            raise DataError(f"{path}: line {number}: {problem}. Correct it, or remove the line.")
        rows.append((int(values[0]), values[1:]))
    return rows


def _problem(values: list[float], points: PointRows | None) -> str:
    """Problem of a row; empty if it has none."""
    if not values[0].is_integer():  # false for what is not finite, too
        return f"the class is {values[0]:g}, not a whole number"
    count = len(values) - 1
    if points is not None:
        with_points = 4 + len(points.names) * points.values
        if count in (4, with_points):
            return ""
        return f"there are {count} numbers behind the class, but kpt_shape asks for {with_points}"
    if count == 4 or (count >= 6 and count % 2 == 0):
        return ""
    hint = "; is the last one the confidence of a prediction?" if count == 5 else ""
    return f"there are {count} numbers behind the class, a box has 4 and a polygon 6 or more in pairs{hint}"


def _size(path: Path, needed: bool) -> tuple[int, int]:
    """(height, width) of the upright image; 0 for a broken one without objects, an error only when it is read."""
    try:
        return upright_size(path)
    except DataError:
        if needed:
            raise
        return 0, 0


class _Builder:
    """Builds the table from rows of numbers.

    Args:
        names: Name of each class id.
        points: Layout of the rows, if they have points.
        with_points: Whether the table has keypoints.
    """

    def __init__(self, names: Mapping[int, str], points: PointRows | None, with_points: bool) -> None:
        self._names = names
        self._points = points
        self._count = len(points.names) if points is not None and with_points else 0
        self._table = TableBuilder(list(names.values()), num_keypoints=self._count, outlines=True)

    def add(self, image: str, size: tuple[int, int], rows: Sequence[_Row]) -> None:
        """Add an image of (height, width) and its objects."""
        self._table.add_image(image, size=size)
        height, width = size
        for number, values in rows:
            name = self._names.get(number, f"class_id {number}")
            if len(values) > 4 and self._points is None:
                with np.errstate(invalid="ignore", over="ignore"):  # faulty numbers are kept, for the checker
                    self._add_polygon(name, np.array(values).reshape(-1, 2) * (width, height))
                continue
            x, y, box_width, box_height = values[:4]
            box = (
                (x - box_width / 2) * width,
                (y - box_height / 2) * height,
                (x + box_width / 2) * width,
                (y + box_height / 2) * height,
            )
            self._table.add_object(name, box, keypoints=self._keypoints(values[4:], size) if self._count else ())

    def build(self) -> AnnotationTable:
        """Table of everything added."""
        return self._table.build()

    def _add_polygon(self, name: str, ring: NDArray[np.float64]) -> None:
        box = [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]
        outline = ObjectOutline(rings=[ring.reshape(-1).tolist()])
        self._table.add_object(name, box, area=ring_area(ring), outline=outline)

    def _keypoints(self, values: Sequence[float], size: tuple[int, int]) -> list[float]:
        """x, y, visibility of each point; without visibilities a point at 0, 0 is unlabelled."""
        found = np.zeros((self._count, 3))
        if values:
            given = np.array(values).reshape(self._count, -1)
            with np.errstate(over="ignore"):
                found[:, :2] = given[:, :2] * (size[1], size[0])
            found[:, 2] = given[:, 2] if given.shape[1] == 3 else 2.0 * (given != 0).any(axis=1)
            found[found[:, 2] <= 0] = 0.0
        flat: list[float] = found.reshape(-1).tolist()
        return flat
