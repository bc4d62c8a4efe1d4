"""``saccade export``: a model as a file for another runtime, and the proof that it gives the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from saccade.api.options import ExportOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_line, print_mapping, print_rows

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, export, print what was written and how close it is; 1 if it is not close enough."""
    arguments = parse(ExportOptions, argv, "export")
    from saccade import api

    result = api.export(**options_of(arguments, ExportOptions))
    if result.parity is not None:
        print_mapping(asdict(result.parity), "parity with the model")
    if result.int8 is not None:
        print_line(str(result.int8))
    changes = result.metric_change
    rows = [{"figure": name, "model": a, "file": b, "change": changes[name]} for name, (a, b) in result.metrics.items()]
    print_rows(rows, "figures (the file keeps its own)")
    print_line(f"written: {result.path}")
    return 0 if result.parity is None or result.parity.passed else 1
