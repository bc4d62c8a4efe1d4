"""Write the README's table of models from the registry: ``python docs/models_table.py`` (``make docs`` does it)."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- models: made by docs/models_table.py -->", "<!-- /models -->"


def table() -> str:
    """One table, grouped by task, then by paper; counts are those of the default arguments."""
    from saccade.explain.summary import summary
    from saccade.models.registry import get_builder, list_models

    lines = ["| task | paper | models | parameters | multiply-adds |", "|---|---|---|---|---|"]
    entries = sorted((get_builder(name) for name in list_models()), key=lambda entry: (entry.task, entry.paper))
    for (task, paper), group in groupby(entries, key=lambda entry: (entry.task, entry.paper)):
        counted = sorted(((entry.name, summary(entry.name)) for entry in group), key=lambda pair: pair[1].params)
        names = ", ".join(f"`{name}`" for name, _ in counted)
        parameters = _span([result.params for _, result in counted])
        operations = _span([result.macs for _, result in counted])
        lines.append(f"| {task} | {paper} | {names} | {parameters} | {operations} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """The README with the present table between its marks."""
    head, rest = text.split(START)
    _, tail = rest.split(END)
    return f"{head}{START}\n{table()}\n{END}{tail}"


def _span(numbers: list[int]) -> str:
    from saccade.cli._console import count

    low, high = count(min(numbers)), count(max(numbers))
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
    sys.stdout.write(f"{README}: table is current\n")
