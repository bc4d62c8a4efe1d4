"""``saccade check``: what is wrong with a data set, or between it and a model, before a training finds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.api.options import CheckOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_json, print_line, print_text
from saccade.errors import ConfigError

__all__ = ["CheckArguments", "run"]


@dataclass(kw_only=True)
class CheckArguments(CheckOptions):
    """Options of ``check``, and what is done with the faults."""

    limit: int = 5
    """Faults to print of each kind; all are counted."""
    json: bool = False
    """Print everything that was found as one JSON object instead of text."""
    html: Path | None = None
    """Write a page with images of the faults to this file."""
    repair: Path | None = None
    """Write a repaired copy of the data to this folder, and a list of what was changed (saccade.repair)."""


def run(argv: Sequence[str]) -> int:
    """Parse, check, print the faults."""
    arguments = parse(CheckArguments, argv, "check")
    if arguments.model is not None:
        for name in ("html", "repair"):
            if getattr(arguments, name) is not None:
                raise ConfigError(f"--{name} belongs to the check of the data alone. Leave --model out.")
    from saccade import api

    report = api.check(**options_of(arguments, CheckOptions))
    if arguments.json:
        print_json(report.to_json(), indent=1)
    else:
        print_text(report.to_text() if arguments.model is not None else report.to_text(arguments.limit))
    if arguments.model is not None:
        return 0 if report.ok else 1
    if arguments.html is not None:
        from saccade.data.check.page import write_page

        print_line(f"page: {write_page(report, arguments.html)}", stderr=arguments.json)
    if arguments.repair is not None:
        repaired = api.repair(
            arguments.data, arguments.repair, arguments.split, format=arguments.format, task=arguments.task
        )
        done = ", ".join(f"{reason}: {count}" for reason, count in repaired.counts.items()) or "nothing"
        print_line(f"repaired copy in {repaired.out} ({repaired.format}); changed: {done}", stderr=arguments.json)
    return 0 if report.ok else 1
