"""Writers of data sets: one file a format, each with ``write``; what a format cannot hold is counted in a report."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport
from saccade.errors import ConfigError, did_you_mean
from saccade.structures.plugins import load_installed

__all__ = ["WRITERS", "Writer", "get_writer", "list_writers", "register_writer"]

# Of the package.
WRITERS = ("coco", "voc", "yolo", "labelme", "cvat", "label_studio", "csv", "masks", "folder", "keypoint_csv")


class Writer(Protocol):
    """Module that writes one format."""

    TASKS: tuple[str, ...]
    """Tasks whose ground truth the format can hold."""

    def write(self, dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
        """Write one split into a folder that may hold other splits already."""
        ...


_REGISTERED: dict[str, Writer] = {}


def list_writers() -> tuple[str, ...]:
    """List the names of all formats that can be written, those that were registered last.

    Example:
        >>> list_writers()[:3]
        ('coco', 'voc', 'yolo')
    """
    load_installed()
    return (*WRITERS, *_REGISTERED)


def register_writer(name: str, writer: Writer) -> None:
    """Add a format of one's own that ``convert`` and ``label`` write by its name.

    Args:
        name: Of the format; one that was registered before is replaced.
        writer: Module, or any object, with ``TASKS`` and ``write``.

    Raises:
        ConfigError: If the package writes a format of that name, or one of the two is missing.

    Example:
        >>> from saccade.data.writers import csv
        >>> register_writer("table", csv)
        >>> get_writer("table") is csv
        True
        >>> del _REGISTERED["table"]  # as if it had never been
    """
    if name in WRITERS:
        raise ConfigError(f"'{name}' is a format of the package. Choose another name.")
    if isinstance(getattr(writer, "TASKS", None), str) or not getattr(writer, "TASKS", ()):
        raise ConfigError(f"format '{name}': its writer names no tasks. Set TASKS = ('detection',).")
    if not callable(getattr(writer, "write", None)):
        raise ConfigError(f"format '{name}': its writer has no function 'write'. Write one.")
    _REGISTERED[name] = writer


def get_writer(name: str) -> Writer:
    """Find the writer of a format by name.

    Args:
        name: One of :func:`list_writers`.

    Raises:
        ConfigError: If there is none of that name; the message names the nearest.

    Example:
        >>> get_writer("voc").TASKS
        ('detection', 'segmentation')
        >>> get_writer("yolov5")
        Traceback (most recent call last):
        saccade.errors.ConfigError: format 'yolov5' cannot be written. Did you mean 'yolo'?
    """
    if name not in WRITERS and name not in _REGISTERED and name not in list_writers():
        raise ConfigError(f"format '{name}' cannot be written.{did_you_mean(name, list_writers())}")
    if name in _REGISTERED:
        return _REGISTERED[name]
    return cast(Writer, importlib.import_module(f"saccade.data.writers.{name}"))
