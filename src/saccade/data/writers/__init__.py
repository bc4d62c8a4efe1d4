"""Writers of data sets: one file a format, each with ``write``; what a format cannot hold is counted in a report."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport
from saccade.errors import ConfigError, did_you_mean

__all__ = ["WRITERS", "Writer", "get_writer"]

WRITERS = ("coco", "voc", "yolo", "labelme", "cvat", "label_studio", "csv", "masks", "folder", "keypoint_csv")


class Writer(Protocol):
    """Module that writes one format."""

    TASKS: tuple[str, ...]
    """Tasks whose ground truth the format can hold."""

    def write(self, dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
        """Write one split into a folder that may hold other splits already."""
        ...


def get_writer(name: str) -> Writer:
    """Find the writer of a format by name.

    Args:
        name: One of ``WRITERS``.

    Raises:
        ConfigError: If there is none of that name; the message names the nearest.

    Example:
        >>> get_writer("voc").TASKS
        ('detection', 'segmentation')
        >>> get_writer("yolov5")
        Traceback (most recent call last):
        saccade.errors.ConfigError: format 'yolov5' cannot be written. Did you mean 'yolo'?
    """
    if name not in WRITERS:
        raise ConfigError(f"format '{name}' cannot be written.{did_you_mean(name, WRITERS)}")
    return cast(Writer, importlib.import_module(f"saccade.data.writers.{name}"))
