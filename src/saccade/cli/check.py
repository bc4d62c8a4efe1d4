"""``saccade check``: what is wrong with a data set, before a training finds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from saccade.cli._arguments import parse
from saccade.cli._console import print_mapping, print_rows, printer

__all__ = ["run"]


@dataclass
class CheckArguments:
    """List the faults of a data set: file, field, problem, remedy. The exit code is 1 if training would refuse it."""

    data: tyro.conf.Positional[str]
    """Name in the catalogue, or a path."""
    split: str = "train"
    """Part of the data; several are joined by "+"."""
    format: str | None = None
    """Reader; found by looking at the folder if not given."""
    task: str | None = None
    """Which truth to read, where the data has several."""
    limit: int = 50
    """Issues to print; all are counted."""


def run(argv: Sequence[str]) -> int:
    """Parse, check, print the issues."""
    arguments = parse(CheckArguments, argv, "check")
    from saccade import api

    report = api.check(arguments.data, split=arguments.split, format=arguments.format, task=arguments.task)
    print_mapping(report.counts, f"{arguments.data} ({arguments.split})")
    columns = ("severity", "file", "field", "problem", "remedy")
    rows = [{name: str(getattr(issue, name)) for name in columns} for issue in report.issues]
    print_rows(rows[: arguments.limit], "issues")
    errors = sum(row["severity"] == "error" for row in rows)
    hidden = f", {len(rows) - arguments.limit} not shown (--limit)" if len(rows) > arguments.limit else ""
    printer().print(f"{errors} errors, {len(rows) - errors} warnings{hidden}" if rows else "no faults found")
    return 1 if errors else 0
