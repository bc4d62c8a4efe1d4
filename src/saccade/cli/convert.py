"""``saccade convert``: a data set in another format, or a checkpoint of a file of weights; with an account of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.api.options import ConvertOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_rows, print_text, printer
from saccade.cli.train import take_model_arguments

__all__ = ["ConvertArguments", "run"]


@dataclass(kw_only=True)
class ConvertArguments(ConvertOptions):
    """Options of ``convert``, and where the account is written."""

    json: Path | None = None
    """Write the account to this file as well."""


def run(argv: Sequence[str]) -> int:
    """Parse, convert, print the account."""
    words, model_arguments = take_model_arguments(argv)
    arguments = parse(ConvertArguments, words, "convert")
    from saccade import api
    from saccade.models.foreign_checkpoint import ConvertedWeights

    options = {**options_of(arguments, ConvertOptions), "model_args": model_arguments or None}
    report = api.convert(**options)
    if isinstance(report, ConvertedWeights):
        print_text(str(report))
    else:
        print_rows(report.rows(), f"{report.source} to {report.target}")
        printer().print(
            f"nothing was lost; written to {arguments.out}" if report.lossless else f"written to {arguments.out}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
    return 0
