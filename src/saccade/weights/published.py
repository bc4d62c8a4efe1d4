"""Published checkpoints that Saccade's models load.

Where they are, how they are verified, under which licence they stand, what their authors measured. Claimed metrics are
the publisher's, on the data set and split named in the key; what Saccade measures itself stands in its benchmarks.
torchvision puts the first eight digits of the sha256 into the file name, and publishes no more; the YOLOX release
publishes no hash at all. A file without a full hash is recorded when it is first downloaded and compared with that
record from then on.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from pathlib import Path
from typing import Any

from saccade.errors import WeightsError, did_you_mean
from saccade.structures.files import write_text
from saccade.structures.folders import cache_root
from saccade.weights import tables
from saccade.weights.download import download, sha256_of
from saccade.weights.entry import PublishedWeights

__all__ = ["PUBLISHED", "cache_folder", "fetch_published", "find_published", "published_arguments", "published_names"]

logger = logging.getLogger("saccade")


def _gather() -> dict[str, PublishedWeights]:
    """The rows of all tables, by ``builder/name``."""
    modules = [
        importlib.import_module(f"{tables.__name__}.{file.name}") for file in pkgutil.iter_modules(tables.__path__)
    ]
    return {f"{entry.builder}/{entry.name}": entry for module in modules for entry in module.ROWS}


PUBLISHED: dict[str, PublishedWeights] = _gather()


def find_published(builder: str, name: str) -> PublishedWeights:
    """Row of the table.

    Args:
        builder: Builder of the model that asks.
        name: ``imagenet``, or with the builder before it: ``resnet50/imagenet``.

    Raises:
        WeightsError: If there is none; the message says what there is for this builder.
    """
    key = name if "/" in name else f"{builder}/{name}"
    if key in PUBLISHED:
        return PUBLISHED[key]
    mine = published_names(builder)
    known = (
        f"Published for '{builder}': {', '.join(mine)}."
        if mine
        else f"Nothing is published for '{builder or 'this model'}'."
    )
    raise WeightsError(
        f"no weights '{name}': neither a file nor published weights. {known}{did_you_mean(name, mine) if mine else ''}"
    )


def published_names(builder: str) -> list[str]:
    """Names of the published weights of a builder.

    Example:
        >>> published_names("yolox_nano"), published_names("lenet5")
        (['coco'], [])
    """
    return [entry.name for entry in PUBLISHED.values() if entry.builder == builder]


def published_arguments(builder: str, name: str) -> dict[str, Any]:
    """Options that a builder must have for published weights of that name; none for names of files."""
    entry = PUBLISHED.get(name if "/" in name else f"{builder}/{name}")
    return dict(entry.arguments) if entry is not None else {}


def cache_folder() -> Path:
    """Where downloads are kept: ``weights`` in the cache folder."""
    return cache_root() / "weights"


def fetch_published(entry: PublishedWeights, folder: Path | None = None) -> Path:
    """The file of ``entry``, from the cache or downloaded, and verified.

    Args:
        entry: Row of the table.
        folder: Cache; :func:`cache_folder` if not given.

    Raises:
        WeightsError: If it cannot be downloaded, or is not the file it should be.
    """
    folder = cache_folder() if folder is None else folder
    path = folder / entry.file_name
    record = path.with_name(f"{path.name}.sha256")
    expected = entry.sha256 or (record.read_text().strip() if record.is_file() else None) or entry.sha256_prefix
    if path.is_file():
        found = sha256_of(path)
        if expected is not None and not found.startswith(expected):
            raise WeightsError(
                f"'{path}' has changed since it was verified (sha256 {found}, expected {expected}). Delete it and ask "
                "again to download it anew."
            )
    else:
        logger.info("downloading %s (licence: %s)", entry.url, entry.licence)
        found = _download_with_bar(entry, path, expected)
    if entry.sha256 is None and not record.is_file():
        if entry.sha256_prefix is None:
            logger.info("%s: its publisher gives no hash; recorded sha256 %s on this first use", path.name, found)
        write_text(record, found + "\n")
    return path


def _download_with_bar(entry: PublishedWeights, path: Path, expected: str | None) -> str:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(entry.file_name, total=None)
        return download(
            entry.url, path, expected, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
