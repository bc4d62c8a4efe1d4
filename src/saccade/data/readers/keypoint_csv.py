"""Keypoints in a CSV table: the image's file name, then x0, y0, x1, y1, ... in pixels; one object a row.

``<split>*.csv`` belongs to the images in ``<split>/`` (``training_frames_keypoints.csv`` and ``training/``), in
``images/``, or beside it. A first row that names no image is a heading; if it reads ``nose_x, nose_y, ...`` it names
the points. Rows of the same image are its objects. An empty cell, or ``nan``, is an unlabelled point.
Coordinates are taken as they are.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.data.readers._collector import outside_error
from saccade.data.readers._common import UNSPLIT, check_task, choose, list_files, resolve_split, split_order, subfolders
from saccade.data.readers._faults import FieldError, noting
from saccade.data.readers._find_images import ImageFinder, usual_folders
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.reading import require_regular
from saccade.structures.text import printable

__all__ = ["matches", "read", "splits"]


def matches(root: Path) -> bool:
    """Whether a CSV file names an image in its first column and has pairs of columns after it."""
    return bool(_tables(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the folders that a CSV file is named after; ``all`` for a single table.

    Example:
        >>> for name in ("training", "test"):
        ...     Path(name).mkdir()
        ...     _ = Path(f"{name}_keypoints.csv").write_text("a.jpg,1,2,3,4")
        >>> splits(Path())
        ('training', 'test')
    """
    files = _files(root)
    return UNSPLIT if list(files) == ["all"] else tuple(files)


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    flip_pairs: Sequence[tuple[int, int]] = (),
) -> TableDataset:
    r"""Read one split of a CSV table of keypoints.

    Args:
        root: Data folder.
        split: ``train`` also finds ``training``.
        task: ``keypoints``.
        class_names: Names of the points; those of the heading, or ``point_0`` and so on, if not given.
        flip_pairs: Points that a mirror exchanges.

    Raises:
        DataError: If there is no table, or a row has another number of columns, no number, or a file outside ``root``.

    Example:
        >>> _ = Path("points.csv").write_text("file,eye_x,eye_y,nose_x,nose_y\na.jpg,10,5,12.5,\n")
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["keypoints"]
        (('eye', 'nose'), array([[[10., 5., 2.], [ 0., 0., 0.]]], dtype=float32))
    """
    check_task(task, ("keypoints",), "keypoint_csv")
    files = _files(root)
    if not files:
        raise DataError(f"{root}: there is no CSV file of keypoints. Put one there: file name, x0, y0, x1, y1, ...")
    whole = list(files) == ["all"]
    own = "all" if whole else resolve_split(split, files, root)
    source = files[own]
    rows = list(_rows(source))
    first = next((row for _, row in rows if _is_image(row[0])), None)
    if first is None:
        raise DataError(f"{source}: the table names no image. Write the file name in the first column.")
    num_points = (len(first) - 1) // 2
    if not num_points:
        raise DataError(f"{source}: there are no columns of points behind the image's name. Write x0, y0, x1, y1, ...")
    names = tuple(class_names) if class_names is not None else _point_names(source, num_points)
    if num_points != len(names):
        raise DataError(
            f"{source}: there are {num_points} points in a row, but {len(names)} names. Correct one of them."
        )
    builder = TableBuilder(["object"], num_points, boxes=False)
    images: dict[str, list[list[float]]] = {}

    def note(error: FieldError) -> None:
        builder.add_fault(error.code, error.where, error.message)

    for line, row in rows:
        with noting(note):
            where = f"{source}: line {line}"
            if not _is_image(row[0]):
                message = f"it begins with '{printable(row[0], limit=80)}', not an image's name. Correct or remove it."
                raise FieldError("labels.image", where, message)
            objects = images.setdefault(row[0], [])
            if len(row) != 1 + 2 * num_points:
                message = f"it has {len(row)} columns, not {1 + 2 * num_points}. Correct or remove it."
                raise FieldError("labels.columns", where, message)
            objects.append(_points(row[1:], where))
    chosen = list(images)
    if whole:
        chosen = [chosen[index] for index in choose(len(chosen), split, None, root)]
    folders = list(dict.fromkeys([f"{own}/", "images/", "", *usual_folders(own)]))
    for name, path in zip(chosen, ImageFinder(root, source, folders, own).find(chosen), strict=True):
        with noting(note):
            if path is None:
                raise outside_error(name, source, root)
            builder.add_image(path)
            for points in images[name]:
                builder.add_object("object", keypoints=points)
    info = DatasetInfo(root.name, "keypoints", names, split, flip_pairs=tuple((int(a), int(b)) for a, b in flip_pairs))
    table = builder.build()
    if not len(table):
        listed = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{source}: no row of it can be read.{listed}")
    return TableDataset(info, root, table, annotations=source.name.replace("{", "{{").replace("}", "}}"))


def _files(root: Path) -> dict[str, Path]:
    """Table of each split: the folder whose name begins the table's."""
    tables = _tables(root)
    found = {
        folder: file
        for folder in sorted(subfolders(root), key=split_order)
        for file in tables
        if file.stem == folder or file.stem.startswith((f"{folder}_", f"{folder}-", f"{folder}."))
    }
    return found or ({"all": tables[0]} if len(tables) == 1 else {file.stem: file for file in tables})


def _tables(root: Path) -> list[Path]:
    files = [root / name for name in list_files(root, [".csv"], recursive=False)]
    return [file for file in files if _looks_right(file)]


def _looks_right(file: Path) -> bool:
    try:
        row = next((row for _, row in itertools.islice(_rows(file), 2) if _is_image(row[0])), None)
    except DataError:
        return False
    return row is not None and len(row) >= 3 and len(row) % 2 == 1


def _point_names(file: Path, count: int) -> tuple[str, ...]:
    """Names out of a heading of ``name_x, name_y`` pairs; numbers without one."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        heading = next(csv.reader(stream), [])
    pairs = list(zip(heading[1::2], heading[2::2], strict=False))
    names = [x.removesuffix("_x") for x, y in pairs if x.endswith("_x") and y == f"{x[:-2]}_y"]
    if len(names) == count and len(set(names)) == count:
        return tuple(names)
    return tuple(f"point_{index}" for index in range(count))


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not empty, without the heading."""
    require_regular(file)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            for line, row in enumerate(csv.reader(stream), 1):
                if row and (line > 1 or _is_image(row[0])):
                    yield line, row
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file}: the table cannot be read ({error}). Save it as UTF-8 CSV.") from error


def _points(cells: Sequence[str], where: str) -> list[float]:
    """x, y, visibility of each point: 2, or three zeros where a coordinate is missing."""
    try:
        values = [float(cell) if cell.strip() else math.nan for cell in cells]
    except ValueError as error:
        message = f"it has a cell that is not a number ({printable(str(error), limit=200)}). Correct or remove it."
        raise FieldError("labels.number", where, message) from error
    points: list[float] = []
    for x, y in zip(values[::2], values[1::2], strict=True):
        points += (0.0, 0.0, 0.0) if math.isnan(x) or math.isnan(y) else (x, y, 2.0)
    return points
