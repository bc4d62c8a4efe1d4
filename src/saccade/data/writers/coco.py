"""COCO: ``annotations/instances_<split>.json`` or ``person_keypoints_<split>.json``, images in ``<split>/``.

Category ids are those that the source had, else 1..N; numbers of images are kept; annotations are counted from 1.
Attributes of objects become ``attributes``, those of images fields of their own.

*Numbers* come back bit for bit. A width is written with the fewest decimals for which ``x + width`` is the right edge
again; in rare cases no number does that, and the edge moves by one unit in the last place. Keypoints lose the half
pixel that the reader adds.

*Outlines.* Polygons stay polygons and masks stay runs. COCO has no holes: an object with holes becomes a mask. A label
map becomes one mask for each class. Objects whose numbers are not finite are dropped, since JSON cannot hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.run_lengths import compress_runs, runs_of_mask
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport, unique_names
from saccade.data.writers._images import write_images
from saccade.data.writers._objects import class_names_of, has_background, image_size
from saccade.errors import DataError
from saccade.ops.mask_boxes import box_of_mask
from saccade.structures.files import atomic_write
from saccade.structures.sample import IGNORE_LABEL

__all__ = ["TASKS", "write"]

TASKS = ("detection", "segmentation", "keypoints")

_OWN_IMAGE_FIELDS = frozenset({"id", "file_name", "height", "width"})
_AT_A_TIME = 4_000
_MOST_DECIMALS = 12


def write(
    dataset: TableDataset,
    folder: Path,
    split: str,
    images: ImagePolicy,
    report: LossReport,
    compress: bool = False,
) -> None:
    r"""Write one split as COCO.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits.
        split: Name of the split.
        images: ``copy``, ``link`` or ``none``.
        report: Counts what is kept and changed.
        compress: Write masks in COCO's compressed code rather than as lists of runs.

    Raises:
        DataError: If an image is missing, or an outline with holes is malformed.

    Example:
        >>> from saccade.data.open import open_raw
        >>> from saccade.structures.files import write_text
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,1,2,30,20,cat\n")
        >>> write(open_raw("pets", "train"), Path("out"), "train", "none", LossReport("csv", "coco"))
        >>> content = msgspec.json.decode(Path("out/annotations/instances_train.json").read_bytes())
        >>> content["annotations"][0]["bbox"]
        [1.0, 2.0, 29.0, 18.0]
    """
    keypoints = bool(dataset.info.points)
    written = write_images(dataset, folder / split, images, report, dict(enumerate(unique_names(dataset))))
    names = [written[index] for index in range(len(dataset))]
    sizes = _sizes(dataset)
    path = folder / "annotations" / f"{'person_keypoints' if keypoints else 'instances'}_{split}.json"
    categories = _categories(dataset)
    if not any(path.parent.glob("*.json")):  # every split repeats them
        report.keep("classes", len(categories))
    content = _Annotations(dataset, [category["id"] for category in categories], sizes, report, compress)
    entries = content.of_label_maps() if content.has_label_maps else content.of_objects()
    lists = {"images": _images(dataset, names, sizes, content.image_ids, report), "categories": iter(categories)}
    _write_json(path, {**lists, "annotations": entries})


def _write_json(path: Path, lists: dict[str, Iterator[dict[str, Any]]]) -> None:
    """Write one object of lists, some thousand entries at a time, so that they never exist all at once."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            for number, (name, entries) in enumerate(lists.items()):
                stream.write(b"%s%s:[" % (b"," if number else b"{", msgspec.json.encode(name)))
                for index, chunk in enumerate(_chunks(entries)):
                    stream.write((b",\n" if index else b"\n") + msgspec.json.encode(chunk)[1:-1])
                stream.write(b"]")
            stream.write(b"}\n")

    atomic_write(path, write)


def _chunks(entries: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == _AT_A_TIME:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _sizes(dataset: TableDataset) -> NDArray[np.int64]:
    """(height, width) of each image, from its header where the source holds none."""
    sizes = dataset.table.sizes.astype(np.int64)
    for index in np.flatnonzero(~sizes.all(axis=1)).tolist():
        sizes[index] = image_size(dataset, index)
    return sizes


def _categories(dataset: TableDataset) -> list[dict[str, Any]]:
    """Entries of ``categories``; the background of label maps is not one of them."""
    info = dataset.info
    limbs = [[first + 1, second + 1] for first, second in info.points.skeleton]
    points = {"keypoints": list(info.points.names), "skeleton": limbs}
    if info.task == "keypoints":
        number = info.category_ids[0] if len(info.category_ids) == 1 else 1
        name = info.object_names[0] if len(info.object_names) == 1 else "object"
        return [{"id": number, "name": name, **points}]
    names = class_names_of(dataset)
    ids = info.category_ids
    if len(ids) != len(names) or sorted(set(ids)) != list(ids):
        ids = tuple(range(1, len(names) + 1))
    having = set(_labels_with_points(dataset.table)) or {0} if info.points else set()
    return [
        {"id": number, "name": name, **(points if label in having else {})}
        for label, (number, name) in enumerate(zip(ids, names, strict=True))
    ]


def _labels_with_points(table: AnnotationTable) -> list[int]:
    labels: list[int] = np.unique(table.labels[(table.keypoints[..., 2] > 0).any(axis=1)]).tolist()
    return labels


def _images(
    dataset: TableDataset, names: list[str], sizes: NDArray[np.int64], image_ids: list[int], report: LossReport
) -> Iterator[dict[str, Any]]:
    texts = dataset.table.image_attributes
    for index, (name, number) in enumerate(zip(names, image_ids, strict=True)):
        height, width = sizes[index].tolist()
        entry: dict[str, Any] = {"id": number, "file_name": name, "height": height, "width": width}
        for key, value in {} if texts is None else texts.get(index).items():
            if key in _OWN_IMAGE_FIELDS:
                report.drop(f"attribute of images: {key}", "COCO has a field of that name")
            else:
                entry[key] = value
                report.keep(f"attribute of images: {key}")
        yield entry


class _Annotations:
    """Generates the entries of ``annotations``.

    Args:
        dataset: Split to write.
        category_ids: By label.
        sizes: (height, width) of each image.
        report: Counts what is kept and changed.
        compress: Write masks in the compressed code.
    """

    def __init__(
        self,
        dataset: TableDataset,
        category_ids: list[int],
        sizes: NDArray[np.int64],
        report: LossReport,
        compress: bool,
    ) -> None:
        table = dataset.table
        ids = table.image_ids
        unique = len(np.unique(ids)) == len(ids)
        self.image_ids: list[int] = ids.tolist() if unique else list(range(1, len(ids) + 1))
        self.has_label_maps = dataset.info.task == "segmentation" and table.outlines is None
        self._dataset, self._table, self._sizes, self._report = dataset, table, sizes, report
        self._category_ids = category_ids
        self._compress = compress
        self._with_points = bool(dataset.info.points)
        self._one_class = dataset.info.task == "keypoints"
        self._position = 0

    def of_objects(self) -> Iterator[dict[str, Any]]:
        """One entry for each object."""
        table, report = self._table, self._report
        boxes = _hulls(table) if table.boxes is None else table.boxes
        widths = _widths(boxes)
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(table.area)
        if self._with_points:
            finite &= np.isfinite(table.keypoints).reshape(len(boxes), -1).all(axis=1)
        report.drop("objects", "their numbers are not finite, which JSON cannot hold", int((~finite).sum()))
        count = int(finite.sum())
        report.keep("objects", count)
        report.keep("crowds", int(table.iscrowd[finite].sum()))
        report.change("classes", "objects of unknown classes keep a number, not a name", int((table.labels < 0).sum()))
        if self._one_class:
            report.change("classes", "all objects with points became one class", int((table.labels[finite] > 0).sum()))
        if table.boxes is None:
            report.change("boxes", "made around the labelled points", count)
        else:
            moved = (boxes[:, :2] + widths != boxes[:, 2:]).any(axis=1)
            report.change("boxes", "an edge moved by the last bit", int((moved & finite).sum()))
            report.keep("boxes", int((~moved & finite).sum()))
        for index in range(len(table)):
            masks = self._loose_masks(index)
            for position, row in enumerate(range(*table.objects(index).indices(len(table.labels)))):
                if not finite[row]:
                    continue
                entry = self._entry(index, row, [*boxes[row, :2].tolist(), *widths[row].tolist()])
                if masks is not None:
                    entry["segmentation"] = self._runs(runs_of_mask(masks[position]), masks[position].shape)
                    report.keep("masks")
                else:
                    entry["segmentation"] = self._outline(index, row)
                if self._with_points:
                    entry |= self._keypoints(row)
                attributes = {} if table.attributes is None else table.attributes.get(row)
                if attributes:
                    entry["attributes"] = attributes
                    for name in attributes:
                        report.keep(f"attribute {name}")
                yield entry

    def of_label_maps(self) -> Iterator[dict[str, Any]]:
        """One entry for each class of an image's label map."""
        first = int(has_background(self._dataset))
        self._report.change("label maps", "one mask for each class", len(self._table))
        for index in range(len(self._table)):
            label_map = self._dataset.target(index)["label_map"]
            if (label_map == IGNORE_LABEL).any():
                self._report.drop("ignored pixels", "COCO has no mark for them", int((label_map == IGNORE_LABEL).sum()))
            for label in np.unique(label_map[(label_map >= first) & (label_map != IGNORE_LABEL)]).tolist():
                mask = label_map == label
                left, top, right, bottom = box_of_mask(mask)
                self._position += 1
                yield {
                    "id": self._position,
                    "image_id": self.image_ids[index],
                    "category_id": self._category_ids[label - first],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": self._runs(runs_of_mask(mask), mask.shape),
                }

    def _entry(self, index: int, row: int, bbox: list[float]) -> dict[str, Any]:
        table = self._table
        label = int(table.labels[row])
        self._position += 1
        return {
            "id": self._position,
            "image_id": self.image_ids[index],
            "category_id": self._category_id(label),
            "bbox": bbox,
            "area": float(table.area[row]) if table.boxes is not None else bbox[2] * bbox[3],
            "iscrowd": int(table.iscrowd[row]),
        }

    def _category_id(self, label: int) -> int:
        if label < 0:
            return max(self._category_ids, default=0) - label
        return self._category_ids[0 if self._one_class else label]

    def _loose_masks(self, index: int) -> NDArray[np.uint8] | None:
        """Masks of a data set that takes them from instance maps rather than from outlines."""
        if self._table.outlines is not None or type(self._dataset).object_masks is TableDataset.object_masks:
            return None
        return self._dataset.object_masks(index)

    def _outline(self, index: int, row: int) -> list[list[float]] | dict[str, Any]:
        outlines = self._table.outlines
        if outlines is None:
            return []
        runs = outlines.mask_runs(row)
        if len(runs):
            self._report.keep("masks")
            return self._runs(runs.tolist(), outlines.run_sizes[row].tolist())
        rings, holes = outlines.rings(row), outlines.hole_flags(row)
        if not any(holes):
            self._report.keep("polygons", len(rings))
            return [ring.reshape(-1).tolist() for ring in rings]
        height, width = self._sizes[index].tolist()
        try:
            mask = outlines.mask(row, height, width)
        except ValueError as error:
            name = f"object {row - int(self._table.offsets[index])} of {self._table.path(index)}"
            raise DataError(
                f"{self._dataset.annotation_path(index)}: the outline of {name} is malformed ({error}). "
                "Correct it, or remove the object."
            ) from error
        self._report.change("polygons", "written as masks, since they have holes", len(rings) - sum(holes))
        self._report.change("holes", "written in masks", sum(holes))
        return self._runs(runs_of_mask(mask), mask.shape)

    def _runs(self, runs: list[int], size: Sequence[int]) -> dict[str, Any]:
        return {"size": list(size), "counts": compress_runs(runs) if self._compress else runs}

    def _keypoints(self, row: int) -> dict[str, Any]:
        points = self._table.keypoints[row].astype(np.float64)
        labelled = points[:, 2] > 0
        points[:, :2] -= 0.5
        points[~labelled] = 0.0
        values = [int(value) if value.is_integer() else value for value in points.reshape(-1).tolist()]
        self._report.keep("keypoints", int(labelled.sum()))
        return {"keypoints": values, "num_keypoints": int(labelled.sum())}


def _hulls(table: AnnotationTable) -> NDArray[np.float64]:
    """Boxes (N, 4) around the labelled points; zeros where there are none."""
    points, labelled = table.keypoints[:, :, :2].astype(np.float64), table.keypoints[:, :, 2:] > 0
    low = np.where(labelled, points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(labelled, points, -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.concatenate([low, high], axis=1)
    boxes[~labelled.any(axis=(1, 2))] = 0.0
    return boxes


def _widths(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) widths and heights of few decimals that give the right and lower edges back when they are added."""
    start, end = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore", over="ignore"):  # faulty boxes are written as they are
        exact = end - start
        result = exact.copy()
        found = ~np.isfinite(exact)
        guesses = [*(np.round(exact, decimals) for decimals in range(_MOST_DECIMALS)), exact]
        guesses += [np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)]
        for guess in guesses:
            fits = ~found & (start + guess == end)
            result[fits] = guess[fits]
            found |= fits
    return result
