"""Predictions written as a data set whose labels a person corrects, in the form of an annotation tool."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import get_writer
from saccade.data.writers._common import ImagePolicy, LossReport, prepare_folder
from saccade.data.writers.drafts import Draft
from saccade.engine.predict.outputs import OutputNames
from saccade.engine.predict.predict import Predictions
from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.results.images import write_image
from saccade.structures.dataset import DatasetInfo
from saccade.structures.files import write_text
from saccade.structures.point_layout import PointLayout
from saccade.tasks import get_task
from saccade.tasks.base import Task

__all__ = ["ORDERS", "LabelOrder", "write_labels"]

LabelOrder = Literal["source", "uncertain"]
ORDERS = ("source", "uncertain")

_LIST = "uncertainty.csv"


@dataclass(frozen=True)
class _DraftImage:
    """Image with its drafts; neither its pixels nor its result are kept."""

    name: str  # of the file to write
    file: Path  # that holds it
    source: str
    frame: int | None
    size: tuple[int, int]
    uncertainty: float | None
    drafts: list[Draft]


class _DraftDataset(TableDataset):
    """Images anywhere on the disk, and one table; names in the table are those to be written."""

    def __init__(self, info: DatasetInfo, table: AnnotationTable, files: list[Path]) -> None:
        super().__init__(info, Path(), table)
        self.files = files

    def path(self, index: int) -> str:
        """File of image ``index``."""
        return str(self.files[index])


def write_labels(
    predictions: Predictions,
    source: Any,
    task: str,
    class_names: tuple[str, ...],
    out: str | Path,
    to: str,
    sort: LabelOrder = "source",
    image_files: ImagePolicy = "copy",
    model: str = "model",
    points: PointLayout | None = None,
) -> LossReport:
    """Write predictions as labels to be corrected, scores as attributes of the objects.

    Beside them stands ``uncertainty.csv``: for each image its file, where it comes from, how uncertain the network is,
    and its scores, which formats without attributes cannot hold.

    Args:
        predictions: With the pixels of images that are no files, such as frames; those are written as files.
        source: What was predicted.
        task: Of the network.
        class_names: Of the network.
        out: Folder to write; it must be empty or not exist.
        to: Format, as for ``convert``.
        sort: ``uncertain``: images of which the network is least sure come first, and the names of their files begin
            with their rank.
        image_files: ``copy``, ``link`` or ``none``.
        model: What the account calls the source of the labels.
        points: Layout of the keypoints of the network, if it gives some.

    Returns:
        What was kept, changed and dropped.

    Raises:
        ConfigError: If the order is unknown, or the task has no labels or no scores to sort by.
        DataError: If the format cannot hold them, ``out`` is not empty, or there is no image.
    """
    if sort not in ORDERS:
        raise ConfigError(f"sort is '{sort}'.{did_you_mean(sort, ORDERS)}")
    writer, kind = get_writer(to), get_task(task)
    info, label_names = kind.draft_info(class_names, points or PointLayout())
    if info.task not in writer.TASKS:
        raise ConfigError(f"format '{to}' cannot hold labels of {info.task}; it holds: {', '.join(writer.TASKS)}.")
    out, report = Path(out), LossReport(model, to)
    with prepare_folder(out), ExitStack() as stack:
        out.parent.mkdir(parents=True, exist_ok=True)
        frames = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".saccade-frames-", dir=out.parent)))
        images = list(_drafted(predictions, source, kind, frames, image_files))
        if not images:
            raise DataError(f"'{source}': there is no image to label." + _reasons(predictions))
        if sort == "uncertain":
            images = _ranked(images)
        dataset = _DraftDataset(info, _table(images, info, label_names), [image.file for image in images])
        writer.write(dataset, out, info.split, image_files, report)
        write_text(out / _LIST, _listed(images))
    report.drop("images", "they cannot be read", len(predictions.skipped))
    return report


def _reasons(predictions: Predictions) -> str:
    return f" {predictions.skipped[0].reason}" if predictions.skipped else ""


def _drafted(
    predictions: Predictions, source: Any, task: Task, frames: Path, image_files: ImagePolicy
) -> Iterator[_DraftImage]:
    names = OutputNames(source, frames)
    for result in predictions:
        target = names.file(result)
        file = Path(result.path)
        if result.frame is not None or not file.is_file():
            file = target
            if image_files != "none":
                write_image(target, result.pixels())
        else:
            target = target.with_suffix(file.suffix)
        name = target.relative_to(frames).as_posix()
        about = result.path, result.frame, result.image_size
        yield _DraftImage(name, file, *about, result.uncertainty(), task.drafts(result))


def _ranked(images: list[_DraftImage]) -> list[_DraftImage]:
    """The images by falling uncertainty, their rank before their names."""
    if any(image.uncertainty is None for image in images):
        raise ConfigError("the predictions have no scores to sort by. Leave sort out.")
    order = np.argsort([-(image.uncertainty or 0.0) for image in images], kind="stable").tolist()
    digits = len(str(len(images)))
    ranked = []
    for rank, index in enumerate(order, start=1):
        image = images[index]
        name = f"{rank:0{digits}d}_{image.name.replace('/', '_')}"
        ranked.append(replace(image, name=name))
    return ranked


def _table(images: list[_DraftImage], info: DatasetInfo, label_names: tuple[str, ...]) -> AnnotationTable:
    drafts = [draft for image in images for draft in image.drafts]
    builder = TableBuilder(
        label_names,
        num_keypoints=len(info.points.names),
        boxes=all(draft.box_xyxy for draft in drafts),
        outlines=any(draft.outline for draft in drafts),
    )
    for number, image in enumerate(images):
        builder.add_image(image.name, number, image.size)
        for draft in image.drafts:
            builder.add_object(
                draft.name,
                draft.box_xyxy,
                keypoints=draft.keypoints,
                outline=draft.outline,
                attributes={} if draft.score is None else {"score": round(draft.score, 4)},
            )
    return builder.build()


def _listed(images: list[_DraftImage]) -> str:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["image", "source", "frame", "uncertainty", "objects", "scores"])
    for image in images:
        scores = " ".join(f"{draft.score:.4f}" for draft in image.drafts if draft.score is not None)
        uncertainty = "" if image.uncertainty is None else f"{image.uncertainty:.4f}"
        frame = "" if image.frame is None else image.frame
        table.writerow([image.name, image.source, frame, uncertainty, len(image.drafts), scores])
    return stream.getvalue()
