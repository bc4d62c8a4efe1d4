"""Conversion of a data set from one format to another, with a report of what was kept and what was lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saccade.data.derived.combine import without_unions
from saccade.data.derived.splits import can_hold_out
from saccade.data.open import open_raw, resolve_source, split_names
from saccade.data.readers._common import UNSPLIT
from saccade.data.tables.content import require_content
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import get_writer
from saccade.data.writers._common import ImagePolicy, LossReport, prepare_folder
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset

__all__ = ["convert"]


def convert(
    source: str | Path,
    out: str | Path,
    to: str,
    format: str | None = None,
    splits: str | None = None,
    task: str | None = None,
    image_files: ImagePolicy = "copy",
    **options: Any,
) -> LossReport:
    r"""Convert a data set to another format; labels are carried over as they are, faults included.

    Args:
        source: Name in the catalogue, a folder, or a zip of images.
        out: Folder to write; it must be empty or not exist.
        to: Format to write.
        format: Format to read; found automatically if not given.
        splits: Splits, joined by ``+``; if not given, all that the source has; unions of others (``trainval``) are
            left out where the format has a folder for each split. A source without splits is divided into ``train``
            and ``val`` as training would, unless ``all`` is asked for.
        task: Task whose ground truth is read, where the source has several.
        image_files: ``copy``, ``link`` or ``none``.
        **options: Options of the reader.

    Returns:
        What was kept, changed and dropped, over all splits.

    Raises:
        DataError: If the source cannot be read or holds nothing, the target cannot hold its task, or ``out`` is not
            empty.

    Example:
        >>> from saccade.structures.files import write_text
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,1,2,30,20,cat\n")
        >>> report = convert("pets", "yolo", to="yolo", image_files="none")
        >>> report.lossless, report.kept["boxes"]
        (True, 1)
        >>> Path("yolo/labels/train/a.txt").read_text()
        '0 0.258333333 0.275 0.483333333 0.45\n'
    """
    writer = get_writer(to)
    out = Path(out)
    with prepare_folder(out):
        resolved = resolve_source(source, format, task, **options)
        report = LossReport(resolved.format, to)
        opened = {"format": format, "task": task, **options}
        names = splits.split("+") if splits else split_names(resolved)
        datasets = _divided(source, opened) if splits is None and tuple(names) == UNSPLIT else []
        datasets = datasets or [open_raw(source, name, **opened) for name in names]
        require_content(datasets)
        if splits is None and not getattr(writer, "KEEPS_UNIONS", False):
            every = len(datasets)
            datasets = without_unions(datasets)
            report.drop("splits", "they only join others", every - len(datasets))
        for dataset in datasets:
            if not isinstance(dataset, TableDataset):
                raise DataError(f"'{source}' is made on the fly; there are no annotations to convert.")
            if dataset.info.task not in writer.TASKS:
                raise DataError(
                    f"format '{to}' cannot hold the ground truth of task '{dataset.info.task}'; "
                    f"it holds: {', '.join(writer.TASKS)}."
                )
            for fault in dataset.table.faults:
                report.drop("what could not be read", fault.code)
            writer.write(dataset, out, dataset.info.split, image_files, report)
        return report


def _divided(source: str | Path, opened: Mapping[str, Any]) -> list[VisionDataset]:
    """Training and validation images of a source without splits; none if no image can be held out."""
    if not can_hold_out(open_raw(source, UNSPLIT[0], **opened)):
        return []
    return [open_raw(source, name, **opened) for name in ("train", "val")]
