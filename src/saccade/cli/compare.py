"""``saccade compare``: is one model better than another, on the same images?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.api.options import CompareOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_json, print_line, print_rows

__all__ = ["CompareArguments", "run"]

_SHOWN = 10  # images in the table of the shell


@dataclass(kw_only=True)
class CompareArguments(CompareOptions):
    """Options of ``compare``, and how the differences are printed."""

    json: bool = False
    """Print the comparison as one JSON object instead of tables."""


def run(argv: Sequence[str]) -> int:
    """Parse, compare, print."""
    arguments = parse(CompareArguments, argv, "compare")
    from saccade import api

    comparison = api.compare(**options_of(arguments, CompareOptions))
    if arguments.json:
        print_json(comparison.to_json(), indent=2)
        return 0
    rows = [
        {"": one.figure, "first": one.first, "second": one.second, "difference": one.difference}
        | {"95 % from": one.low, "to": one.high}
        for one in comparison.figures
    ]
    first, second = comparison.models
    print_rows(rows, f"first: {first}, second: {second}, on {comparison.data}")
    images = [row for row in comparison.per_image if row["difference"]][:_SHOWN]
    shown = [{key: row[key] for key in ("first", "second", "difference")} for row in images]
    shown = [{"image": Path(row["path"]).name, **figures} for row, figures in zip(images, shown, strict=True)]
    print_rows(shown, f"{comparison.image_figure} of the images on which they differ most")
    if comparison.page is not None:
        print_line(f"page: {comparison.page}")
    print_line(comparison.verdict)
    return 0
