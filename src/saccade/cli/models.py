"""``saccade models``: the list of networks."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.api.options import ModelsOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import count, print_rows

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, print the table."""
    arguments = parse(ModelsOptions, argv, "models")
    from saccade import api

    print_rows(
        {
            "name": row.name,
            "task": row.task,
            "parameters": count(row.parameters),
            "MACs": count(row.macs),
            "paper": row.paper,
            "published": ", ".join(row.published) or "-",
        }
        for row in api.models(**options_of(arguments, ModelsOptions))
    )
    return 0
