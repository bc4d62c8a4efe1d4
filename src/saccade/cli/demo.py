"""``saccade demo``: from nothing to a trained, evaluated, drawn and exported detector."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.api.options import DemoOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_line

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, run the demonstration, print where the report is."""
    arguments = parse(DemoOptions, argv, "demo")
    from saccade import api

    path = api.demo(**options_of(arguments, DemoOptions))
    print_line(f"done; open {path}")
    return 0
