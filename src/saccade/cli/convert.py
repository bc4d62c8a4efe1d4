"""``saccade convert``: a data set in another format, or a checkpoint of a file of weights; with an account of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saccade.api.options import ConvertOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_json, print_line, print_rows, print_text
from saccade.cli.train import take_model_arguments

__all__ = ["ConvertArguments", "run"]


@dataclass(kw_only=True)
class ConvertArguments(ConvertOptions):
    """Options of ``convert``, and how the account is printed."""

    json: bool = False
    """Print the account as one JSON object instead of text."""


def run(argv: Sequence[str]) -> int:
    """Parse, convert, print the account."""
    words, model_arguments = take_model_arguments(argv)
    arguments = parse(ConvertArguments, words, "convert")
    from saccade import api
    from saccade.models.foreign_checkpoint import ConvertedWeights

    options = {**options_of(arguments, ConvertOptions), "model_args": model_arguments or None}
    report = api.convert(**options)
    if arguments.json:
        print_json(report.to_json(), indent=1)
    elif isinstance(report, ConvertedWeights):
        print_text(str(report))
    else:
        print_rows(report.rows(), f"{report.source} to {report.target}")
        print_line(f"{'nothing was lost; ' if report.lossless else ''}written to {arguments.out}")
    return 0
