"""``saccade datasets``: the catalogue, what a data set holds, and its download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from saccade.api.options import DatasetsOptions
from saccade.cli._arguments import options_of, parse
from saccade.cli._console import count, print_json, print_line, print_mapping, print_rows

if TYPE_CHECKING:
    from saccade.data.check.describe import DatasetDescription

__all__ = ["DatasetsArguments", "run"]

_LISTED = 40  # classes in a table


@dataclass(kw_only=True)
class DatasetsArguments(DatasetsOptions):
    """Options of ``datasets``, and how it is printed."""

    json: bool = False
    """Print what it holds as JSON."""


def run(argv: Sequence[str]) -> int:
    """Parse, download if asked to, print the catalogue or what a data set holds."""
    arguments = parse(DatasetsArguments, argv, "datasets")
    from saccade import api

    found = api.datasets(**options_of(arguments, DatasetsOptions))
    if isinstance(found, list):
        rows = [asdict(row) for row in found]
        if arguments.json:
            print_json(rows, indent=2)
        else:
            print_rows(rows)
        return 0
    if arguments.download:
        print_line(f"{arguments.data} is at {found.folder}", stderr=True)
    if arguments.json:
        print_json(found.to_json(), indent=2)
    else:
        _show(found)
    return 0


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
        if description.folder is not None:
            remedy = f"SACCADE_DATA={description.folder.parent} makes it known by its name"
        elif size is not None:
            remedy = f"not on this machine: saccade datasets {description.name} --download"
        else:
            remedy = f"not on this machine: get it from {description.url}"
        print_line(remedy)
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
