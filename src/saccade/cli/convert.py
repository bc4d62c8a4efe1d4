"""``saccade convert``: a data set in another format, with an account of what was kept and what was lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.api.options import ConvertOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import print_rows, printer

__all__ = ["ConvertArguments", "run"]


@dataclass(kw_only=True)
class ConvertArguments(ConvertOptions):
    """Options of ``convert``, and where the account is written."""

    json: Path | None = None
    """Write the account to this file as well."""


def run(argv: Sequence[str]) -> int:
    """Parse, convert, print the account."""
    arguments = parse(ConvertArguments, argv, "convert")
    from saccade import api

    report = api.convert(**options_of(arguments, ConvertOptions))
    print_rows(report.rows(), f"{report.source} to {report.target}")
    printer().print(
        f"nothing was lost; written to {arguments.out}" if report.lossless else f"written to {arguments.out}"
    )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
    return 0
