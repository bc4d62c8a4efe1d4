"""Tables and progress, in one manner for every verb. Tables go to stdout, everything that moves goes to stderr.

Whatever is printed passes :func:`saccade.structures.text.printable`, so that no name of a file or a class moves the
cursor, colours the terminal or forges a line.
"""

from __future__ import annotations

import math
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saccade.structures.files import to_json
from saccade.structures.text import printable

__all__ = ["count", "print_json", "print_line", "print_mapping", "print_rows", "print_text", "printer", "show_value"]


def printer(stderr: bool = False) -> Console:
    """Where a verb prints; silent in all but the first process of a distributed run."""
    return Console(stderr=stderr, quiet=not _is_first(), highlight=False, emoji=False)


def print_line(text: str, stderr: bool = False) -> None:
    """Print one line as it is, whatever it quotes."""
    print_text(printable(text), stderr)


def print_text(text: str, stderr: bool = False) -> None:
    """Print lines of a report as they are, whatever they quote."""
    if _is_first():
        stream = sys.stderr if stderr else sys.stdout
        stream.write(printable(text, lines=True) + "\n")


def print_json(value: Any, indent: int | None = None) -> None:
    """Print a value as strict JSON, null for figures that are no number."""
    if _is_first():
        sys.stdout.write(to_json(value, indent) + "\n")


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _cell(text: str) -> str:
    return escape(printable(text))


def show_value(value: Any) -> str:
    """A figure as a person reads it: shares to four digits, a dash for what is undefined."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        if value != 0 and abs(value) < 1e-3:
            return f"{value:.2e}"
        return f"{value:.4f}" if abs(value) <= 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, (list, tuple)):
        return " x ".join(map(str, value))
    return str(value)


def count(number: float) -> str:
    """A large number in three digits and a letter: ``25.6 M``."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {letter}"
    return f"{number:g}"


def print_rows(
    rows: Iterable[Mapping[str, Any]], title: str | None = None, columns: Sequence[str] | None = None
) -> None:
    """A table whose columns are the keys of its rows; numbers are set to the right.

    Words stay whole. Where the longest of all columns do not fit beside each other, each row becomes a paragraph.
    """
    rows = list(rows)
    if not rows:
        return
    names = list(columns or dict.fromkeys(key for row in rows for key in row))
    cells = [[printable(show_value(row.get(name))) for name in names] for row in rows]
    console = printer()
    widths = _fit(names, cells, console.width)
    if widths is None:
        _print_paragraphs(console, names, cells, title)
        return
    table = Table(title=_cell(title) if title else None, title_justify="left", header_style="bold")
    for name, width in zip(names, widths, strict=True):
        numeric = all(isinstance(row.get(name), (int, float)) or row.get(name) is None for row in rows)
        table.add_column(_cell(name), justify="right" if numeric else "left", width=width)
    for row_cells in cells:
        table.add_row(*map(escape, row_cells))
    console.print(table)


def _fit(names: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Widths of columns that fit into the room without cutting a word; None if there are none."""
    columns = [[printable(name), *column] for name, column in zip(names, zip(*cells, strict=True), strict=True)]
    widths = [max(map(cell_len, column)) for column in columns]
    least = [max(cell_len(word) for text in column for word in text.split() or [""]) for column in columns]
    room -= 3 * len(names) + 1  # lines and spaces between columns
    while sum(widths) > room:
        slack, widest = max((width - low, index) for index, (width, low) in enumerate(zip(widths, least, strict=True)))
        if not slack:
            return None
        widths[widest] -= 1
    return widths


def _print_paragraphs(
    console: Console, names: Sequence[str], cells: Sequence[Sequence[str]], title: str | None
) -> None:
    """Each row as its first cell and, indented below it, the others with their names."""
    if title:
        console.print(_cell(title), style="italic")
    for first, *others in cells:
        console.print(f"[bold]{escape(first)}[/bold]", soft_wrap=True)
        pairs = [f"{printable(name)} {text}" for name, text in zip(names[1:], others, strict=True) if text != "-"]
        text = textwrap.fill(
            ", ".join(pairs),
            console.width,
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print(escape(text), soft_wrap=True)


def print_mapping(values: Mapping[str, Any], title: str | None = None) -> None:
    """A table of two columns."""
    if not values:
        return
    table = Table(title=_cell(title) if title else None, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in values.items():
        table.add_row(_cell(name), _cell(show_value(value)))
    printer().print(table)
