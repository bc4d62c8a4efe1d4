"""Keypoints in a CSV table: the image's file name, then x0, y0, x1, y1, ... in pixels; one object a row.

``<split>*.csv`` belongs to the images in ``<split>/`` (``training_frames_keypoints.csv`` and ``training/``), in
``images/``, or beside it. A first row that names no image is a heading; if it reads ``nose_x, nose_y, ...`` it names
the points. Rows of the same image are its objects. An empty cell, or ``nan``, is an unlabelled point.
Coordinates are taken as they are.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.data.readers import archive
from saccade.data.readers._common import (
    UNSPLIT,
    check_name,
    check_task,
    choose,
    resolve_split,
    split_order,
    subfolders,
)
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["matches", "read", "splits"]


def matches(root: Path) -> bool:
    """Whether a CSV file names an image in its first column and has pairs of columns after it."""
    return bool(_tables(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the folders that a CSV file is named after; ``all``, ``train``, ``val`` for a single table.

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
    if not rows:
        raise DataError(f"{source}: the table names no image. Write the file name in the first column.")
    images: dict[str, list[tuple[int, list[str]]]] = {}
    for line, row in rows:
        images.setdefault(row[0], []).append((line, row))
    chosen = list(images)
    if whole:
        chosen = [chosen[index] for index in choose(len(chosen), split, None, root)]
    num_points = (len(rows[0][1]) - 1) // 2
    names = tuple(class_names) if class_names is not None else _point_names(source, num_points)
    builder = TableBuilder(["object"], num_points, boxes=False)
    folder = _folder(root, own, rows[0][1][0])
    for name in chosen:
        builder.add_image(folder + check_name(name, source, f"line {images[name][0][0]}, column 1"))
        for line, row in images[name]:
            if len(row) != 1 + 2 * num_points or num_points != len(names):
                raise DataError(
                    f"{source}: line {line} has {len(row)} columns, not {1 + 2 * len(names)}. Correct or remove it."
                )
            builder.add_object("object", keypoints=_points(row[1:], source, line))
    info = DatasetInfo(root.name, "keypoints", names, split, flip_pairs=tuple((int(a), int(b)) for a, b in flip_pairs))
    return TableDataset(info, root, builder.build(), annotations=source.name)


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
    return [file for file in sorted(root.glob("*.csv")) if file.is_file() and _looks_right(file)]


def _looks_right(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        row = next((row for _, row in _rows(file)), None)
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


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row whose first cell is an image's name."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            for line, row in enumerate(csv.reader(stream), 1):
                if row and Path(row[0]).suffix.lower() in IMAGE_SUFFIXES:
                    yield line, row
                elif row and line > 1:
                    raise DataError(
                        f"{file}: line {line} begins with '{row[0][:80]}', not an image's name. Correct it."
                    )
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file}: the table cannot be read ({error}). Save it as UTF-8 CSV.") from error


def _folder(root: Path, split: str, name: str) -> str:
    """Folder of the first image below ``root``, with a slash at its end; the split's if it is not found."""
    tree = archive.FolderTree(root)
    return next((folder for folder in (f"{split}/", "images/", "") if tree.contains(folder + name)), f"{split}/")


def _points(cells: Sequence[str], source: Path, line: int) -> list[float]:
    """x, y, visibility of each point: 2, or three zeros where a coordinate is missing."""
    try:
        values = [float(cell) if cell.strip() else math.nan for cell in cells]
    except ValueError as error:
        raise DataError(
            f"{source}: line {line} has a cell that is not a number ({str(error)[:200]}). Correct or remove it."
        ) from error
    points: list[float] = []
    for x, y in zip(values[::2], values[1::2], strict=True):
        points += (0.0, 0.0, 0.0) if math.isnan(x) or math.isnan(y) else (x, y, 2.0)
    return points
