"""``saccade evaluate``: the figures of a model on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saccade.api.options import EvaluateOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_json, print_line, print_mapping, print_rows

__all__ = ["EvaluateArguments", "run"]


@dataclass(kw_only=True)
class EvaluateArguments(EvaluateOptions):
    """Options of ``evaluate``, and how the figures are printed."""

    json: bool = False
    """Print the figures as one JSON object instead of tables."""


def run(argv: Sequence[str]) -> int:
    """Parse, evaluate, print."""
    arguments = parse(EvaluateArguments, argv, "evaluate")
    from saccade import api

    report = api.evaluate(**options_of(arguments, EvaluateOptions))
    if arguments.json:
        values = {
            "primary": report.primary,
            "values": report.values,
            "per_class": report.per_class,
            "breakdown": report.breakdown,
            "notes": report.notes,
        }
        print_json(values, indent=2)
        return 0
    print_mapping(report.values, arguments.model or str(arguments.predictions))
    print_rows(report.per_class, "by class")
    print_rows(report.breakdown, "errors")
    for note in report.notes:
        print_line(f"note: {note}")
    return 0
