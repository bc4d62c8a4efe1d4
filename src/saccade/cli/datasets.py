"""``saccade datasets``: the catalogue, and what of it is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.cli._arguments import parse
from saccade.cli._console import print_rows
from saccade.errors import SaccadeError

__all__ = ["run"]


@dataclass
class DatasetsArguments:
    """List the data sets of the catalogue; SACCADE_DATA names the folder that holds them."""

    task: str | None = None
    """Only those for this task."""


def run(argv: Sequence[str]) -> int:
    """Parse, print the table."""
    arguments = parse(DatasetsArguments, argv, "datasets")
    from saccade.data.catalogue import CATALOGUE

    rows = [
        {
            "data set": entry.name,
            "task": entry.task,
            "splits": ", ".join(entry.splits),
            "licence": entry.licence,
            "here": _present(entry.name),
            "what it is": entry.description,
        }
        for entry in CATALOGUE.values()
        if arguments.task in (None, entry.task)
    ]
    print_rows(rows)
    return 0


def _present(name: str) -> str:
    from saccade.data.catalogue import locate

    try:
        return "yes" if Path(locate(name)).exists() else "no"
    except SaccadeError:
        return "no"
