"""``saccade check``: what is wrong with a data set, or between it and a network, before a training finds out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from saccade.cli._arguments import parse
from saccade.cli._console import printer
from saccade.errors import ConfigError

__all__ = ["run"]


@dataclass
class CheckArguments:
    """List the faults of a data set: file, field, problem, remedy. The exit code is 1 if training would refuse it.

    With --model, hold a network against the data instead: does the ground truth itself get the best score, has every
    object a place in the network, are four images learnt by heart, and what would make the score 0.
    """

    source: tyro.conf.Positional[str] = ""
    """Name in the catalogue, or a path."""
    data: str | None = None
    """The same, as an option."""
    split: str | None = None
    """Part of the data; several are joined by "+". All if not given; with --model the one for training."""
    format: str | None = None
    """Reader; found by looking at the folder if not given."""
    task: str | None = None
    """Which ground truth to read, where the data has several."""
    images: bool = True
    """Decode every image: finds broken files, wrong sizes and copies."""
    limit: int = 5
    """Faults to print of each kind; all are counted."""
    json: Path | None = None
    """Write everything that was found to this file."""
    html: Path | None = None
    """Write a page with images of the faults to this file."""
    fix: Path | None = None
    """Write a mended copy of the data to this folder, and a list of what was changed."""
    model: str | None = None
    """Network or checkpoint to hold against the data."""
    steps: int = 100
    """Steps in which four images are learnt by heart, with --model; 0 leaves it out."""


def run(argv: Sequence[str]) -> int:
    """Parse, check, print the faults."""
    arguments = parse(CheckArguments, argv, "check")
    if bool(arguments.source) == (arguments.data is not None):
        raise ConfigError("name the data once: 'saccade check DATA' or 'saccade check --data DATA'.")
    data = arguments.source or arguments.data
    assert data, "one of the two was given"
    if arguments.model is not None:
        return _run_model(arguments, arguments.model, data)
    from saccade import api

    where = {"split": arguments.split, "format": arguments.format, "task": arguments.task}
    report = api.check(data, **where, images=arguments.images)
    _say(report.to_text(arguments.limit))
    if arguments.json is not None:
        _write_json(arguments.json, report.to_json())
    if arguments.html is not None:
        from saccade.data.check.page import write_page

        _say(f"page: {write_page(report, arguments.html)}")
    if arguments.fix is not None:
        repair = api.repair(data, arguments.fix, **where)
        done = ", ".join(f"{reason}: {count}" for reason, count in repair.counts.items()) or "nothing"
        _say(f"mended copy in {repair.out} ({repair.format}); changed: {done}")
    return 0 if report.ok else 1


def _run_model(arguments: CheckArguments, model: str, data: str) -> int:
    """The other check: a network against the data."""
    for name in ("html", "fix"):
        if getattr(arguments, name) is not None:
            raise ConfigError(f"--{name} belongs to the check of the data alone. Leave --model out.")
    from saccade import api

    if arguments.steps:
        printer(stderr=True).print(f"four images are learnt in {arguments.steps} steps; this may take a minute")
    report = api.check_model(
        model,
        data,
        split=arguments.split,
        format=arguments.format,
        task=arguments.task,
        steps=arguments.steps,
    )
    _say(report.to_text())
    if arguments.json is not None:
        _write_json(arguments.json, report.to_json())
    return 0 if report.ok else 1


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    """As it is: file names are neither wrapped nor taken for markup."""
    printer().print(text, markup=False, emoji=False, soft_wrap=True)
