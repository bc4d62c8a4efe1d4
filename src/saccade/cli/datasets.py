"""``saccade datasets``: the catalogue, what a data set holds, and its download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from saccade.cli._arguments import parse
from saccade.cli._console import count, print_mapping, print_rows, printer
from saccade.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from saccade.data.check.describe import DatasetDescription

__all__ = ["run"]

_LISTED = 40  # classes in a table


@dataclass
class DatasetsArguments:
    """List the data sets of the catalogue, or say what one holds; SACCADE_DATA names the folder that holds them."""

    name: tyro.conf.Positional[str | None] = None
    """Of the catalogue, or a path; all are listed if not given."""
    task: str | None = None
    """List only those for this task."""
    download: bool = False
    """Bring it to this machine first."""
    folder: Path | None = None
    """Where a download makes its folder; the cache if not given."""
    json: bool = False
    """Print what it holds as JSON."""


def run(argv: Sequence[str]) -> int:
    """Parse, then list, or download and inspect."""
    arguments = parse(DatasetsArguments, argv, "datasets")
    if arguments.name is None:
        if arguments.download:
            raise ConfigError("--download needs the name of a data set: 'saccade datasets NAME --download'.")
        return _list(arguments.task)
    if arguments.download:
        folder = _download(arguments.name, arguments.folder)
        printer(stderr=True).print(f"{arguments.name} is at {folder}")
        if arguments.folder is not None:
            return 0
    from saccade import api

    description = api.describe(arguments.name)
    if arguments.json:
        printer().print_json(json.dumps(description.to_json()))
    else:
        _show(description)
    return 0


def _list(task: str | None) -> int:
    from saccade import api

    entries = [entry for entry in api.datasets() if task in (None, entry["task"])]
    if not entries and task is not None:
        tasks = {entry["task"] for entry in api.datasets()}
        raise ConfigError(f"no data set for task '{task}'.{did_you_mean(task, tasks)}")
    print_rows(entries)
    return 0


def _download(name: str, folder: Path | None) -> Path:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from saccade import api

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=printer(stderr=True), transient=True) as bar:
        row = bar.add_task(name, total=None)
        return api.fetch(name, folder, lambda done, total: bar.update(row, completed=done, total=total))


def _show(description: DatasetDescription) -> None:
    size = description.download_size
    facts = {
        "task": description.task,
        "format": description.format,
        "licence": description.licence or None,
        "source": description.url,
        "folder": None if description.folder is None else str(description.folder),
        "download": None if size is None else f"{count(size)}B",
        "about": description.description or None,
    }
    print_mapping({name: value for name, value in facts.items() if value is not None}, description.name)
    if not description.splits:
        command = f"saccade datasets {description.name} --download"
        printer().print(f"not on this machine: {command if size is not None else f'get it from {description.url}'}")
        return
    rows = [{"split": part.split, "images": part.images, "objects": part.objects} for part in description.splits]
    print_rows(rows, "splits")
    names = list(dict.fromkeys(name for part in description.splits for name in part.class_counts))
    classes = [
        {"class": name, **{part.split: part.class_counts.get(name, 0) for part in description.splits}}
        for name in names[:_LISTED]
    ]
    hidden = f", {_LISTED} of {len(names)} (--json lists all)" if len(names) > _LISTED else ""
    print_rows(classes, f"classes{hidden}")
