"""``saccade models``: the list of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saccade.cli._arguments import parse
from saccade.cli._console import count, print_rows

__all__ = ["run"]


@dataclass
class ModelsArguments:
    """List the networks."""

    task: str | None = None
    """Only those that solve this task."""
    counts: bool = False
    """Also count parameters and multiply-adds (no weights are allocated)."""


def run(argv: Sequence[str]) -> int:
    """Parse, print the table."""
    arguments = parse(ModelsArguments, argv, "models")
    from saccade import api
    from saccade.models.registry import get_builder

    rows: list[dict[str, Any]] = []
    for name in api.list_models(arguments.task):
        entry = get_builder(name)
        row = {"model": name, "task": entry.task}
        if arguments.counts:
            summary = api.summary(name)
            row |= {"parameters": count(summary.params), "MACs": count(summary.macs)}
        rows.append(row | {"paper": entry.paper})
    print_rows(rows)
    return 0
