"""``saccade evaluate``: the figures of a model on a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from saccade.cli._arguments import parse
from saccade.cli._console import print_mapping, print_rows, printer

__all__ = ["run"]


@dataclass
class EvaluateArguments:
    """Score a checkpoint or an exported model on a data set."""

    model: str
    """Checkpoint or exported file."""
    data: str | None = None
    """Name in the catalogue, or a path; that of the training run if not given, for a checkpoint in its run folder."""
    split: str | None = None
    """Part of the data; several are joined by "+". The run's held-out part if not given."""
    format: str | None = None
    """Reader; found by looking at the folder if not given."""
    task: str | None = None
    """Which truth to read, where the data has several; the model's own if not given."""
    batch_size: int = 16
    """Pictures at a time."""
    json: bool = False
    """Print the figures as one JSON object instead of tables."""


def run(argv: Sequence[str]) -> int:
    """Parse, evaluate, print."""
    arguments = parse(EvaluateArguments, argv, "evaluate")
    from saccade import api

    report = api.evaluate(
        arguments.model,
        arguments.data,
        split=arguments.split,
        format=arguments.format,
        task=arguments.task,
        batch_size=arguments.batch_size,
    )
    if arguments.json:
        values = {"primary": report.primary, "values": report.values, "per_class": report.per_class}
        printer().print_json(json.dumps(values, default=float))
        return 0
    print_mapping(report.values, arguments.model)
    print_rows(report.per_class, "by class")
    return 0
