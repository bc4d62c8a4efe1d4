"""``saccade datasets``: the catalogue, and what of it is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saccade.cli._arguments import parse
from saccade.cli._console import print_rows
from saccade.errors import ConfigError, did_you_mean

__all__ = ["run"]


@dataclass
class DatasetsArguments:
    """List the data sets of the catalogue; SACCADE_DATA names the folder that holds them."""

    task: str | None = None
    """Only those for this task."""


def run(argv: Sequence[str]) -> int:
    """Parse, print the table."""
    arguments = parse(DatasetsArguments, argv, "datasets")
    from saccade import api

    entries = [entry for entry in api.datasets() if arguments.task in (None, entry["task"])]
    if not entries and arguments.task is not None:
        tasks = {entry["task"] for entry in api.datasets()}
        raise ConfigError(f"no data set for task '{arguments.task}'.{did_you_mean(arguments.task, tasks)}")
    print_rows(entries)
    return 0
