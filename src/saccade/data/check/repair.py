"""Repaired copy of a data set with a list of all changes; the source is never touched."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.check.objects import repeated_boxes
from saccade.data.check.run import source_splits
from saccade.data.derived.combine import without_unions
from saccade.data.open import open_raw, resolve_source
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.faults import box_faults
from saccade.data.tables.outline_faults import mask_faults, ring_faults, without_outlines
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import Writer, get_writer, list_writers
from saccade.data.writers._common import LossReport, prepare_folder
from saccade.errors import DataError
from saccade.structures.files import to_json, write_text

__all__ = ["CHANGES_FILE", "Change", "RepairReport", "repair_source", "repair_table"]

CHANGES_FILE = "changes.json"
_FALLBACK = "coco"


@dataclass(frozen=True)
class Change:
    """One change of a repair: what stood where, what replaces it, and why.

    Args:
        file: File of the source that was at fault.
        field: Object or field in that file.
        before: Value before the repair.
        after: Value after it; None if it was removed.
        reason: Fault that was repaired.
        split: Split of the data set.
    """

    file: str
    field: str
    before: Any
    after: Any
    reason: str
    split: str = ""


@dataclass
class RepairReport:
    """Outcome of :func:`repair_source`: where the copy is and how it differs from the source.

    Args:
        out: Folder of the copy.
        format: Format that it was written in.
        changes: Everything that differs from the source.
        losses: What the format could not hold.

    Example:
        >>> change = Change("a.xml", "object 0 (dog): box", [9, 1, 4, 5], [4, 1, 9, 5], "inverted")
        >>> RepairReport(Path("copy"), "voc", [change]).counts
        {'inverted': 1}
    """

    out: Path
    format: str
    changes: list[Change]
    losses: LossReport = field(default_factory=lambda: LossReport("", ""))

    @property
    def counts(self) -> dict[str, int]:
        """Changes by reason."""
        return dict(Counter(change.reason for change in self.changes))


def repair_source(
    source: str | Path,
    out: str | Path,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    **options: Any,
) -> RepairReport:
    r"""Write a copy of a data set without the faults that can be repaired, and ``changes.json`` beside it.

    Inverted boxes get their corners swapped, boxes that leave their image are clipped; objects without area, with
    numbers that are not finite, of unknown classes or given twice are removed; keypoints outside become unlabelled;
    polygons and masks that cannot be filled are removed, and so are images that cannot be decoded, and lines of
    annotation files that cannot be read. A split that only joins others (VOC's ``trainval``) is not written unless it
    is named.

    Args:
        source: Name in the catalogue, or a folder.
        out: Folder to write; it must be empty or not exist, and not lie in the source.
        split: Splits, joined by ``+``; all that the source has if not given.
        format: Format to read; found automatically if not given.
        task: Task whose ground truth is read, where the source has several.
        **options: Options of the reader.

    Returns:
        All changes, and what the format could not hold.

    Raises:
        DataError: If the source cannot be read, no format can hold it, or ``out`` is not an empty folder.

    Example:
        >>> import cv2
        >>> from saccade.structures.files import write_text
        >>> write_text("birds/train.csv", "file,x1,y1,x2,y2,label\na.png,9,1,4,5,wren\na.png,2,2,2,8,wren\n")
        >>> cv2.imwrite("birds/a.png", np.zeros((16, 16, 3), np.uint8))
        True
        >>> repair_source("birds", "repaired").counts
        {'inverted': 1, 'zero area': 1}
    """
    out = Path(out)
    with prepare_folder(out):
        resolved = resolve_source(source, format, task, **options)
        if resolved.root.resolve() in (out.resolve(), *out.resolve().parents):
            raise DataError(f"{out}: this lies in the data set itself. Name a folder outside of it.")
        names = source_splits(source, split, format, task=task, **options)
        splits = [open_raw(source, name, format=format, task=task, **options) for name in names]
        splits = splits if split is not None else without_unions(splits)
        tables = [dataset for dataset in splits if isinstance(dataset, TableDataset)]
        if len(tables) < len(splits):
            raise DataError(f"'{source}' is made on the fly; there are no annotations to repair.")
        target, writer = _choose_writer(resolved.format, tables[0].info.task)
        losses = LossReport(resolved.format, target)
        changes: list[Change] = []
        for dataset in tables:
            name = dataset.info.split
            repaired, found = _repair(dataset)
            changes += found
            if not len(repaired):
                raise DataError(f"{resolved.root}: no image of split '{name}' can be kept. Restore the images.")
            writer.write(repaired, out, name, "copy", losses)
        report = RepairReport(out, target, changes, losses)
        values = {
            "source": str(source),
            "format": target,
            "counts": report.counts,
            "not held by the format": losses.to_json()["rows"],
            "changes": [asdict(change) for change in changes],
        }
        write_text(out / CHANGES_FILE, to_json(values, indent=1) + "\n")
        return report


def _choose_writer(format_name: str, task: str) -> tuple[str, Writer]:
    """Format to write and its writer: the source's own if it can be written and holds the task, else COCO."""
    if format_name in list_writers():
        writer = get_writer(format_name)
        if task in writer.TASKS:
            return format_name, writer
    writer = get_writer(_FALLBACK)
    if task not in writer.TASKS:
        raise DataError(f"no format that can be written holds the ground truth of '{format_name}' for task '{task}'.")
    return _FALLBACK, writer


def _repair(dataset: TableDataset) -> tuple[TableDataset, list[Change]]:
    """Repair a split: images that cannot be read are dropped, then the faults of the table."""
    changes: list[Change] = []
    with ThreadPoolExecutor() as pool:
        states = list(pool.map(lambda index: _read_size(dataset, index), range(len(dataset))))
    sizes = dataset.table.sizes.copy()
    for index, state in enumerate(states):
        if isinstance(state, tuple) and not sizes[index].all():
            sizes[index] = state
    readable = np.array([not isinstance(state, str) for state in states], np.bool_)
    for index in np.flatnonzero(~readable).tolist():
        path = dataset.path(index)
        reason = "image cannot be read" if str(states[index]).startswith(path) else "label map cannot be read"
        changes.append(Change(path, "image", str(states[index]), None, reason, dataset.info.split))
    kept = np.flatnonzero(readable)
    table = replace(dataset.table, sizes=sizes).select_images(kept)
    readable_part = dataset.with_table(table)
    repaired, more = repair_table(readable_part)
    unread = [
        Change(fault.where, "file", fault.message, None, fault.code, dataset.info.split) for fault in table.faults
    ]
    return readable_part.with_table(repaired), unread + changes + more


def _read_size(dataset: TableDataset, index: int) -> tuple[int, int] | str:
    """Upright (height, width) of an image, or why it or its label map cannot be read."""
    try:
        shape = dataset.pixels(index).shape
        if type(dataset).target is not TableDataset.target:
            dataset.target(index)
    except DataError as error:
        return str(error)
    return shape[0], shape[1]


def repair_table(dataset: TableDataset) -> tuple[AnnotationTable, list[Change]]:
    """Repair the annotation table of a split: clip, swap, hide or remove what is at fault.

    Args:
        dataset: The split; where the size of an image is 0, boxes and points outside of it are not found.

    Returns:
        The repaired table, and the changes by image.
    """
    table, changes = replace(dataset.table, faults=()), _ChangeLog(dataset)
    bad = table.labels < 0
    changes.remove(bad, "unknown class")
    if table.boxes is not None:
        table, faulty = _repair_boxes(table, changes, bad)
        bad |= faulty
    if table.keypoints.shape[1]:
        infinite = ~np.isfinite(table.keypoints).all(axis=(1, 2)) & ~bad
        changes.remove(infinite, "not finite")
        bad |= infinite
        table = _hide_points(table, changes, bad)
    if table.outlines is not None:
        table = _mend_outlines(dataset, table, changes, bad)
    if dataset.info.task == "classification":
        table = table.select_images(np.flatnonzero(~bad))  # one object an image: without it there is no image
    else:
        table = table.select_objects(~bad)
    return table, changes.sorted()


def _repair_boxes(
    table: AnnotationTable, changes: _ChangeLog, bad: NDArray[np.bool_]
) -> tuple[AnnotationTable, NDArray[np.bool_]]:
    assert table.boxes is not None, "the caller checked for boxes"
    sizes = table.sizes[table.image_index]
    boxes, area = table.boxes.copy(), table.area.copy()
    removed = np.zeros(len(boxes), np.bool_)

    def drop(found: NDArray[np.bool_], reason: str) -> None:
        chosen = found & ~bad & ~removed
        changes.remove(chosen, reason)
        removed[chosen] = True

    drop(box_faults(boxes, sizes)["not finite"], "not finite")
    inverted = box_faults(boxes, sizes)["inverted"] & ~bad
    boxes[inverted] = np.sort(boxes[inverted].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    drop(box_faults(boxes, sizes)["zero area"], "zero area")
    outside = box_faults(boxes, sizes)["outside"] & ~bad & ~removed
    ends = sizes[outside][:, ::-1].astype(np.float64)
    ends[ends == 0] = np.inf
    boxes[outside] = np.clip(boxes[outside], 0, np.concatenate([ends, ends], axis=1))
    drop(box_faults(boxes, sizes)["zero area"], "outside")  # nothing of it is in the image
    changed = (inverted | outside) & ~removed
    for row in np.flatnonzero(changed).tolist():
        reason = " and ".join(word for word, found in (("inverted", inverted), ("outside", outside)) if found[row])
        changes.add(row, "box", table.boxes[row].tolist(), boxes[row].tolist(), reason)
    areas = (boxes[changed, 2:] - boxes[changed, :2]).prod(axis=1)
    # An area of its own (a mask's) stays, unless it is larger than what is left of the box.
    area[changed] = np.where(inverted[changed], areas, np.minimum(areas, area[changed]))
    live = ~bad & ~removed
    rows = np.flatnonzero(live)
    first = repeated_boxes(table.image_index[rows], table.labels[rows], boxes[rows])
    repeated = np.zeros(len(boxes), np.bool_)
    repeated[rows[first >= 0]] = True
    drop(repeated, "given twice")
    return replace(table, boxes=boxes, area=area), removed


def _hide_points(table: AnnotationTable, changes: _ChangeLog, bad: NDArray[np.bool_]) -> AnnotationTable:
    points = table.keypoints.copy()
    sizes = table.sizes[table.image_index]
    height, width = sizes[:, :1], sizes[:, 1:]
    x, y, visibility = np.moveaxis(points, -1, 0)
    past = ((x > width) & (width > 0)) | ((y > height) & (height > 0))
    outside = (visibility > 0) & ((x < 0) | (y < 0) | past) & ~bad[:, None]
    for row, point in np.argwhere(outside).tolist():
        changes.add(row, f"keypoint {point}", points[row, point].tolist(), [0.0, 0.0, 0.0], "keypoint outside")
    points[outside] = 0
    return replace(table, keypoints=points)


def _mend_outlines(
    dataset: TableDataset, table: AnnotationTable, changes: _ChangeLog, bad: NDArray[np.bool_]
) -> AnnotationTable:
    """Remove faulty polygons and masks; objects that had no other outline go where outlines are the ground truth."""
    outlines, sizes = table.outlines, table.sizes[table.image_index]
    assert outlines is not None, "the caller checked for outlines"
    rows = np.repeat(np.arange(len(outlines)), np.diff(outlines.ring_offsets))
    rings, masks = np.zeros(len(rows), np.bool_), np.zeros(len(outlines), np.bool_)
    for kind, found in ring_faults(outlines, sizes).items():
        rings |= found
        for ring in np.flatnonzero(found & ~bad[rows]).tolist():
            row = int(rows[ring])
            first, end = outlines.point_offsets[ring : ring + 2].tolist()
            before = [[_plain(value) for value in point] for point in outlines.points_xy[first:end].tolist()]
            changes.add(row, f"polygon {ring - int(outlines.ring_offsets[row])}", before, None, f"polygon: {kind}")
    for kind, found in mask_faults(outlines, sizes).items():
        masks |= found
        for row in np.flatnonzero(found & ~bad).tolist():
            height, width = outlines.run_sizes[row].tolist()
            changes.add(row, "mask", f"{width}x{height}", None, kind)
    left = without_outlines(outlines, rings, masks)
    if dataset.fills_outlines:
        lost = (outlines.has_rings() | outlines.has_runs()) & ~(left.has_rings() | left.has_runs()) & ~bad
        changes.remove(lost, "no sound outline is left")
        bad |= lost
    return replace(table, outlines=left)


class _ChangeLog:
    """Collects the changes of objects, which are named as in the source."""

    def __init__(self, dataset: TableDataset) -> None:
        self._dataset = dataset
        self._images = dataset.table.image_index
        self._found: list[tuple[int, Change]] = []

    def add(self, row: int, name: str, before: Any, after: Any, reason: str) -> None:
        """Record a change of an object."""
        field_name = f"{self._object(row)}{': ' if name else ''}{name}"
        file = self._dataset.annotation_path(int(self._images[row]))
        self._found.append((row, Change(file, field_name, before, after, reason, self._dataset.info.split)))

    def remove(self, rows: NDArray[np.bool_], reason: str) -> None:
        """Record that objects are left out."""
        for row in np.flatnonzero(rows).tolist():
            self.add(row, "", self._content(row), None, reason)

    def sorted(self) -> list[Change]:
        """All changes in the order of the objects."""
        return [change for _, change in sorted(self._found, key=lambda pair: pair[0])]

    def _object(self, row: int) -> str:
        table, index = self._dataset.table, int(self._images[row])
        return f"object {row - int(table.offsets[index])} ({self._name(row)})"

    def _name(self, row: int) -> str:
        return self._dataset.table.class_name(int(self._dataset.table.labels[row]), self._dataset.label_names)

    def _content(self, row: int) -> dict[str, Any]:
        """An object as plain values."""
        table = self._dataset.table
        content: dict[str, Any] = {"class": self._name(row)}
        if table.boxes is not None:
            content["box"] = [_plain(value) for value in table.boxes[row].tolist()]
        if table.keypoints.shape[1]:
            content["keypoints"] = [[_plain(value) for value in point] for point in table.keypoints[row].tolist()]
        return content


def _plain(value: float) -> float | str:
    """A number that JSON can hold; others as text."""
    return value if np.isfinite(value) else str(value)
