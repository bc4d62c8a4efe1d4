"""``saccade convert``: a data set in another format, with an account of what was kept and what was lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from saccade.cli._arguments import parse
from saccade.cli._console import print_rows, printer

__all__ = ["run"]


@dataclass
class ConvertArguments:
    """Write a data set in another format. What it cannot hold is counted by kind; nothing is lost in silence."""

    data: tyro.conf.Positional[str]
    """Name in the catalogue, a folder, or a zip of images."""
    to: str
    """Format to write: coco, voc, yolo, labelme, csv, masks, folder, keypoint_csv."""
    out: Path
    """Folder to write; it must be empty or not exist."""
    source_format: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Format to read; found by looking if not given."""
    split: str | None = None
    """Parts, joined by "+"; all that there are if not given."""
    task: str | None = None
    """Which ground truth to read, where the source has several."""
    image_files: Literal["copy", "link", "none"] = "copy"
    """Copy the images, link them (hard links), or write annotations only."""
    images: str | None = None
    """Folder of the source's images, if they do not lie where the format has them; relative to the data folder."""
    json: Path | None = None
    """Write the account to this file as well."""


def run(argv: Sequence[str]) -> int:
    """Parse, convert, print the account."""
    arguments = parse(ConvertArguments, argv, "convert")
    from saccade import api

    options = {} if arguments.images is None else {"images": arguments.images}
    report = api.convert(
        arguments.data,
        arguments.out,
        arguments.to,
        format=arguments.source_format,
        splits=arguments.split,
        task=arguments.task,
        image_files=arguments.image_files,
        **options,
    )
    print_rows(report.rows(), f"{report.source} to {report.target}")
    printer().print(
        f"nothing was lost; written to {arguments.out}" if report.lossless else f"written to {arguments.out}"
    )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
    return 0
