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
    """List the networks: parameters and multiply-adds at the network's own canvas, paper, published weights."""

    task: str | None = None
    """Only those that solve this task."""


def run(argv: Sequence[str]) -> int:
    """Parse, print the table."""
    arguments = parse(ModelsArguments, argv, "models")
    from saccade import api
    from saccade.analysis.counts import counts_of
    from saccade.models.registry import get_builder
    from saccade.weights import PUBLISHED

    rows: list[dict[str, Any]] = []
    for name in api.list_models(arguments.task):
        entry, counts = get_builder(name), counts_of(name)
        row = {"model": name} if arguments.task else {"model": name, "task": entry.task}
        figures = {"parameters": count(counts.params), "MACs": count(counts.macs)}
        published = ", ".join(one.name for one in PUBLISHED.values() if one.builder == name)
        rows.append(row | figures | {"paper": entry.paper, "published": published or "-"})
    print_rows(rows)
    return 0
