"""``saccade label``: predictions as labels to be corrected in an annotation tool; with an account of what was kept."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.api.options import LabelOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_line, print_rows

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, predict, write the labels, print the account; 1 if an image was left out."""
    arguments = parse(LabelOptions, argv, "label")
    from saccade import api

    report = api.label(**options_of(arguments, LabelOptions))
    print_rows(report.rows(), f"{report.source} to {report.target}")
    print_line(f"labels in {arguments.out}; uncertainty.csv has the scores by image")
    return 1 if any(kind == "images" for kind, _ in report.dropped) else 0
