"""Shared parts of the readers of CSV tables: rows, heading, and the values of cells."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from saccade.data.readers._faults import FieldError
from saccade.errors import DataError
from saccade.structures.reading import require_regular
from saccade.structures.text import printable

__all__ = ["cell_number", "heading", "is_yes", "read_rows"]

_DELIMITERS = ",;\t"


def heading(path: Path) -> list[str]:
    r"""Cells of the first row; empty if the file cannot be read.

    Example:
        >>> _ = Path("boxes.csv").write_text("file;label\na.jpg;cat")
        >>> heading(Path("boxes.csv"))
        ['file', 'label']
    """
    if not path.is_file():
        return []
    try:
        return next((row for _, row in read_rows(path)), [])
    except DataError:
        return []


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    r"""Line number and stripped cells of every row that is not empty.

    Cells are separated by comma, semicolon or tab, whichever the first line has most of.

    Raises:
        DataError: If the file cannot be read as a table.

    Example:
        >>> _ = Path("boxes.csv").write_text("file; label\n\na.jpg; cat")
        >>> list(read_rows(Path("boxes.csv")))
        [(1, ['file', 'label']), (3, ['a.jpg', 'cat'])]
    """
    require_regular(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            delimiter = max(_DELIMITERS, key=first.count)
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, [cell.strip() for cell in row]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the table cannot be read ({error}). Save it as UTF-8 CSV.") from error


def cell_number(row: Sequence[str], columns: Mapping[str, int], name: str, path: Path, line: int) -> float:
    """Number in a cell, with a decimal point or comma.

    Raises:
        FieldError: If the cell is not a number.

    Example:
        >>> cell_number(["a.jpg", "12,5"], {"file": 0, "x1": 1}, "x1", Path("boxes.csv"), line=2)
        12.5
    """
    text = row[columns[name]]
    try:
        return float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        message = f"{name} is '{printable(text, limit=80)}', not a number. Correct it, or remove the line."
        raise FieldError("labels.number", f"{path}: line {line}", message) from None


def is_yes(text: str) -> bool:
    """Whether a cell is ``1`` or ``true``.

    Example:
        >>> is_yes("True"), is_yes("0")
        (True, False)
    """
    return text.lower() in ("1", "1.0", "true")
