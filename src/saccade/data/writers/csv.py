"""CSV: ``<split>.csv``, one row for each object (``detection``) or for each image (``classification``).

Columns are ``file,width,height,x1,y1,x2,y2,label`` or ``file,label``, ``iscrowd`` and ``area`` where an object needs
them, then one column for each attribute. Images are in ``<split>/``. An image without objects has a row with empty
cells. Numbers come back bit for bit. Polygons, masks and attributes that are lists or tables are dropped. The order of
the classes, which a table does not hold, is in ``saccade.yaml``, where :func:`saccade.data.open.open_dataset` finds it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.readers._xml_files import plain_value
from saccade.data.readers.csv import COLUMNS
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport, unique_names
from saccade.data.writers._images import write_images, write_options
from saccade.data.writers._objects import drop_points
from saccade.structures.files import write_text

__all__ = ["TASKS", "write"]

TASKS = ("detection", "classification")

_RESERVED = frozenset(alias for aliases in COLUMNS.values() for alias in aliases)


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    r"""Write one split as a table of objects or of labelled images.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits.
        split: Name of the split.
        images: ``copy``, ``link`` or ``none``.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, or the classes are not those of the splits written before.

    Example:
        >>> from saccade.data.open import open_raw
        >>> write_text("pets/train.csv", "file,label\nimages/a.jpg,cat\nimages/b.jpg,dog\n")
        >>> write(open_raw("pets", "train"), Path("out"), "train", "none", LossReport("csv", "csv"))
        >>> print(Path("out/train.csv").read_text())
        file,label
        a.jpg,cat
        b.jpg,dog
    """
    table, info = dataset.table, dataset.info
    written = write_images(dataset, folder / split, images, report, dict(enumerate(unique_names(dataset))))
    files = [written[index] if images == "none" else f"{split}/{written[index]}" for index in range(len(dataset))]
    options = {"format": "csv", "task": info.task, "class_names": list(info.class_names)}
    write_options(folder, options, report)
    with_boxes = info.task == "detection"
    more = _more_columns(table) if with_boxes else []
    attributes = _attribute_columns(table, report)
    head = ["file", *(["width", "height", "x1", "y1", "x2", "y2"] if with_boxes else []), "label", *more, *attributes]
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(head)
    for index, file in enumerate(files):
        height, width = table.sizes[index].tolist()
        size = [width or "", height or ""] if with_boxes else []
        objects = range(*table.objects(index).indices(len(table.labels)))
        for row in objects:
            name = table.class_name(int(table.labels[row]), info.class_names)
            cells: list[Any] = [file, *size, *(_box(table, row) if with_boxes else []), name]
            cells += [_special(table, row, column) for column in more]
            rows.writerow([*cells, *_attributes(table, row, attributes, report)])
        if not len(objects):
            rows.writerow([file, *size, *[""] * (len(head) - 1 - len(size))])
    write_text(folder / f"{split}.csv", stream.getvalue())
    _count(dataset, report)


def _more_columns(table: AnnotationTable) -> list[str]:
    """Columns that only some data sets need."""
    assert table.boxes is not None, "detection has boxes"
    with np.errstate(invalid="ignore", over="ignore"):
        sides = np.maximum(table.boxes[:, 2:] - table.boxes[:, :2], 0.0).prod(axis=1)
    other_area = (table.area != sides) & ~np.isnan(sides)
    return [name for name, needed in (("iscrowd", table.iscrowd.any()), ("area", other_area.any())) if needed]


def _special(table: AnnotationTable, row: int, column: str) -> int | str:
    return int(table.iscrowd[row]) if column == "iscrowd" else repr(float(table.area[row]))


def _box(table: AnnotationTable, row: int) -> list[str]:
    assert table.boxes is not None, "detection has boxes"
    values = table.boxes[row].tolist()
    return [str(int(value)) if value.is_integer() else repr(value) for value in values]


def _attribute_columns(table: AnnotationTable, report: LossReport) -> list[str]:
    """Names of the attributes that fit a column, in order of appearance."""
    names: dict[str, None] = {}
    for row in range(0 if table.attributes is None else len(table.attributes)):
        for name in table.attributes.get(row) if table.attributes is not None else ():
            if name.strip().lower().replace(" ", "_") in _RESERVED or name != name.strip() or not name:
                report.drop(f"attribute {name}", "the column of that name has another meaning")
            else:
                names[name] = None
    return list(names)


def _attributes(table: AnnotationTable, row: int, names: Sequence[str], report: LossReport) -> list[Any]:
    values: Mapping[str, Any] = {} if table.attributes is None else table.attributes.get(row)
    cells: list[Any] = []
    for name in names:
        value = values.get(name)
        cell: Any = int(value) if isinstance(value, bool) else value
        if name in values and (cell is None or isinstance(cell, dict | list) or cell == ""):
            report.drop(f"attribute {name}", "a cell holds one number or text")
            cell = None
        elif name in values and plain_value(str(cell)) != value:
            report.change(f"attribute {name}", "a table does not distinguish numbers from text")
        elif name in values:
            report.keep(f"attribute {name}")
        cells.append("" if cell is None else cell)
    return cells


def _count(dataset: TableDataset, report: LossReport) -> None:
    table = dataset.table
    report.keep("objects", len(table.labels))
    drop_points(dataset, report)
    if dataset.info.task == "detection":
        report.keep("boxes", len(table.labels))
        report.keep("crowds", int(table.iscrowd.sum()))
    if table.outlines is not None:
        report.drop("polygons", "a table has boxes only", len(table.outlines.holes) - int(table.outlines.holes.sum()))
        report.drop("holes", "a table has boxes only", int(table.outlines.holes.sum()))
        report.drop("masks", "a table has boxes only", int(table.outlines.has_runs().sum()))
    elif type(dataset).object_masks is not TableDataset.object_masks:
        report.drop("masks", "a table has boxes only", len(table.labels))
    for row in range(0 if table.image_attributes is None else len(table.image_attributes)):
        for name in table.image_attributes.get(row) if table.image_attributes is not None else ():
            report.drop(f"attribute of images: {name}", "a row is an object's")
