"""``saccade summary``: parameters, operations and shapes of a network."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.api.options import SummaryOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_text

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, count, print."""
    arguments = parse(SummaryOptions, argv, "summary")
    from saccade import api

    result = api.summary(**options_of(arguments, SummaryOptions))
    print_text(str(result))
    return 0
