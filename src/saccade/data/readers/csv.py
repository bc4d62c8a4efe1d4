"""CSV tables of boxes or of classes, with a heading: one row an object, or one row an image.

*Columns* are recognised by the heading, in any order and letter case:

- the image: ``file``, ``filename``, ``file_name``, ``image``, ``image_path``, ``path``;
- its class or the object's: ``label``, ``class``, ``class_name``, ``category``;
- a box, in pixels: ``x1 y1 x2 y2``, ``xmin ymin xmax ymax`` (or with ``_``), ``left top right bottom``;
- if there are any: ``width`` and ``height`` of the image, ``split`` (``set``, ``subset``), ``iscrowd``, ``area``.

Further columns are attributes of the object, or of the image where it has no object; empty cells are skipped.
A table without a heading is read with ``columns``. Coordinates are taken as they are: continuous pixels. A row with an
empty box and no class is an image without objects.

*Splits* are the values of the split column, or tables (``train.csv``, ``val_labels.csv``). File names are relative to
the data folder, to a folder of the split's name, or to ``images/``; others are found as
:mod:`saccade.data.readers._find_images` describes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from saccade.data.readers._collector import AnnotationCollector
from saccade.data.readers._common import (
    UNSPLIT,
    check_class_count,
    check_task,
    choose,
    is_split_name,
    list_files,
    resolve_split,
    split_of_file,
)
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import ImageFinder, find_image_root, usual_folders
from saccade.data.readers._tables import cell_number, heading, is_yes, read_rows
from saccade.data.readers._xml_files import image_size, plain_value
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["COLUMNS", "matches", "read", "splits"]

COLUMNS: dict[str, tuple[str, ...]] = {
    "file": ("file", "filename", "file_name", "image", "image_name", "image_path", "img_path", "path"),
    "label": ("label", "class", "class_name", "classname", "category"),
    "x1": ("x1", "xmin", "x_min", "left"),
    "y1": ("y1", "ymin", "y_min", "top"),
    "x2": ("x2", "xmax", "x_max", "right"),
    "y2": ("y2", "ymax", "y_max", "bottom"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "split": ("split", "set", "subset"),
    "iscrowd": ("iscrowd",),
    "area": ("area",),
}
"""Names that a column may have in the heading, by what it holds."""

_BOX = ("x1", "y1", "x2", "y2")


def matches(root: Path) -> bool:
    """Whether a table's heading names a column of images and one of classes."""
    return bool(_files(root))


def splits(root: Path) -> tuple[str, ...]:
    r"""Values of the split column, names of the tables, or ``all``.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,split\na.jpg,cat,train\nb.jpg,dog,val")
        >>> splits(Path())
        ('train', 'val')
    """
    files = _files(root)
    if list(files) != ["all"]:
        return tuple(files) or UNSPLIT
    return tuple(_Table(files["all"]).splits()) or UNSPLIT


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    images: str | None = None,
) -> TableDataset:
    r"""Read one split of a CSV table of boxes or classes.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``detection`` or ``classification``; if not given, detection where there are columns of boxes.
        class_names: Names of labels 0..N-1; those of all rows and tables, sorted, if not given.
        columns: Names of the columns, for tables without a heading.
        images: Folder that file names are relative to, itself relative to ``root``.

    Raises:
        DataError: If a table, a column or a cell is missing or malformed, or a file name leads out of ``root``.

    Example:
        >>> _ = Path("boxes.csv").write_text("file,label,x1,y1,x2,y2\na.jpg,cat,10,5,30,35\na.jpg,dog,0,0,9,9")
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('cat', 'dog'), array([[10.,  5., 30., 35.], [ 0.,  0.,  9.,  9.]]))
    """
    files = _files(root, columns)
    if not files:
        raise DataError(f"{root}: there is no table whose heading names 'file' and 'label'. Add one, or give columns.")
    whole = list(files) == ["all"]
    own = "all" if whole else resolve_split(split, files, root)
    tables = {name: _Table(file, columns) for name, file in files.items()}
    table, image_root = tables[own], find_image_root(root, images)
    with_boxes = set(_BOX) <= set(table.columns)
    task = check_task(task or ("detection" if with_boxes else "classification"), ("detection", "classification"), "csv")
    if task == "detection" and not with_boxes:
        raise DataError(f"{table.path}: columns of a box are missing, such as x1, y1, x2, y2. Add them.")
    values = table.splits() if whole else []
    part = resolve_split(split, values, root) if values else None
    if class_names is None:
        class_names = sorted({name for each in tables.values() for name in each.classes()})
    check_class_count(len(class_names), table.path, "the column of classes")
    collector = table.collect(part, task)
    name = own if part is None else part
    folders = [""] if images else ["", *usual_folders(name)]
    collector.locate_images(ImageFinder(image_root, table.path, list(dict.fromkeys(folders)), name), table.path)
    result = collector.build(class_names, boxes=task == "detection")
    if not len(result):
        faults = "".join(f"\n  {fault}" for fault in result.faults[:5])
        raise DataError(f"{table.path}: no row of it can be read. Name another table or split.{faults}")
    if whole and part is None:
        result = result.select_images(choose(len(result), split, None, root))
    info = DatasetInfo(root.name, task, tuple(class_names), split)
    name = table.path.relative_to(root).as_posix().replace("{", "{{").replace("}", "}}")
    return TableDataset(info, root, result, name, image_root=image_root)


def _files(root: Path, columns: Sequence[str] | None = None) -> dict[str, Path]:
    """Table by split; ``all`` for a single one that is not named after a split."""
    files = (root / name for name in list_files(root, [".csv", ".tsv"], recursive=False))
    tables = [file for file in files if {"file", "label"} <= set(_columns(columns or heading(file)))]
    named = {split_of_file(file.stem): file for file in tables}
    if len(tables) == 1 and not any(map(is_split_name, named)):
        return {"all": tables[0]}
    return named if len(named) == len(tables) and "all" not in named else {file.stem: file for file in tables}


def _columns(head: Sequence[str]) -> dict[str, int]:
    """Index of each known column, by what it holds; the first of several."""
    names = [name.strip().lower().replace(" ", "_") for name in head]
    indices = {key: [names.index(alias) for alias in aliases if alias in names] for key, aliases in COLUMNS.items()}
    return {key: min(found) for key, found in indices.items() if found}


class _Table:
    """One CSV file.

    Args:
        path: File.
        names: Names of the columns, if the first row is not a heading.
    """

    def __init__(self, path: Path, names: Sequence[str] | None = None) -> None:
        self.path = path
        self._has_heading = names is None
        self._head = heading(path) if names is None else list(names)
        self.columns = _columns(self._head)
        known = set(self.columns.values())
        self._more = [(name, column) for column, name in enumerate(self._head) if column not in known and name]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of every row below the heading."""
        rows = read_rows(self.path)
        if self._has_heading:
            next(rows)
        yield from rows

    def classes(self) -> set[str]:
        """Names in the column of classes."""
        column = self.columns["label"]
        return {row[column] for _, row in self.rows() if len(row) == len(self._head) and row[column]}

    def splits(self) -> list[str]:
        """Values of the split column, in order of appearance."""
        if "split" not in self.columns:
            return []
        column = self.columns["split"]
        return [value for value in dict.fromkeys(row[column] for _, row in self.rows() if len(row) > column) if value]

    def collect(self, part: str | None, task: str) -> AnnotationCollector:
        """Images and objects of the rows whose split is ``part``, of all if None."""
        collector = AnnotationCollector(source=self.path)
        sizes: dict[int, tuple[int, int]] = {}
        for line, row in self.rows():
            column = self.columns.get("split")
            if part is not None and column is not None and len(row) > column and row[column] != part:
                continue
            try:
                self._add(collector, line, row, task, sizes)
            except FieldError as error:
                collector.add_fault(error)
        return collector

    def _add(
        self,
        collector: AnnotationCollector,
        line: int,
        row: Sequence[str],
        task: str,
        sizes: dict[int, tuple[int, int]],
    ) -> None:
        """Add the image of a row, if it is a new one, and its object; ``sizes`` are those of the images so far."""
        where = f"{self.path}: line {line}"
        if len(row) != len(self._head):
            message = f"it has {len(row)} cells, not {len(self._head)}. Correct it, or remove the line."
            raise FieldError("labels.columns", where, message)
        name, label = row[self.columns["file"]], row[self.columns["label"]]
        if not name:
            raise FieldError("labels.image", where, "the image's name is empty. Write it, or remove the line.")
        image = collector.find_image(name)
        if image is not None and task == "classification":
            raise FieldError("labels.repeated", where, f"{name} has a row already. Keep one of them.")
        if task == "classification" and not label:
            raise FieldError("labels.class", where, "the class is empty. Name it, or remove the line.")
        about = {name: plain_value(row[column]) for name, column in self._more if row[column]}
        negative = task == "detection" and not any(row[self.columns[side]] for side in _BOX)
        size = self._size(line, row)
        if image is None:
            image = collector.add_image(name, size, attributes=about if negative else None)
            sizes[image] = size
        elif sizes[image] != size:
            raise FieldError("labels.size", where, f"another row gives {name} another size. Correct one of them.")
        if negative and label:
            raise FieldError("labels.box", where, f"the class is '{label}', the box is empty. Fill or empty both.")
        if not negative:
            if not label:
                raise FieldError("labels.class", where, "the class is empty. Name it, or remove the line.")
            box = self._box(line, row) if task == "detection" else (0.0, 0.0, 0.0, 0.0)
            crowd = "iscrowd" in self.columns and is_yes(row[self.columns["iscrowd"]])
            given = "area" in self.columns and row[self.columns["area"]]
            area = cell_number(row, self.columns, "area", self.path, line) if given else math.nan
            collector.add_object(image, label, box, crowd, area, attributes=about)

    def _box(self, line: int, row: Sequence[str]) -> tuple[float, ...]:
        return tuple(cell_number(row, self.columns, name, self.path, line) for name in _BOX)

    def _size(self, line: int, row: Sequence[str]) -> tuple[int, int]:
        if not {"width", "height"} <= set(self.columns):
            return 0, 0
        height, width = row[self.columns["height"]], row[self.columns["width"]]
        return image_size(height, width, self.path, f"line {line}") if height or width else (0, 0)
