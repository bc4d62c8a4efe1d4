"""``saccade summary``: parameters, operations and shapes of a network."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.api.options import SummaryOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import printer

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, count, print."""
    arguments = parse(SummaryOptions, argv, "summary")
    from saccade import api

    result = api.summary(**options_of(arguments, SummaryOptions))
    printer().print(str(result), markup=False, soft_wrap=True)
    return 0
