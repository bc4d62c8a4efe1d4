"""YOLO: one text file an image, one row an object, numbers as fractions of the image's width and height.

A row is ``class cx cy width height`` (a box), ``class x1 y1 x2 y2 x3 y3 ...`` (a polygon; four corners are a rotated
box), or, if ``data.yaml`` gives ``kpt_shape``, a box followed by ``x y`` or ``x y visibility`` of each point. An image
without a file of rows has no objects; the log counts them. Where masks or a label map are asked for, a box is its own
outline. Folders of images and rows: :mod:`saccade.data.readers._yolo_layout`.

*Coordinates.* Fractions are of the upright image (EXIF orientation applied), whose size is read from its header, as the
rows do not give it. They are taken as continuous: 0.5 is the middle of the image. The format does not define which
point of a pixel a keypoint means; x times the width is taken as it is.

*Classes.* An id that has no name is kept as the unknown class ``class_id N``. Where nothing names the classes, they are
called ``class_0``, ``class_1``, ...
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import upright_size
from saccade.data.notices import say_once
from saccade.data.readers._common import UNSPLIT, check_class_count, check_task, choose, resolve_split, standard_split
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import find_image_root
from saccade.data.readers._yolo_layout import (
    Layout,
    PointRows,
    find_layout,
    list_part,
    looks_like_yolo,
    rows_without_image,
)
from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.outlines import ObjectOutline, ring_area
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.reading import read_bytes
from saccade.structures.text import printable

__all__ = ["YoloDataset", "matches", "read", "splits"]

_Row = tuple[int, list[float]]
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
    """Names of the splits whose images are there, or ``all``.

    Example:
        >>> for folder, name in (("images", "1.jpg"), ("labels", "1.txt")):
        ...     for split in ("train", "val"):
        ...         Path(folder, split).mkdir(parents=True)
        ...         Path(folder, split, name).touch()
        >>> splits(Path())
        ('train', 'val')
    """
    layout = find_layout(root, elsewhere=True)
    # A part to train or validate on that is named but not there is a fault, not a data set without it.
    missing = [name for name in layout.missing if standard_split(name) in ("train", "val")]
    return UNSPLIT if set(layout.parts) == {"all"} else (*layout.parts, *missing)


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
    image_root = find_image_root(root, images)
    part = list_part(root, layout, own, image_root)
    pairs = part.pairs
    if whole:
        pairs = [pairs[index] for index in choose(len(pairs), split, None, root)]
    if part.unlabelled:
        say_once(
            f"{root}: {part.unlabelled} of the {len(part.pairs)} images of '{own}' have no file of rows, such as "
            f"{next(label for _, label in part.pairs if not (root / label).is_file())}; they count as without objects"
        )
    lost = rows_without_image(root, layout, own, part) if image_root == root else []
    if lost:
        say_once(
            f"{root}: {len(lost)} files of rows of '{own}' belong to no image, such as {lost[0]}; they are not read"
        )
    names = dict(enumerate(class_names)) if class_names is not None else layout.class_names
    if not names:
        names = _numbered_names(root, layout, image_root)
    fill = masks or task == "segmentation"
    builder = _Builder(names, layout.points, with_points=task == "keypoints", fill=fill)
    for error in part.faults:
        builder.add_fault(error)
    for image, label in pairs:
        builder.add(image, label, image_root, root)
    builder.log_boxes(root, own)
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
    table = builder.build()
    if not len(table):
        faults = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{image_root}: none of the {len(pairs)} images of '{split}' can be read:{faults}")
    label_files = np.array(builder.label_files, np.bytes_)
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
        for _, label in list_part(root, layout, split, image_root).pairs:
            last = max([last, *(number for number, _ in _parse(root / label, layout.points, []))])
            check_class_count(last + 1, root / label, "the highest class id")
    return {number: f"class_{number}" for number in range(last + 1)}


def _parse(path: Path, points: PointRows | None, faults: list[FieldError]) -> list[_Row]:
    """Class id and numbers of each row; none if the file does not exist. Rows that cannot be read are faults."""
    if not path.exists():
        return []
    content = read_bytes(path)
    text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig", errors="replace")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{path}: line {number}"
        try:
            values = [float(word) for word in words]
        except ValueError:
            bad = next(word for word in words if not _is_number(word))
            message = f"'{printable(bad, limit=80)}' is not a number. Correct it, or remove the line."
            faults.append(FieldError("labels.number", where, message))
            continue
        code, problem = _problem(values, points)
        if problem:
            faults.append(FieldError(code, where, f"{problem}. Correct it, or remove the line."))
        else:
            rows.append((int(values[0]), values[1:]))
    return rows


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _problem(values: list[float], points: PointRows | None) -> tuple[str, str]:
    """Code and problem of a row; both empty if it has none."""
    if not values[0].is_integer():  # false for what is not finite, too
        return "labels.class", f"the class is {values[0]:g}, not a whole number"
    count = len(values) - 1
    if points is not None:
        with_points = 4 + len(points.names) * points.values
        if count in (4, with_points):
            return "", ""
        return "labels.columns", f"there are {count} numbers behind the class, but kpt_shape asks for {with_points}"
    if count == 4 or (count >= 6 and count % 2 == 0):
        return "", ""
    hint = "; is the last one the confidence of a prediction?" if count == 5 else ""
    asked = "a box has 4 and a polygon 6 or more in pairs"
    return "labels.columns", f"there are {count} numbers behind the class, {asked}{hint}"


class _Builder:
    """Builds the table from rows of numbers.

    Args:
        names: Name of each class id.
        points: Layout of the rows, if they have points.
        with_points: Whether the table has keypoints.
        fill: Whether a box is an outline too, as masks need one of every object.
    """

    def __init__(self, names: Mapping[int, str], points: PointRows | None, with_points: bool, fill: bool) -> None:
        self.label_files: list[bytes] = []
        self._fill = fill
        self._boxes = self._polygons = 0
        self._names = names
        self._points = points
        self._count = len(points.names) if points is not None and with_points else 0
        self._table = TableBuilder(list(names.values()), num_keypoints=self._count, outlines=True)

    def add_fault(self, error: FieldError) -> None:
        """Note a fault and go on."""
        self._table.add_fault(error.code, error.where, error.message)

    def add(self, image: str, label: str, image_root: Path, root: Path) -> None:
        """Add an image and the objects of its file of rows; both names are below their folders."""
        faults: list[FieldError] = []
        rows = _parse(root / label, self._points, faults)
        for error in faults:
            self.add_fault(error)
        try:
            size = upright_size(image_root / image)
        except DataError as error:
            if rows:  # without a size there are no boxes
                path = str(image_root / image)
                self._table.add_fault("image.unreadable", path, str(error).removeprefix(f"{path}: "))
                return
            size = 0, 0  # named when it is read
        self.label_files.append(label.encode())
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
            x1, y1, x2, y2 = box
            outline = ObjectOutline(rings=[[x1, y1, x2, y1, x2, y2, x1, y2]]) if self._fill else None
            points = self._keypoints(values[4:], size) if self._count else ()
            self._table.add_object(name, box, keypoints=points, outline=outline)
            self._boxes += 1

    def log_boxes(self, root: Path, split: str) -> None:
        """Log how many objects have their box for an outline."""
        if self._fill and self._boxes:
            say_once(
                f"{root}: {self._boxes} of the {self._boxes + self._polygons} objects of '{split}' are boxes without "
                "an outline; their masks are rectangles"
            )

    def build(self) -> AnnotationTable:
        """Table of everything added."""
        return self._table.build()

    def _add_polygon(self, name: str, ring: NDArray[np.float64]) -> None:
        box = [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]
        outline = ObjectOutline(rings=[ring.reshape(-1).tolist()])
        self._table.add_object(name, box, area=ring_area(ring), outline=outline)
        self._polygons += 1

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
