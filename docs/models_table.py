"""Count all networks and write the README's table of models: ``make docs``, or this file by itself."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- models: made by docs/models_table.py -->", "<!-- /models -->"


def table() -> str:
    """One table, grouped by task, then by paper; counts are those of the default arguments."""
    from saccade.analysis.counts import counts_of
    from saccade.models.registry import get_builder, list_models

    lines = ["| task | paper | models | parameters | multiply-adds |", "|---|---|---|---|---|"]
    entries = sorted((get_builder(name) for name in list_models()), key=lambda entry: (entry.task, entry.paper))
    for (task, paper), group in groupby(entries, key=lambda entry: (entry.task, entry.paper)):
        counted = sorted(((entry.name, counts_of(entry.name)) for entry in group), key=lambda pair: pair[1].params)
        names = ", ".join(f"`{name}`" for name, _ in counted)
        parameters = _span([counts.params for _, counts in counted])
        operations = _span([counts.macs for _, counts in counted])
        lines.append(f"| {task} | {paper} | {names} | {parameters} | {operations} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """The README with the present table between its marks."""
    head, rest = text.split(START)
    _, tail = rest.split(END)
    return f"{head}{START}\n{table()}\n{END}{tail}"


def write_counts() -> None:
    """Count every network anew."""
    from saccade.analysis.counts import COUNTS_FILE, kept_counts
    from saccade.analysis.summary import summary
    from saccade.models.registry import list_models

    counted = {name: summary(name) for name in list_models()}
    rows = [f' "{name}": [{result.params}, {result.macs}]' for name, result in counted.items()]
    COUNTS_FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    json.loads(COUNTS_FILE.read_text())
    kept_counts.cache_clear()


def _span(numbers: list[int]) -> str:
    from saccade.cli._console import count

    low, high = count(min(numbers)), count(max(numbers))
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    write_counts()
    README.write_text(updated(README.read_text()))
    sys.stdout.write(f"{README}: table is current\n")
